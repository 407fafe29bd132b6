"""Local lists are dealt out evenly, in order, and once."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tidegate.engine.errors import StateError
from tidegate.engine.state.backend import StateSchema, StoreSnapshot
from tidegate.engine.state.codec import ValueCodec
from tidegate.engine.state.entries import read_items
from tidegate.engine.state.local_items import FILE, BroadcastItems, LocalItems, encode_local, restore_local


def _items() -> dict[str, LocalItems]:
    return {"calls": LocalItems(ValueCodec(int, "state 'calls'"))}


def _stored(folder: Path, items: list[int]) -> Callable[[str], list[bytes]]:
    """What reads the items of a list from a snapshot that holds these."""
    before = _items()
    before["calls"].items = items
    folder.mkdir(exist_ok=True)
    (folder / FILE).write_bytes(encode_local(before))
    schema = StateSchema("calls", "local", 1, ("int",))
    return partial(read_items, StoreSnapshot("dict", "ask", 0, (0, 128), (schema,)), folder)


@pytest.mark.parametrize("parallelism", [1, 2, 3, 7])
def test_every_item_goes_to_one_subtask(tmp_path: Path, parallelism: int) -> None:
    """Item i of all, in order of the old subtasks, goes to subtask i modulo the new parallelism."""
    snapshots: list[Any] = []
    for subtask, items in enumerate(([0, 1, 2], [], [3, 4])):
        snapshots.insert(0, (subtask, _stored(tmp_path / str(subtask), items), {"calls": None}))
    for subtask in range(parallelism):
        after = _items()
        restore_local(after, snapshots, subtask, parallelism)
        assert after["calls"].items == list(range(subtask, 5, parallelism))


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    """The remedy is an older checkpoint."""
    read = _stored(tmp_path, [])
    (tmp_path / FILE).write_bytes(b"\xc1")
    with pytest.raises(StateError, match="restore an older checkpoint") as caught:
        restore_local(_items(), [(0, read, {"calls": None})], 0, 1)
    assert str(tmp_path) in str(caught.value)


def test_items_are_upgraded(tmp_path: Path) -> None:
    """With the conversion of the snapshot that they come from."""
    read = _stored(tmp_path, [1, 2, 3])
    after = _items()
    restore_local(after, [(0, read, {"calls": lambda data: data[0] * 10})], 0, 1)
    assert after["calls"].items == [10, 20, 30]


def test_of_a_broadcast_map_every_subtask_gets_a_copy() -> None:
    """Its own, which may differ by what was in flight; after a rescale that of the first. Keys are what they were."""
    codec = ValueCodec(tuple[Any, int], "state 'rules'")
    before = [BroadcastItems(codec, plain_keys=True) for _ in range(2)]
    for subtask, items in enumerate(before):
        items.entries = {("a", ("b", 1)): subtask, 2: 2}
    snapshots = [(n, lambda name, items=items: items.encoded(), {"rules": None}) for n, items in enumerate(before)]
    for parallelism, expected in ((2, [0, 1]), (3, [0, 0, 0]), (1, [0])):
        after = [BroadcastItems(codec, plain_keys=True) for _ in range(parallelism)]
        for subtask, items in enumerate(after):
            restore_local({"rules": items}, snapshots[::-1], subtask, parallelism)
        assert [items.entries for items in after] == [before[n].entries for n in expected]
