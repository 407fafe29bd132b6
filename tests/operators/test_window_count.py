"""Count windows that overlap, against a brute-force oracle."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tidegate.engine.testing import OperatorHarness
from tidegate.operators import agg, windows
from tidegate.operators.windowed import window_aggregate

AGGREGATES = {"n": agg.count(), "total": agg.sum(), "low": agg.min(), "newest": agg.last(), "values": agg.collect()}
BATCHES = st.lists(
    st.lists(st.tuples(st.integers(0, 50), st.sampled_from("ab"), st.integers(-9, 9)), min_size=1, max_size=8),
    max_size=8,
)


def of(records: list[tuple[int, int]], *, timed: bool) -> Any:
    """The result of (timestamp, value)."""
    times, values = [t for t, _ in records], [v for _, v in records]
    newest = [v for t, v in records if not timed or t == max(times)][-1]
    bounds = (min(times), max(times) + 1) if timed else (0, 0)
    return (*bounds, len(values), sum(values), min(values), newest, values)


@pytest.mark.parametrize(("backend", "examples"), [("dict", 40), pytest.param("rocksdb", 4, marks=pytest.mark.slow)])
@pytest.mark.parametrize("timed", [True, False])
def test_windows_of_the_last_records_agree_with_the_oracle(backend: Any, examples: int, timed: bool) -> None:
    """Restored after every batch; what is left at the end goes out when it is asked for."""

    @settings(max_examples=examples, deadline=None)
    @given(BATCHES, st.integers(1, 7), st.data(), st.booleans())
    def check(batches: list[list[tuple[int, str, int]]], n: int, data: st.DataObject, partial: bool) -> None:
        every = data.draw(st.integers(1, n))
        assigner = windows.CountWindows(n, partial, every)
        seen: dict[str, list[tuple[int, int]]] = {"a": [], "b": []}
        wanted: list[Any] = []
        with OperatorHarness(window_aggregate(assigner, AGGREGATES), backend=backend, memory_budget_bytes=300) as h:
            for batch in batches:
                times = [t for t, *_ in batch] if timed else None
                h.push([v for *_, v in batch], times, [k for _, k, _ in batch])
                for t, key, v in batch:
                    own = seen[key]
                    own.append((t, v))
                    if len(own) >= n and (len(own) - n) % every == 0:
                        wanted.append((key, *of(own[-n:], timed=timed)))
            found = [(r.key, r.start_ms, r.end_ms, r.n, r.total, r.low, r.newest, r.values) for r in h.values]
            assert found == wanted
            assert [t for _, t in h.output] == [w[2] - 1 if timed else None for w in wanted]
            h.clear().end()
            left = []
            for key, own in seen.items():
                fresh = len(own) if len(own) < n else (len(own) - n) % every
                if partial and fresh:
                    start = 0 if len(own) < n else ((len(own) - n) // every + 1) * every
                    left.append((key, *of(own[start:], timed=timed)))
            found = [(r.key, r.start_ms, r.end_ms, r.n, r.total, r.low, r.newest, r.values) for r in h.values]
            assert sorted(found) == left

    check()


def test_windows_side_by_side_stay_what_they_were() -> None:
    """`every` equal to `n` is a plain count window."""
    assert windows.count(3, every=3) == windows.count(3)
    assert str(windows.count(10, every=2)) == "count(10 every 2)"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: windows.count(2, every=3), "gaps"),
        (lambda: windows.count(2, every=0), "at least 1"),
        (
            lambda: window_aggregate(windows.count(4, every=2), AGGREGATES, trigger=windows.early("1s")),
            "leave the trigger",
        ),
        (lambda: window_aggregate(windows.count(4, every=2), {"n": agg.folding(0, max)}), "merge="),
        (lambda: window_aggregate(windows.count(4, every=2), AGGREGATES, allowed_lateness="1s"), "never take"),
    ],
)
def test_wrong_settings_are_refused(make: Any, message: str) -> None:
    """What cannot work is refused when the topology is built."""
    with pytest.raises(ValueError, match=message):
        make()
