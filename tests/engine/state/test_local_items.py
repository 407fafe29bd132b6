"""Local lists come back, or are dealt out evenly, in order, and once."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tidegate.engine.errors import StateError
from tidegate.engine.state.backend import StateSchema, StoreSnapshot, StoreSpec
from tidegate.engine.state.codec import ValueCodec
from tidegate.engine.state.entries import read_items
from tidegate.engine.state.key_groups import key_group_range
from tidegate.engine.state.local_items import FILE, BroadcastItems, LocalItems, encode_local, restore_local

CALLS = StateSchema("calls", "local", 1, ("int",))


def _items() -> dict[str, LocalItems]:
    return {"calls": LocalItems(ValueCodec(int, "state 'calls'"))}


def _stored(folder: Path, items: list[int]) -> Callable[[str], list[bytes]]:
    """What reads the items of a list from a snapshot that holds these."""
    before = _items()
    before["calls"].items = items
    folder.mkdir(exist_ok=True)
    (folder / FILE).write_bytes(encode_local(before))
    return partial(read_items, _snapshot(0, 1), folder)


def _snapshot(subtask: int, parallelism: int) -> StoreSnapshot:
    groups = key_group_range(subtask, parallelism, 128)
    return StoreSnapshot("dict", "ask", subtask, (groups.start, groups.stop), (CALLS,))


def _spec(subtask: int, parallelism: int, max_parallelism: int = 128) -> StoreSpec:
    groups = key_group_range(subtask, parallelism, max_parallelism)
    more: Any = {"descriptors": (), "uses_timers": False, "memory_budget_bytes": 0, "now_ms": lambda: 0}
    return StoreSpec("ask", subtask, groups, max_parallelism, directory=Path(), parallelism=parallelism, **more)


def _three_snapshots(folder: Path) -> list[Any]:
    """Of subtasks with the items 0 to 4 in all, in no order."""
    found: list[Any] = []
    for subtask, items in enumerate(([0, 1, 2], [], [3, 4])):
        found.insert(0, (_snapshot(subtask, 3), _stored(folder / str(subtask), items), {"calls": None}))
    return found


@pytest.mark.parametrize(("parallelism", "max_parallelism"), [(1, 128), (2, 128), (7, 128), (3, 64)])
def test_every_item_goes_to_one_subtask(tmp_path: Path, parallelism: int, max_parallelism: int) -> None:
    """Item i of all, in order of the old subtasks, goes to subtask i modulo the new parallelism. Also where only the key
    groups are others, for then keys have gone from one subtask to another."""
    snapshots = _three_snapshots(tmp_path)
    for subtask in range(parallelism):
        after = _items()
        restore_local(after, snapshots, _spec(subtask, parallelism, max_parallelism))
        assert after["calls"].items == list(range(subtask, 5, parallelism))


def test_at_an_unchanged_parallelism_each_subtask_gets_its_own_list(tmp_path: Path) -> None:
    """In order, for there may be one between its items and what the subtask reads next."""
    snapshots = _three_snapshots(tmp_path)
    for subtask, items in enumerate(([0, 1, 2], [], [3, 4])):
        after = _items()
        restore_local(after, snapshots, _spec(subtask, 3))
        assert after["calls"].items == items


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    """The remedy is an older checkpoint."""
    read = _stored(tmp_path, [])
    (tmp_path / FILE).write_bytes(b"\xc1")
    with pytest.raises(StateError, match="restore an older checkpoint") as caught:
        restore_local(_items(), [(_snapshot(0, 1), read, {"calls": None})], _spec(0, 1))
    assert str(tmp_path) in str(caught.value)


def test_items_are_upgraded(tmp_path: Path) -> None:
    """With the conversion of the snapshot that they come from."""
    read = _stored(tmp_path, [1, 2, 3])
    after = _items()
    restore_local(after, [(_snapshot(0, 1), read, {"calls": lambda data: data[0] * 10})], _spec(0, 1))
    assert after["calls"].items == [10, 20, 30]


def test_of_a_broadcast_map_every_subtask_gets_a_copy() -> None:
    """Its own, which may differ by what was in flight; after a rescale that of the first. Keys are what they were."""
    codec = ValueCodec(tuple[Any, int], "state 'rules'")
    before = [BroadcastItems(codec, plain_keys=True) for _ in range(2)]
    for subtask, items in enumerate(before):
        items.entries = {("a", ("b", 1)): subtask, 2: 2}
    snapshots: list[Any] = [
        (_snapshot(n, 2), lambda name, items=items: items.encoded(), {"rules": None}) for n, items in enumerate(before)
    ]
    for parallelism, expected in ((2, [0, 1]), (3, [0, 0, 0]), (1, [0])):
        after = [BroadcastItems(codec, plain_keys=True) for _ in range(parallelism)]
        for subtask, items in enumerate(after):
            restore_local({"rules": items}, snapshots[::-1], _spec(subtask, parallelism))
        assert [items.entries for items in after] == [before[n].entries for n in expected]
