"""The handles act on the current key, keep what was set, and forget what has expired."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from tidegate.engine.state import DictBackend
from tidegate.engine.testing.state_cluster import StateCluster
from tidegate.operators.state import ListState, MapState, ReducingState, StateDescriptor, ValueState


class Point(msgspec.Struct):
    x: int


def _cluster(*states: StateDescriptor[Any]) -> StateCluster:
    return StateCluster(DictBackend(), Path("unused"), states)


def test_a_value_belongs_to_the_current_key() -> None:
    """Another key has none; `value` is `get` and `set`."""
    state: ValueState[int] = ValueState("v", int)
    cluster = _cluster(state)
    cluster.bind(state, "a").set(1)
    assert cluster.bind(state, "b").get() is None
    handle = cluster.bind(state, "a")
    assert handle.value == 1
    handle.value = 2
    assert handle.get() == 2
    handle.clear()
    handle.clear()
    assert handle.value is None


def test_setting_none_clears() -> None:
    """None means absent everywhere."""
    state: ValueState[int | None] = ValueState("v", int | None)
    mapped: MapState[str, int | None] = MapState("m", str, int | None)
    cluster = _cluster(state, mapped)
    handle, entries = cluster.bind(state, "a"), cluster.bind(mapped, "a")
    handle.set(1)
    handle.set(None)
    entries.put("x", 1)
    entries.put("x", None)
    assert list(cluster.stores[0].tables.keyed(state, int | None).items()) == []
    assert list(entries.keys()) == []


def test_a_value_changed_in_place_is_kept_after_set() -> None:
    """The stored object is what `get` returned."""
    state: ValueState[list[int]] = ValueState("v", list[int])
    cluster = StateCluster(DictBackend(), Path("unused"), [state])
    handle = cluster.bind(state, "a")
    handle.set([1])
    value = handle.get()
    value.append(2)
    handle.set(value)
    assert handle.get() == [1, 2]


@pytest.mark.parametrize(
    ("state", "action"),
    [
        (ValueState("s", int), lambda handle: handle.set("text")),
        (ValueState("s", Point), lambda handle: handle.set({"y": 1})),
        (ListState("s", int), lambda handle: handle.add("text")),
        (ListState("s", int), lambda handle: handle.extend([1, "text"])),
        (MapState("s", str, int), lambda handle: handle.put("x", "text")),
        (ReducingState("s", int, lambda a, b: "text"), lambda handle: (handle.add(1), handle.add(1))),
    ],
)
def test_a_value_of_another_type_is_refused_at_once(state: Any, action: Any) -> None:
    """The error names the state; it comes at the record, not at the checkpoint."""
    cluster = _cluster(state)
    with pytest.raises(TypeError, match="state 's' takes"):
        action(cluster.bind(state, "a"))


def test_a_list_is_appended_to_and_read_whole() -> None:
    """What `get` returns is a copy; an extend that is refused adds nothing."""
    state: ListState[int] = ListState("l", int)
    cluster = _cluster(state)
    handle = cluster.bind(state, "a")
    assert handle.get() == []
    handle.add(1)
    handle.extend([2, 3])
    handle.extend([])
    with pytest.raises(TypeError):
        handle.extend([4, "text"])
    handle.get().append(99)
    assert handle.get() == [1, 2, 3]
    handle.clear()
    assert handle.get() == []


def test_a_map_is_read_and_written_entry_by_entry() -> None:
    """And may be changed while its items are looked at."""
    state: MapState[str, int] = MapState("m", str, int)
    cluster = _cluster(state)
    handle = cluster.bind(state, "a")
    handle.put("x", 1)
    handle.put("y", 2)
    assert handle.contains("x")
    assert not handle.contains("z")
    assert sorted(handle.keys()) == ["x", "y"]
    for key, value in handle.items():
        assert handle.get(key) == value
        handle.remove(key)
    assert list(handle.items()) == []
    handle.put("x", 1)
    handle.clear()
    assert handle.get("x") is None


def test_items_are_those_of_the_key_that_was_current_when_asked() -> None:
    """Going on to another key changes nothing about an iteration."""
    state: MapState[str, int] = MapState("m", str, int)
    cluster = _cluster(state)
    cluster.bind(state, "a").put("x", 1)
    items = cluster.bind(state, "a").items()
    cluster.store("b")
    assert list(items) == [("x", 1)]


def test_values_are_folded() -> None:
    """The first stands for itself; `add` returns the result."""
    state: ReducingState[int] = ReducingState("r", int, max)
    cluster = _cluster(state)
    handle = cluster.bind(state, "a")
    assert handle.get() is None
    assert [handle.add(n) for n in (3, 1, 5)] == [3, 3, 5]
    handle.clear()
    assert handle.add(2) == 2


def test_writing_starts_the_time_to_live_anew_and_reading_does_not() -> None:
    """For every shape; a map entry has a time of its own."""
    states: tuple[Any, ...] = (
        ValueState("v", int, ttl="10ms"),
        ListState("l", int, ttl="10ms"),
        ReducingState("r", int, lambda a, b: a + b, ttl="10ms"),
        MapState("m", str, int, ttl="10ms"),
    )
    cluster = _cluster(*states)
    value, items, total, entries = [cluster.bind(state, "a") for state in states]
    value.set(1)
    items.add(1)
    total.add(1)
    entries.put("x", 1)
    cluster.now_ms = 9
    items.add(2)
    total.add(2)
    entries.put("y", 2)
    assert value.get() == 1
    assert entries.get("x") == 1
    cluster.now_ms = 10
    assert value.get() is None
    assert items.get() == [1, 2]
    assert total.get() == 3
    assert list(entries.items()) == [("y", 2)]
    cluster.now_ms = 19
    assert items.get() == []
    assert total.get() is None
    assert not entries.contains("y")
    items.add(7)
    assert items.get() == [7]
