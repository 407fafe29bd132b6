"""A share of the records, picked by their hash."""

from typing import Any

import pytest
from tidegate.engine.errors import OperatorError
from tidegate.engine.testing import OperatorHarness
from tidegate.operators import agg
from tidegate.operators.sample import Sample, sample_hash


def picked(operator: Sample[Any], values: Any) -> list[Any]:
    """What an operator lets pass, in two batches."""
    with OperatorHarness(operator) as h:
        return h.push(values[:10]).push(values[10:]).values


def test_the_share_is_about_what_was_asked_for() -> None:
    """And the same in every run."""
    values = list(range(20_000))
    found = picked(Sample(0.25), values)
    assert 4_800 < len(found) < 5_200
    assert picked(Sample(0.25), values) == found
    assert picked(Sample(0.25, seed=1), values) != found
    assert set(picked(Sample(0.1), values)) < set(found)


def test_nothing_and_everything_are_shares_too() -> None:
    """The ends of the scale."""
    assert picked(Sample(0), list(range(100))) == []
    assert picked(Sample(1), list(range(100))) == list(range(100))


def test_records_stand_and_fall_with_what_is_hashed() -> None:
    """A user is in the sample with all records or with none."""
    records = [{"user": n % 50, "n": n} for n in range(1000)]
    found = picked(Sample(0.5, by="user"), records)
    users = {record["user"] for record in found}
    assert 10 < len(users) < 40
    assert found == [record for record in records if record["user"] in users]


def test_a_record_that_cannot_be_hashed_goes_where_errors_go() -> None:
    """Its neighbours stay."""
    with OperatorHarness(Sample[Any](1, by="user", on_error="dead_letter")) as h:
        h.push([{"user": 1}, {}, {"user": 2}])
        assert h.values == [{"user": 1}, {"user": 2}]
        assert [letter.value for letter in h.side("failed")] == [{}]
    with OperatorHarness(Sample[Any](1, by=lambda v: 1 // v)) as h, pytest.raises(OperatorError, match="ZeroDivision"):
        h.push([1, 0])


def test_a_hash_is_the_same_for_ever() -> None:
    """Samples of today fit those of years ago; the order of a dict does not count."""
    assert sample_hash("a") == 7858557672269657394
    assert sample_hash({"a": 1, "b": 2}) == sample_hash({"b": 2, "a": 1})


def test_a_share_that_is_none_is_refused() -> None:
    """Also percent."""
    with pytest.raises(ValueError, match="between 0 and 1"):
        Sample(10)


def test_a_sample_of_a_window_is_uniform_and_does_not_depend_on_order() -> None:
    """Each value has the same chance, and pieces put together give what the whole gives."""
    sample = agg.sample(None, 10)
    hits = [0] * 50
    for round_ in range(200):
        whole, left, right = sample.init(), sample.init(), sample.init()
        for n in range(50):
            sample.add(whole, n, round_)
            sample.add(left if n % 3 else right, n, round_)
        sample.merge(right, left)
        assert sample.result(whole) == sample.result(right)
        assert len(set(sample.result(whole))) == 10
        for n in sample.result(whole):
            hits[n] += 1
    assert min(hits) > 20
    assert max(hits) < 65
