"""What the suites of state backends work with: states of every kind, and how they are filled, changed and shown."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from ...operators.state import (
    BroadcastState,
    KeyedTableState,
    ListState,
    LocalListState,
    MapState,
    ReducingState,
    StateDescriptor,
    ValueState,
    WindowTableState,
)
from ..errors import StateError
from ..state.backend import StateBackend
from .state_cluster import StateCluster


class Point(msgspec.Struct):
    """A value for the tests of types."""

    x: int
    y: float = 0.0


class FrozenPoint(msgspec.Struct, frozen=True):
    """A key for the tests of types."""

    x: int


KEYED: KeyedTableState[list[int]] = KeyedTableState("totals", list[int])
WINDOWS: WindowTableState[list[int]] = WindowTableState("windows", list[int])
VALUE: ValueState[Point] = ValueState("point", Point)
LIST: ListState[str] = ListState("names", str)
MAP: MapState[str, int] = MapState("counts", str, int)
NOTES: MapState[str, list[int]] = MapState("notes", str, list[int])
SUM: ReducingState[int] = ReducingState("sum", int, lambda a, b: a + b)
LOCAL: LocalListState[str] = LocalListState("in_flight", str)
RULES: BroadcastState[Any, int] = BroadcastState("rules", Any, int)
EVERYTHING: tuple[StateDescriptor[Any], ...] = (KEYED, WINDOWS, VALUE, LIST, MAP, NOTES, SUM, LOCAL, RULES)


class StateCases:
    """What the suites of state backends have in common."""

    def make_backend(self) -> StateBackend:
        """A new backend."""
        raise TypeError(f"{type(self).__name__} must override make_backend")

    def cluster(self, folder: Path, *descriptors: StateDescriptor[Any], **settings: Any) -> StateCluster:
        """Stores of the backend with the given states."""
        return StateCluster(self.make_backend(), folder, descriptors, **settings)


def fill(cluster: StateCluster, key: Any, states: Sequence[StateDescriptor[Any]] = EVERYTHING) -> None:
    """Some state of each kind under a key."""
    actions: dict[str, Callable[[Any], Any]] = {
        KEYED.name: lambda table: table.put(key, [1]),
        WINDOWS.name: lambda table: table.open(60).__setitem__(key, [1]),
        VALUE.name: lambda handle: handle.set(Point(1, 2.0)),
        LIST.name: lambda handle: (handle.add("p"), handle.extend(["q"])),
        MAP.name: lambda handle: (handle.put("x", 1), handle.put("y", 2)),
        NOTES.name: lambda handle: (handle.put("x", [1]), handle.put("y", [2])),
        SUM.name: lambda handle: (handle.add(3), handle.add(4)),
        LOCAL.name: lambda handle: None,
        RULES.name: lambda handle: None,
    }
    for state in states:
        actions[state.name](cluster.bind(state, key))


def change(cluster: StateCluster, key: Any) -> None:
    """Everything under a key changed as operators and user functions do: in place where that is allowed."""
    totals, windows = cluster.bind(KEYED, key), cluster.bind(WINDOWS, key)
    value = totals.live.get(key) or totals.load(key)
    if value is None:
        value = totals.live[key] = []
    value.append(len(value))
    for namespace in (60, 90, 120):
        entries = windows.live.get(namespace) or windows.open(namespace)
        found = entries.get(key) or windows.load(namespace, key)
        if found is None:
            found = entries[key] = []
        found.append(len(found))
    handle = cluster.bind(VALUE, key)
    point = handle.get() or Point(0)
    point.x += 1
    handle.set(point)
    cluster.bind(LIST, key).add("r")
    counts = cluster.bind(MAP, key)
    counts.put("x", (counts.get("x") or 0) + 1)
    counts.remove("y")
    counts.put("z", 1)
    notes = cluster.bind(NOTES, key)
    for note in ("x", "y", "z"):
        items = notes.get(note) or []
        items.append(len(items))
        notes.put(note, items)
    cluster.bind(SUM, key).add(1)


def clear(handle: Any, key: Any) -> None:
    """Forget what a handle or table has under a key."""
    if hasattr(handle, "clear"):
        handle.clear()
    else:
        handle.remove(key)


def shown(cluster: StateCluster) -> Any:
    """All that the first store holds of `EVERYTHING` and its event timers, which are left as they are."""
    windows, timers = cluster.bind(WINDOWS, "a"), timers_of(cluster)
    due = list(timers.due_event(1 << 40))
    for timestamp, keys in due:
        for key in keys:
            timers.set_event(timestamp, key)
    return msgspec.to_builtins(
        [
            sorted(cluster.bind(KEYED, "a").items()),
            [(namespace, sorted(windows.read(namespace).items())) for namespace in windows.namespaces()],
            [
                (
                    cluster.bind(VALUE, key).get(),
                    cluster.bind(LIST, key).get(),
                    sorted(cluster.bind(MAP, key).items()),
                    sorted(cluster.bind(NOTES, key).items()),
                    cluster.bind(SUM, key).get(),
                )
                for key in ("a", "b", "gone", "new")
            ],
            due,
        ]
    )


def timers_of(cluster: StateCluster) -> Any:
    """The timers of the first store."""
    return cluster.stores[0].timers


def due_timers(cluster: StateCluster) -> list[tuple[int, list[Any]]]:
    """All event timers of all stores."""

    def given() -> Iterator[tuple[int, Any]]:
        for store in cluster.stores:
            assert store.timers is not None
            for timestamp, keys in store.timers.due_event(1 << 40):
                yield from ((timestamp, key) for key in keys)

    found: dict[int, list[Any]] = {}
    for timestamp, key in sorted(given()):
        found.setdefault(timestamp, []).append(key)
    return sorted(found.items())


def refused(kind: type[StateError], action: Callable[[], Any]) -> str:
    """The message of the error that an action raises."""
    try:
        action()
    except kind as error:
        return str(error)
    raise AssertionError(f"no {kind.__name__} was raised")
