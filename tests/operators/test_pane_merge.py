"""Windows from panes: the results of plain merging, at a cost that does not grow with the overlap."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tidegate.operators.pane_merge import Entries, Merging, PaneMerge, merge_of_key

PANES = st.dictionaries(
    st.integers(-30, 60), st.dictionaries(st.sampled_from("ab"), st.lists(st.integers(0, 9), min_size=1, max_size=2))
)


def merging(calls: list[int] | None = None) -> Merging:
    """Merges lists, and notes each merge in `calls`."""

    def merge(acc: list[Any], later: list[Any]) -> None:
        acc.extend(later)
        if calls is not None:
            calls.append(1)

    def both(acc: list[Any], later: list[Any]) -> list[Any]:
        whole = acc.copy()
        merge(whole, later)
        return whole

    def merge_all(totals: Entries, entries: Entries) -> None:
        for key, acc in entries.items():
            if key in totals:
                merge(totals[key], acc)
            else:
                totals[key] = acc.copy()

    def put_before(ending: Entries, entries: Entries, without: Entries) -> None:
        for key, acc in entries.items():
            without[key] = ending.get(key)
            ending[key] = both(acc, ending[key]) if key in ending else acc

    def joined(ending: Entries, beginning: Entries) -> Entries:
        shared = {key: both(ending[key], acc) for key, acc in beginning.items() if key in ending}
        return {**ending, **beginning, **shared}

    return Merging(merge, list.copy, merge_all, put_before, joined)


def merge_of(
    panes: dict[int, Entries], size: int, *, limit: int = 1000, offset: int = 0, calls: list[int] | None = None
) -> PaneMerge:
    """Merges the lists of panes."""

    def get(pane: int, key: Any) -> Any:
        return panes.get(pane, {}).get(key)

    return PaneMerge(size, offset, panes.__getitem__, get, merging(calls), limit=limit)


@settings(max_examples=100)
@given(PANES, st.integers(1, 12), st.integers(0, 3), st.integers(0, 11), st.sampled_from([0, 8, 1000]))
def test_windows_are_their_panes_in_order(
    panes: dict[int, Entries], size: int, skip: int, offset: int, limit: int
) -> None:
    """For any panes, sizes and jumps, however little may be held; and the panes themselves never change."""
    before = {end: {k: v.copy() for k, v in entries.items()} for end, entries in panes.items()}
    merged = merge_of(panes, size, limit=limit, offset=offset)
    for end in range(-31, 75, 1 + skip):
        own = [pane for pane in sorted(panes) if end - size < pane <= end]
        wanted: dict[str, list[int]] = {}
        for pane in own:
            for key, values in panes[pane].items():
                wanted.setdefault(key, []).extend(values)
        assert merged.window(end, own) == wanted
    assert panes == before


@pytest.mark.parametrize("overlap", [10, 100])
def test_the_cost_of_a_window_does_not_grow_with_the_overlap(overlap: int) -> None:
    """About three merges per window and key, at an overlap of 10 and of 100."""
    calls: list[int] = []
    panes: dict[int, Entries] = {end: {"a": [end]} for end in range(1, 1001)}
    merged = merge_of(panes, overlap, limit=10**9, calls=calls)
    for end in range(overlap, 1001):
        merged.window(end, range(end - overlap + 1, end + 1))
    assert len(calls) <= 3 * 1000


@settings(max_examples=150)
@given(
    PANES,
    st.integers(1, 12),
    st.integers(0, 11),
    st.lists(st.tuples(st.integers(0, 60), st.integers(-30, 60), st.sampled_from("ab")), max_size=12),
)
def test_a_pane_that_changes_late_is_seen(
    panes: dict[int, Entries], size: int, offset: int, changes: list[tuple[int, int, str]]
) -> None:
    """Whether it was merged before, is empty still, or is passed; and nothing that was given out is changed by it."""
    merged = merge_of(panes, size, offset=offset)
    for end in range(-31, 75):
        own = [pane for pane in sorted(panes) if end - size < pane <= end]
        wanted: dict[str, list[int]] = {}
        for pane in own:
            for key, values in panes[pane].items():
                wanted.setdefault(key, []).extend(values)
        assert merged.window(end, own) == wanted
        for when, pane, key in changes:
            if when == end:
                panes.setdefault(pane, {}).setdefault(key, []).append(when)
                merged.changed(pane, key)


def test_a_late_change_costs_one_walk_over_the_panes_of_its_key() -> None:
    """And not the panes of all keys once more."""
    calls: list[int] = []
    panes: dict[int, Entries] = {end: {key: [end] for key in range(50)} for end in range(1, 301)}
    merged = merge_of(panes, 100, limit=10**9, calls=calls)
    merged.window(150, range(51, 151))
    calls.clear()
    panes[120][7].append(0)
    merged.changed(120, 7)
    merged.window(151, range(52, 152))
    assert len(calls) <= 100 + 2 * 50


ENDS = st.lists(st.integers(0, 30), unique=True, max_size=12).map(sorted)


@given(ENDS, st.integers(1, 12), st.dictionaries(st.integers(-15, 30), st.lists(st.integers(0, 9), min_size=1)))
def test_windows_of_a_key_are_its_panes_in_order(ends: list[int], size: int, panes: dict[int, list[int]]) -> None:
    """Whichever windows are asked for; those without any record are left out."""
    before = {end: values.copy() for end, values in panes.items()}
    found = dict(merge_of_key(ends, lambda end: end - size, 1, panes.get, merging()))
    wanted = {end: [v for pane in range(end - size + 1, end + 1) for v in panes.get(pane, [])] for end in ends}
    assert found == {end: values for end, values in wanted.items() if values}
    assert panes == before


@pytest.mark.parametrize("overlap", [10, 100])
def test_the_windows_of_a_late_record_cost_a_few_merges_each(overlap: int) -> None:
    """At an overlap of 10 and of 100."""
    calls: list[int] = []
    ends = range(overlap, 2 * overlap)
    assert len(list(merge_of_key(ends, lambda end: end - overlap, 1, lambda pane: [pane], merging(calls)))) == overlap
    assert len(calls) <= 3 * overlap
