"""Global and count windows."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tidegate.engine.testing import OperatorHarness
from tidegate.operators import agg, windows
from tidegate.operators.window_global import GlobalWindowOperator

RECORDS = st.lists(st.tuples(st.integers(-20, 60), st.sampled_from("abc"), st.integers(-9, 9)), max_size=30)
AGGREGATES = {"n": agg.count(), "values": agg.collect()}


def pushed(h: OperatorHarness[Any], records: list[tuple[int, str, int]], cuts: list[int]) -> None:
    """Push the records in batches of these sizes, the rest at last."""
    for size in [*cuts, len(records)]:
        batch, records = records[:size], records[size:]
        h.push([v for *_, v in batch], [t for t, *_ in batch], [k for _, k, _ in batch])


@settings(max_examples=50, deadline=None)
@given(RECORDS, st.lists(st.integers(1, 9), max_size=3), st.integers(1, 5), st.booleans(), st.booleans())
def test_count_windows_agree_with_a_naive_computation(
    records: list[tuple[int, str, int]], cuts: list[int], n: int, partial: bool, inline: bool
) -> None:
    """Each `n` records of a key, in the order in which they come, wherever batches are cut and state is restored."""
    with OperatorHarness(GlobalWindowOperator(windows.count(n, partial=partial), AGGREGATES, inline=inline)) as h:
        pushed(h, records, cuts)
        h.end()
        wanted = []
        for key in {key for _, key, _ in records}:
            own = [(t, v) for t, k, v in records if k == key]
            for i in range(0, len(own), n):
                part = own[i : i + n]
                if len(part) == n or partial:
                    times = [t for t, _ in part]
                    wanted.append((key, min(times), max(times) + 1, len(part), [v for _, v in part]))
        results = [(r.key, r.start_ms, r.end_ms, r.n, r.values) for r in h.values]
        assert sorted(results) == sorted(wanted)
        assert all(time == result.end_ms - 1 for result, time in h.output)


def test_a_global_window_fires_at_the_end_of_the_stream() -> None:
    """Once per key, with all its records; watermarks do not matter to it."""
    with OperatorHarness(GlobalWindowOperator(windows.global_(), AGGREGATES)) as h:
        h.push([1, 2, 3], [5, 1, 9], ["a", "a", "b"]).watermark(1_000)
        assert h.values == []
        h.end()
        assert sorted((r.key, r.start_ms, r.end_ms, r.values) for r in h.values) == [
            ("a", 1, 6, [1, 2]),
            ("b", 9, 10, [3]),
        ]


def test_a_count_trigger_fires_a_global_window_with_everything_so_far() -> None:
    """Each result holds all records of the key, unless the trigger purges; the rest is not given out."""
    for purging, counts in ((False, [2, 4]), (True, [2, 2])):
        operator = GlobalWindowOperator(windows.global_(), AGGREGATES, trigger=windows.on_count(2, purging=purging))
        with OperatorHarness(operator) as h:
            h.push([1, 2, 3, 4, 5], [1] * 5, ["a"] * 5).end()
            assert [r.n for r in h.values] == counts


def test_an_early_trigger_fires_a_global_window_by_processing_time() -> None:
    """Only keys that changed, at full multiples of the interval."""
    operator = GlobalWindowOperator(windows.global_(), AGGREGATES, trigger=windows.early(every="1s"))
    with OperatorHarness(operator) as h:
        h.push([1, 2], [1, 1], ["a", "b"]).advance(1_000).push([3], [1], ["a"]).advance(1_000)
        assert sorted((r.key, r.n) for r in h.values) == [("a", 1), ("a", 2), ("b", 1)]


def test_windows_without_event_time_have_no_bounds_and_no_timestamps() -> None:
    """Count and global windows need no timestamps."""
    with OperatorHarness(GlobalWindowOperator(windows.count(2, partial=True), AGGREGATES)) as h:
        h.push([1, 2, 3], keys=["a", "a", "a"]).end()
        assert [(r.start_ms, r.end_ms, r.values) for r in h.values] == [(0, 0, [1, 2]), (0, 0, [3])]
        assert [time for _, time in h.output] == [None, None]


def test_a_count_window_takes_no_other_trigger() -> None:
    """It fires when it is full."""
    with pytest.raises(ValueError, match="leave the trigger out"):
        GlobalWindowOperator(windows.count(2), AGGREGATES, trigger=windows.on_count(2))
