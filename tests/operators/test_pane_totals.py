"""Totals that go from window to window: always those of the window's panes."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tidegate.operators.pane_merge import Entries
from tidegate.operators.pane_totals import PaneTotals

PANES = st.dictionaries(
    st.integers(-30, 60), st.dictionaries(st.sampled_from("abc"), st.integers(1, 9), min_size=1), max_size=20
)


def totals_of(panes: dict[int, Entries], size: int, limit: int, calls: list[int] | None = None) -> PaneTotals:
    """Adds numbers, and notes each pane that is gone through in `calls`."""

    def merge_all(totals: Entries, entries: Entries) -> None:
        for key, n in entries.items():
            totals[key] = totals.get(key, 0) + n

    def subtract_all(totals: Entries, entries: Entries) -> None:
        for key, n in entries.items():
            totals[key] -= n
            if not totals[key]:
                del totals[key]

    def read(pane: int) -> Entries:
        if calls is not None:
            calls.append(pane)
        return panes[pane]

    return PaneTotals(size, read, merge_all, subtract_all, limit=limit)


@settings(max_examples=200)
@given(
    PANES,
    st.integers(1, 12),
    st.integers(1, 5),
    st.sampled_from([0, 2, 1000]),
    st.lists(st.tuples(st.integers(-31, 75), st.integers(-30, 60), st.sampled_from("abc")), max_size=10),
)
def test_a_window_is_the_sum_of_its_panes(
    panes: dict[int, Entries], size: int, slide: int, limit: int, changes: list[tuple[int, int, str]]
) -> None:
    """For any panes and sizes, however little may be held, with panes that change or come late and go when no window
    needs them; windows without panes are not asked for."""
    totals = totals_of(panes, size, limit)
    for end in range(-31, 75, slide):
        wanted: Counter[str] = Counter()
        for pane, entries in panes.items():
            if end - size < pane <= end:
                wanted.update(entries)
        if wanted:
            assert totals.window(end, sorted(panes)) == wanted
        totals.leave(end + slide - size, sorted(panes))
        for pane in [pane for pane in panes if pane <= end + slide - size]:
            del panes[pane]
        for when, pane, key in changes:
            if end <= when < end + slide and pane > end + slide - size:
                panes.setdefault(pane, {})[key] = panes.get(pane, {}).get(key, 0) + 1
                held = totals.totals_of(pane)
                if held is not None:
                    held[key] = held.get(key, 0) + 1


@pytest.mark.parametrize("overlap", [10, 100])
def test_each_pane_is_gone_through_twice(overlap: int) -> None:
    """At an overlap of 10 and of 100."""
    calls: list[Any] = []
    panes: dict[int, Entries] = {end: {"a": 1} for end in range(1, 501)}
    totals = totals_of(panes, overlap, 1000, calls)
    for end in range(1, 501):
        assert totals.window(end, range(1, 501)) == {"a": min(end, overlap)}
    assert len(calls) <= 2 * 500
