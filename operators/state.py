"""State: what an operator declares, and the handles it works with.

Two levels. The *shapes* (`ValueState`, `MapState`, `ListState`, `ReducingState`, and timers) are what user code sees;
they act on the current key. The *tables* (`KeyedTable`, `WindowTable`) are what the engine's own operators use in
their inner loops: native Python objects in plain dicts, with a slow path for what is not there. The shapes are
built on the tables; the state backends know tables only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from .time import Duration

if TYPE_CHECKING:
    from .state_handles import ListHandle, MapHandle, ReducingHandle, ValueHandle

K = TypeVar("K")
V = TypeVar("V")
H_co = TypeVar("H_co", bound="Handle", covariant=True)


class Handle(Protocol):
    """Anything that `OperatorContext.state` returns."""


class StateDescriptor(Protocol[H_co]):
    """What `OperatorContext.state` takes: the name of a state, and what is needed to store it.

    `name` is unique in the operator. `schema_types` gives the types that are stored, in order; they and `version` are
    recorded in every snapshot, and a change without an `upgrade` refuses to start.
    """

    @property
    def name(self) -> str: ...
    @property
    def version(self) -> int: ...
    @property
    def upgrade(self) -> Callable[[int, Any], Any] | None: ...
    @property
    def schema_types(self) -> tuple[Any, ...]: ...
    def bind(self, tables: Tables) -> H_co: ...


class KeyedTable(Protocol[K, V]):
    """key → value. Values are native objects and may be changed in place while they are in `live`."""

    live: dict[K, V]
    """The values touched since the last barrier. Whatever stands here is part of the next snapshot: an inner loop
    may read, insert and change in place. Keep a reference to the dict or to a value for the whole batch, but not over the
    end of `process`: at barriers and evictions, which come between batches, the dict is replaced, and a value that was
    kept would change a snapshot that is still being written."""

    def load(self, key: K) -> V | None:
        """Bring the value of a key that is not in `live` into `live` and return it; None when there is none."""
        ...

    def get(self, key: K) -> V | None:
        """The value without marking it as changed; it must not be changed in place."""
        ...

    def put(self, key: K, value: V) -> None: ...
    def remove(self, key: K) -> None:
        """Forget the key. No error when it is not there."""
        ...

    def items(self) -> Iterator[tuple[K, V]]:
        """All entries, in no order; must not be changed while iterating."""
        ...


class WindowTable(Protocol[K, V]):
    """(namespace, key) → value, where a namespace is an integer in order of time: a window's end, a pane's end."""

    live: dict[int, dict[K, V]]
    """namespace → the entries touched since the last barrier. As `KeyedTable.live`; an inner loop may look up
    `live.get(namespace)` and work in it, but takes a namespace that is not there from `open`."""

    def open(self, namespace: int) -> dict[K, V]:
        """The live dict of a namespace, made if it is not there."""
        ...

    def load(self, namespace: int, key: K) -> V | None:
        """Bring an entry that is not in `live[namespace]` there and return it; None when there is none."""
        ...

    def loader(self, namespace: int) -> Callable[[int, K], V | None]:
        """`load`, or what does the same for this namespace at less cost: good for the batch in hand."""
        ...

    def get(self, namespace: int, key: K) -> V | None:
        """The entry without marking it as changed."""
        ...

    def reader(self, namespace: int) -> Callable[[K], V | None] | None:
        """`get` for this namespace, or what does the same at less cost; None when it holds nothing. Good until an entry of it
        is loaded, added or removed, and for the batch in hand at most."""
        ...

    def remove(self, namespace: int, key: K) -> None: ...
    def namespaces(self) -> Iterable[int]:
        """The namespaces that hold anything, ascending, in memory or on disk."""
        ...

    def first(self) -> int | None:
        """The smallest namespace that holds anything; cheap."""
        ...

    def read(self, namespace: int) -> dict[K, V]:
        """All entries of a namespace, from wherever they are; not to be changed."""
        ...

    def take(self, namespace: int) -> dict[K, V]:
        """All entries of a namespace, which is then empty; a live dict of it taken before is void."""
        ...

    def drop(self, namespace: int) -> None:
        """Forget a namespace with all its entries, without reading them."""
        ...


class Tables(Protocol):
    """What the state backend offers to descriptors. One per operator and subtask."""

    def keyed(self, descriptor: StateDescriptor[Any], value_type: Any) -> KeyedTable[Any, Any]: ...
    def windowed(self, descriptor: StateDescriptor[Any], value_type: Any) -> WindowTable[Any, Any]: ...
    def mapped(self, descriptor: StateDescriptor[Any], key_type: Any, value_type: Any) -> MapTable: ...
    def local(self, descriptor: StateDescriptor[Any], item_type: Any) -> LocalList: ...
    def broadcast(self, descriptor: StateDescriptor[Any], key_type: Any, item_type: Any) -> BroadcastMap[Any, Any]: ...
    def current_key(self) -> Any:
        """The key that user code works on; set by the operator with `set_current_key`."""
        ...

    def set_current_key(self, key: Any) -> None: ...
    def now_ms(self) -> int: ...


class MapTable(Protocol):
    """(key, map key) → value. Entries are read and written one by one; a key's map need not fit into memory."""

    def get(self, key: Any, map_key: Any) -> Any | None: ...
    def put(self, key: Any, map_key: Any, value: Any) -> None: ...
    def remove(self, key: Any, map_key: Any) -> None: ...
    def items(self, key: Any) -> Iterator[tuple[Any, Any]]:
        """All entries of a key; a consistent copy, so the map may be changed meanwhile."""
        ...

    def keys(self) -> Iterator[Any]:
        """The keys that have entries, in no order. May be gone on with while the table changes: a key that is there all the
        while comes exactly once, one that comes or goes meanwhile may come too."""
        ...

    def clear(self, key: Any) -> None: ...


class LocalList(Protocol):
    """State of the subtask, not of a key: a list that it gets back in order, unless the job is rescaled; then the items are
    dealt out anew."""

    items: list[Any]
    """The items after a restore; set the list before a snapshot."""


class BroadcastMap(Protocol[K, V]):
    """A map that every subtask of the operator holds whole, in memory."""

    entries: dict[K, V]
    """The map, to be changed in place."""


@dataclass(frozen=True)
class StoredState(Generic[V]):
    """What the descriptors of states with one stored type share.

    Args:
        name: unique in the operator.
        type: what is stored: anything msgspec can encode (`int`, `str`, a `msgspec.Struct`, a dataclass, `list[int]`…).
        version: raise it when the meaning of what is stored changes, together with `upgrade`.
        upgrade: `upgrade(old_version, old_value_as_builtins) -> value`, run over the restored state before any record.
    """

    name: str
    type: Any
    version: int = 1
    upgrade: Callable[[int, Any], Any] | None = None

    @property
    def schema_types(self) -> tuple[Any, ...]:
        return (self.type,)


@dataclass(frozen=True)
class KeyedTableState(StoredState[V]):
    """Declares a `KeyedTable`: one value per key, for inner loops.

    Args:
        name, type, version, upgrade: see `StoredState`.
        ttl: entries are pairs (when it expires, in milliseconds of processing time; a value of `type`), which the operator
            makes. The backend removes those that have expired, in the course of time; until then they are still there.
    """

    ttl: Duration | None = None

    def bind(self, tables: Tables) -> KeyedTable[Any, Any]:
        return tables.keyed(self, stored_type(self.type, self.ttl))


@dataclass(frozen=True)
class WindowTableState(StoredState[V]):
    """Declares a `WindowTable`: one value per namespace and key, for inner loops."""

    def bind(self, tables: Tables) -> WindowTable[Any, V]:
        return tables.windowed(self, self.type)


@dataclass(frozen=True)
class MapTableState(StoredState[V]):
    """Declares a `MapTable`: entries under a key and a map key, for the engine's own operators.

    Args:
        name, type, version, upgrade: see `StoredState`; `type` is the type of one value.
        key_type: the type of the map keys.
        ttl: as for `KeyedTableState`.
    """

    key_type: Any = Any
    ttl: Duration | None = None

    @property
    def schema_types(self) -> tuple[Any, ...]:
        return (self.key_type, self.type)

    def bind(self, tables: Tables) -> MapTable:
        return tables.mapped(self, self.key_type, stored_type(self.type, self.ttl))


@dataclass(frozen=True)
class LocalListState(StoredState[V]):
    """Declares a `LocalList`: state of the subtask, such as calls in flight."""

    def bind(self, tables: Tables) -> LocalList:
        return tables.local(self, self.type)


@dataclass(frozen=True)
class BroadcastState(Generic[K, V]):
    """A map of the operator, not of a key: every subtask has all of it, before and after a rescale. That holds only if all
    subtasks change it alike, which they do when each gets the same records (`Stream.broadcast`).

    Args:
        name, version: see `StoredState`.
        key_type: the type of the map's keys; `Any` for strings, numbers and tuples of these.
        type: the type of its values.
        upgrade: `upgrade(old_version, [key, value]) -> (key, value)`.
    """

    name: str
    key_type: Any
    type: Any
    version: int = 1
    upgrade: Callable[[int, Any], Any] | None = None

    @property
    def schema_types(self) -> tuple[Any, ...]:
        return (tuple[self.key_type, self.type],)  # type: ignore[name-defined]  # the types are values here

    def bind(self, tables: Tables) -> BroadcastMap[K, V]:
        return tables.broadcast(self, self.key_type, self.schema_types[0])


class Timers(Protocol):
    """Timers of the current operator, each belonging to a key. They are state: they survive a crash and a rescale.

    Setting the same timer twice has one effect. A timer set for a time that has passed fires as soon as the engine
    comes round to it.
    """

    def set_event(self, timestamp_ms: int, key: Any) -> None:
        """Call `on_timer` for `key` once the watermark has reached `timestamp_ms`."""
        ...

    def set_processing(self, timestamp_ms: int, key: Any) -> None:
        """Call `on_timer` for `key` once the clock has reached `timestamp_ms`."""
        ...

    def remove_event(self, timestamp_ms: int, key: Any) -> None: ...
    def remove_processing(self, timestamp_ms: int, key: Any) -> None: ...


@dataclass(frozen=True)
class ValueState(StoredState[V]):
    """One value per key.

    Args:
        name, type, version, upgrade: see `StoredState`.
        ttl: forget a value this long after it was last written (processing time).
    """

    ttl: Duration | None = None

    def bind(self, tables: Tables) -> ValueHandle[V]:
        from .state_handles import ValueHandle

        return ValueHandle(self, tables)


@dataclass(frozen=True)
class ListState(StoredState[V]):
    """A list per key, appended to and read whole. Arguments as `ValueState`; `type` is the type of one item."""

    ttl: Duration | None = None

    @property
    def schema_types(self) -> tuple[Any, ...]:
        return (list[self.type],)  # type: ignore[name-defined]  # the type is a value here

    def bind(self, tables: Tables) -> ListHandle[V]:
        from .state_handles import ListHandle

        return ListHandle(self, tables)


@dataclass(frozen=True)
class MapState(Generic[K, V]):
    """A map per key, read and written entry by entry. Arguments as `ValueState`."""

    name: str
    key_type: Any
    type: Any
    version: int = 1
    upgrade: Callable[[int, Any], Any] | None = None
    ttl: Duration | None = None

    @property
    def schema_types(self) -> tuple[Any, ...]:
        return (self.key_type, self.type)

    def bind(self, tables: Tables) -> MapHandle[K, V]:
        from .state_handles import MapHandle

        return MapHandle(self, tables)


@dataclass(frozen=True)
class ReducingState(Generic[V]):
    """One value per key, into which `add` folds another with `reduce`. Arguments as `ValueState`."""

    name: str
    type: Any
    reduce: Callable[[V, V], V] = field(compare=False)
    version: int = 1
    upgrade: Callable[[int, Any], Any] | None = None
    ttl: Duration | None = None

    @property
    def schema_types(self) -> tuple[Any, ...]:
        return (self.type,)

    def bind(self, tables: Tables) -> ReducingHandle[V]:
        from .state_handles import ReducingHandle

        return ReducingHandle(self, tables)


def stored_type(declared: Any, ttl: Duration | None) -> Any:
    """What is stored for a value of the declared type: with a time to live a pair (when it expires, the value)."""
    return declared if ttl is None else tuple[int, declared]


def thawed(value: Any) -> Any:
    """Plain data as msgpack gives it back: lists for tuples."""
    return [thawed(part) for part in value] if isinstance(value, tuple) else value


def frozen(value: Any) -> Any:
    """A key as it was before `thawed`."""
    return tuple([frozen(part) for part in value]) if isinstance(value, list) else value
