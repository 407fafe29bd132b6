"""Windows from panes: the results of plain merging, at a cost that does not grow with the overlap."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tidegate.operators.pane_merge import Entries, PaneMerge

PANES = st.dictionaries(
    st.integers(-30, 60), st.dictionaries(st.sampled_from("ab"), st.lists(st.integers(0, 9), min_size=1, max_size=2))
)


def merge_of(
    panes: dict[int, Entries], size: int, *, limit: int = 1000, offset: int = 0, calls: list[int] | None = None
) -> PaneMerge:
    """Merges lists, and notes each merge in `calls`."""

    def merge(acc: list[Any], later: list[Any]) -> None:
        acc.extend(later)
        if calls is not None:
            calls.append(1)

    return PaneMerge(size, offset, panes.__getitem__, merge, list.copy, limit=limit)


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


def test_a_changed_pane_is_seen_after_forget() -> None:
    """A late record may change a pane that was merged before."""
    panes: dict[int, Entries] = {1: {"a": [1]}, 2: {"a": [2]}, 3: {"a": [3]}}
    merged = merge_of(panes, 2)
    assert merged.window(2, [1, 2]) == {"a": [1, 2]}
    panes[2]["a"] = [7]
    merged.forget()
    assert merged.window(3, [2, 3]) == {"a": [7, 3]}
