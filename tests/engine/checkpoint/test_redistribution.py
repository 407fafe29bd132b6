"""Which subtask gets which old state and which splits after a rescale."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from tidegate.engine.checkpoint.manifest import OperatorEntry, SubtaskState
from tidegate.engine.checkpoint.redistribution import assign_snapshots, assign_splits
from tidegate.engine.state.backend import StateSchema, StoreSnapshot


def even_ranges(parallelism: int, max_parallelism: int) -> list[range]:
    bounds = [max_parallelism * i // parallelism for i in range(parallelism + 1)]
    return [range(a, b) for a, b in pairwise(bounds)]


def entry_of(parallelism: int, max_parallelism: int, kind: str = "keyed") -> OperatorEntry:
    schemas = (StateSchema("total", kind, 1, ("int",)),)
    return OperatorEntry(
        "aggregate",
        parallelism,
        tuple(
            SubtaskState(StoreSnapshot("dict", "count", i, (groups.start, groups.stop), schemas))
            for i, groups in enumerate(even_ranges(parallelism, max_parallelism))
        ),
    )


@given(st.integers(1, 9), st.integers(1, 9), st.integers(9, 130))
def test_every_key_group_reaches_exactly_the_subtask_that_owns_it(old: int, new: int, groups: int) -> None:
    """Each new subtask reads precisely the old snapshots that hold its key groups, and none in vain."""
    ranges = even_ranges(new, groups)
    assigned = assign_snapshots(entry_of(old, groups), ranges)
    for owned, states in zip(ranges, assigned, strict=True):
        found = [set(range(*state.snapshot.key_groups)) & set(owned) for state in states]
        assert all(found)
        assert sorted(group for part in found for group in part) == list(owned)


def test_with_the_same_parallelism_each_subtask_gets_its_own_snapshot() -> None:
    """Nothing is read twice."""
    entry = entry_of(4, 128)
    assigned = assign_snapshots(entry, even_ranges(4, 128))
    assert assigned == [[state] for state in entry.subtasks]


def test_old_snapshots_come_in_order_of_their_subtask() -> None:
    """Whatever the order in the manifest."""
    entry = entry_of(3, 128)
    shuffled = OperatorEntry("aggregate", 3, entry.subtasks[::-1])
    assert assign_snapshots(shuffled, [range(128)]) == [list(entry.subtasks)]


def test_with_another_number_of_key_groups_every_subtask_reads_every_snapshot() -> None:
    """Any of its keys may be in any of them."""
    entry = entry_of(3, 128)
    assert assign_snapshots(entry, even_ranges(2, 64), rehashed=True) == [list(entry.subtasks)] * 2


def test_items_of_the_subtask_itself_go_to_every_new_subtask() -> None:
    """They belong to no key group; the store deals them out."""
    entry = entry_of(2, 128, kind="local")
    assert assign_snapshots(entry, even_ranges(3, 128)) == [list(entry.subtasks)] * 3


@given(st.lists(st.text(max_size=3), unique=True, max_size=20), st.integers(1, 7))
def test_every_split_goes_to_exactly_one_subtask_and_evenly(splits: list[str], parallelism: int) -> None:
    """No subtask has two more than another, and each keeps the order."""
    dealt = assign_splits(splits, parallelism)
    assert len(dealt) == parallelism
    assert sorted(split for part in dealt for split in part) == sorted(splits)
    assert max(map(len, dealt)) - min(map(len, dealt)) <= 1
    for part in dealt:
        assert part == [split for split in splits if split in part]
    assert dealt == assign_splits(splits, parallelism)


def test_neighbouring_splits_go_to_different_subtasks() -> None:
    """Files read in order of name advance together."""
    assert assign_splits(["a", "b", "c", "d", "e"], 2) == [["a", "c", "e"], ["b", "d"]]


def test_splits_found_later_go_where_the_fewest_are() -> None:
    """What a subtask has already counts."""
    assert assign_splits(["x", "y", "z"], 2, assigned={0: 2}) == [["z"], ["x", "y"]]


def test_snapshots_of_any_make_are_assigned(make_store_snapshot: Callable[..., StoreSnapshot]) -> None:
    """A snapshot with an empty key-group range holds nothing for anybody."""
    empty = SubtaskState(make_store_snapshot(key_groups=(5, 5)))
    assert assign_snapshots(OperatorEntry("aggregate", 1, (empty,)), [range(128)]) == [[]]
