"""What lookups have found lately."""

from __future__ import annotations

from tidegate.operators.lookup_cache import LookupCache


def test_the_answer_used_longest_ago_goes_first():
    """Reading counts as using."""
    cache = LookupCache(2, None)
    cache.put("a", 1, 0)
    cache.put("b", 2, 0)
    assert cache.get("a", 0) == (1,)
    cache.put("c", 3, 0)
    assert (cache.get("a", 0), cache.get("b", 0), cache.get("c", 0)) == ((1,), None, (3,))


def test_an_answer_is_good_for_its_time_to_live():
    """Also that there is none; reading does not make it younger."""
    cache = LookupCache(2, 10)
    cache.put("a", None, 100)
    assert cache.get("a", 109) == (None,)
    assert cache.get("a", 110) is None
    assert len(cache) == 0


def test_a_cache_of_no_size_keeps_nothing():
    """That is how it is switched off."""
    cache = LookupCache(0, None)
    cache.put("a", 1, 0)
    assert cache.get("a", 0) is None
