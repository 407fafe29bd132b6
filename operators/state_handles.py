"""The handles of value, list, map and reducing state: what user code works with, on the current key.

A handle keeps nothing itself: everything is in the tables of the state backend. A value that `get` returns is the
stored object, not a copy: after changing it in place, `set` it, or the change may be lost. Do not keep it for a later
record, but `get` it again: between the two may be a barrier, and what was kept would change the snapshot behind it.

With a time to live an entry is stored beside the moment at which it expires, as the pair (expires_ms, value). Writing
starts the time anew, reading does not. An expired entry is absent; it is removed when it is read, and by the backend
in the course of time when it is not.

None means absent everywhere: setting None clears.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import msgspec

from .state import stored_type
from .time import duration_ms

if TYPE_CHECKING:
    from .state import ListState, MapState, ReducingState, Tables, ValueState

K = TypeVar("K")
V = TypeVar("V")


class ValueHandle(Generic[V]):
    """One value per key. Made by `ValueState`."""

    def __init__(self, state: ValueState[V], tables: Tables) -> None:
        self._cell = _Cell(state, state.type, tables)

    def get(self) -> V | None:
        """The value of the current key; None when there is none. After changing it in place, `set` it."""
        value: V | None = self._cell.read()
        return value

    def set(self, value: V | None) -> None:
        """Store a value under the current key; None clears.

        Raises:
            TypeError: it is not of the declared type.
        """
        if value is None:
            self._cell.clear()
        else:
            self._cell.check(value)
            self._cell.write(value)

    def clear(self) -> None:
        """Forget the value of the current key."""
        self._cell.clear()

    @property
    def value(self) -> V | None:
        """`get` and `set` as an attribute."""
        return self.get()

    @value.setter
    def value(self, value: V | None) -> None:
        self.set(value)


class ListHandle(Generic[V]):
    """A list per key. Made by `ListState`."""

    def __init__(self, state: ListState[V], tables: Tables) -> None:
        self._cell = _Cell(state, state.schema_types[0], tables)

    def add(self, item: V) -> None:
        """Append an item.

        Raises:
            TypeError: it is not of the declared type.
        """
        self._cell.check(item)
        items = self._cell.open()
        if items is None:
            self._cell.write([item])
        else:
            items.append(item)
            self._cell.write(items)

    def extend(self, items: Iterable[V]) -> None:
        """Append several items, in order; all of them or, when one is of another type, none.

        Raises:
            TypeError: an item is not of the declared type.
        """
        new = list(items)
        for item in new:
            self._cell.check(item)
        if new:
            self._cell.write((self._cell.open() or []) + new)

    def get(self) -> list[V]:
        """A copy of the list of the current key; empty when there is none."""
        return list(self._cell.read() or ())

    def clear(self) -> None:
        """Forget the list of the current key."""
        self._cell.clear()


class ReducingHandle(Generic[V]):
    """One value per key, into which others are folded. Made by `ReducingState`."""

    def __init__(self, state: ReducingState[V], tables: Tables) -> None:
        self._cell = _Cell(state, state.type, tables)
        self._reduce: Callable[[V, V], V] = state.reduce

    def add(self, value: V) -> V:
        """Fold a value into that of the current key and return the result; the first value stands for itself.

        Raises:
            TypeError: the result is not of the declared type.
        """
        old = self._cell.open()
        new = value if old is None else self._reduce(old, value)
        self._cell.check(new)
        self._cell.write(new)
        return new

    def get(self) -> V | None:
        """What was folded so far under the current key; None when nothing was."""
        value: V | None = self._cell.read()
        return value

    def clear(self) -> None:
        """Forget the value of the current key."""
        self._cell.clear()


class MapHandle(Generic[K, V]):
    """A map per key, read and written entry by entry. Made by `MapState`. Each entry has its own time to live."""

    def __init__(self, state: MapState[K, V], tables: Tables) -> None:
        self._ttl_ms = None if state.ttl is None else duration_ms(state.ttl)
        self._name = state.name
        self._type = state.type
        self._tables = tables
        self._table = tables.mapped(state, state.key_type, stored_type(state.type, state.ttl))

    def get(self, map_key: K) -> V | None:
        """The value of an entry; None when there is none. After changing it in place, `put` it."""
        key = self._tables.current_key()
        value: V | None
        if self._ttl_ms is None:
            value = self._table.get(key, map_key)
            return value
        entry = self._table.get(key, map_key)
        if entry is None:
            return None
        if entry[0] <= self._tables.now_ms():
            self._table.remove(key, map_key)
            return None
        value = entry[1]
        return value

    def put(self, map_key: K, value: V | None) -> None:
        """Store an entry; None removes it.

        Raises:
            TypeError: the value is not of the declared type.
        """
        if value is None:
            self.remove(map_key)
            return
        _check(self._name, value, self._type)
        entry = value if self._ttl_ms is None else (self._tables.now_ms() + self._ttl_ms, value)
        self._table.put(self._tables.current_key(), map_key, entry)

    def remove(self, map_key: K) -> None:
        """Forget an entry. No error when it is not there."""
        self._table.remove(self._tables.current_key(), map_key)

    def contains(self, map_key: K) -> bool:
        """Whether there is an entry."""
        return self.get(map_key) is not None

    def items(self) -> Iterator[tuple[K, V]]:
        """The entries of the current key, in no order. The map may be changed meanwhile."""
        key = self._tables.current_key()
        if self._ttl_ms is None:
            return self._table.items(key)
        now_ms = self._tables.now_ms()
        kept = []
        for map_key, (expires_ms, value) in self._table.items(key):
            if expires_ms > now_ms:
                kept.append((map_key, value))
            else:
                self._table.remove(key, map_key)
        return iter(kept)

    def keys(self) -> Iterator[K]:
        """The map keys of the current key, in no order."""
        return (map_key for map_key, _ in self.items())

    def clear(self) -> None:
        """Forget all entries of the current key."""
        self._table.clear(self._tables.current_key())


class _Cell:
    """One stored value per key, with or without a time to live: what value, list and reducing state have in common."""

    def __init__(self, state: Any, stored: Any, tables: Tables) -> None:
        self._name = state.name
        self._checked = state.type
        self._ttl_ms = None if state.ttl is None else duration_ms(state.ttl)
        self._tables = tables
        self._table = tables.keyed(state, stored_type(stored, state.ttl))

    def check(self, value: Any) -> None:
        _check(self._name, value, self._checked)

    def read(self) -> Any:
        """The value, not to be changed in place."""
        key = self._tables.current_key()
        return self._unexpired(key, self._table.get(key))

    def open(self) -> Any:
        """The value, to be changed in place."""
        key = self._tables.current_key()
        entry = self._table.live.get(key)
        return self._unexpired(key, self._table.load(key) if entry is None else entry)

    def write(self, value: Any) -> None:
        entry = value if self._ttl_ms is None else (self._tables.now_ms() + self._ttl_ms, value)
        self._table.put(self._tables.current_key(), entry)

    def clear(self) -> None:
        self._table.remove(self._tables.current_key())

    def _unexpired(self, key: Any, entry: Any) -> Any:
        if entry is None or self._ttl_ms is None:
            return entry
        if entry[0] > self._tables.now_ms():
            return entry[1]
        self._table.remove(key)
        return None


def _check(name: str, value: Any, declared: Any) -> None:
    try:
        msgspec.convert(value, declared)
    except msgspec.ValidationError as error:
        raise TypeError(f"state {name!r} takes {declared!r}: {error}") from error
