"""Cumulative windows against a brute-force oracle."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tidegate.engine.testing import OperatorHarness
from tidegate.operators import agg, windows
from tidegate.operators.time import MIN_WATERMARK
from tidegate.operators.window_cumulative import CumulativeWindowOperator
from tidegate.operators.windowed import window_aggregate

Step = int | list[tuple[int, str, int]]
"""A watermark, or a batch of (timestamp, key, value)."""

AGGREGATES = {"n": agg.count(), "total": agg.sum(), "top": agg.max(), "values": agg.collect()}
RECORDS = st.tuples(st.integers(-20, 60), st.sampled_from("ab"), st.integers(-9, 9))
STEPS = st.lists(st.one_of(st.integers(-25, 70), st.lists(RECORDS, min_size=1, max_size=6)), max_size=12)
ASSIGNERS = st.sampled_from(
    [
        windows.CumulativeWindows(12, 4),
        windows.CumulativeWindows(10, 1),
        windows.CumulativeWindows(20, 5, 3),
        windows.CumulativeWindows(8, 8),
    ]
)


def windows_of(timestamp: int, assigner: windows.CumulativeWindows) -> list[tuple[int, int]]:
    """The windows of a timestamp, found by trying."""
    start = timestamp - (timestamp - assigner.offset_ms) % assigner.size_ms
    ends = range(start + assigner.slide_ms, start + assigner.size_ms + 1, assigner.slide_ms)
    return [(start, end) for end in ends if timestamp < end]


def expected(
    steps: list[Step], assigner: windows.CumulativeWindows, lateness: int
) -> tuple[list[list[Any]], list[int]]:
    """What comes out of each step, and the late values."""
    watermark, kept, late = MIN_WATERMARK, [], []
    out: list[list[Any]] = []

    def result(key: str, start: int, end: int) -> Any:
        values = [v for t, k, v in kept if k == key and start <= t < end]
        return (key, start, end, len(values), sum(values), max(values), sorted(values))

    for step in steps:
        fired: list[Any] = []
        if isinstance(step, int):
            wanted = {(k, *w) for t, k, _ in kept for w in windows_of(t, assigner) if watermark < w[1] - 1 <= step}
            fired = [result(*window) for window in wanted]
            watermark = max(watermark, step)
        else:
            for timestamp, key, value in step:
                alive = [w for w in windows_of(timestamp, assigner) if w[1] - 1 + lateness > watermark]
                if not alive:
                    late.append(value)
                    continue
                kept.append((timestamp, key, value))
                fired += [result(key, *window) for window in alive if window[1] - 1 <= watermark]
        out.append(sorted(fired))
    return out, late


def actual(steps: list[Step], operator: Any, **options: Any) -> tuple[list[list[Any]], list[int]]:
    """What the operator gives out at each step, and the late values."""
    out = []
    with OperatorHarness(operator, **options) as h:
        for step in steps:
            before = len(h.values)
            if isinstance(step, int):
                h.watermark(step)
            else:
                h.push([v for *_, v in step], [t for t, *_ in step], [k for _, k, _ in step])
            out.append(
                sorted((r.key, r.start_ms, r.end_ms, r.n, r.total, r.top, sorted(r.values)) for r in h.values[before:])
            )
        return out, h.side("late")


@settings(max_examples=50, deadline=None)
@given(STEPS, ASSIGNERS, st.sampled_from([0, 1, 7, 30]), st.booleans())
def test_cumulative_windows_agree_with_the_oracle(
    steps: list[Step], assigner: windows.CumulativeWindows, lateness: int, restore: bool
) -> None:
    """Disorder, lateness and restores never change what comes out of a step."""
    operator = CumulativeWindowOperator(assigner, AGGREGATES, allowed_lateness_ms=lateness)
    assert actual(steps, operator, restore_every_step=restore) == expected(steps, assigner, lateness)


@pytest.mark.slow
@settings(max_examples=5, deadline=None)
@given(STEPS, ASSIGNERS, st.sampled_from([0, 7]))
def test_cumulative_windows_agree_with_the_oracle_on_rocksdb(
    steps: list[Step], assigner: windows.CumulativeWindows, lateness: int
) -> None:
    """With a tiny budget."""
    operator = CumulativeWindowOperator(assigner, AGGREGATES, allowed_lateness_ms=lateness)
    found = actual(steps, operator, backend="rocksdb", memory_budget_bytes=300)
    assert found == expected(steps, assigner, lateness)


def test_early_results_hold_the_day_so_far() -> None:
    """By the clock, for the window that is open."""
    operator = window_aggregate(
        windows.cumulative("30ms", "10ms"), {"n": agg.count()}, trigger=windows.early(every="1s")
    )
    with OperatorHarness(operator) as h:
        h.push([1, 2, 3], [1, 12, 29], ["a"] * 3).watermark(9).clear().advance(1000)
        assert [(r.start_ms, r.end_ms, r.n) for r in h.values] == [(0, 20, 2), (0, 30, 3)]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: windows.cumulative("1d", "7h"), "multiple"),
        (lambda: windows.cumulative("1h", "1d"), "multiple"),
        (lambda: windows.cumulative("1d", "0h"), "longer than 0ms"),
        (lambda: windows.cumulative("1d", "1h", offset="1d"), "less than 1d"),
    ],
)
def test_wrong_settings_are_refused(make: Any, message: str) -> None:
    """What cannot work is refused when the topology is built."""
    with pytest.raises(ValueError, match=message):
        make()
