"""What an operator's states look like in storage, the same for every backend.

The store asks every descriptor to bind before anything is opened, so that kinds and types are known when a snapshot is
compared with them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from ...operators.state import (
    BroadcastMap,
    BroadcastState,
    KeyedTable,
    KeyedTableState,
    LocalList,
    MapTable,
    StateDescriptor,
    WindowTable,
    WindowTableState,
)
from ...operators.time import duration_ms
from ..errors import StateError
from .backend import StateSchema, StoreSnapshot, StoreSpec
from .codec import EXPIRING, Conversion, ValueCodec, conversion
from .key_groups import KeyCodec
from .local_items import BroadcastItems, LocalItems
from .schema import schema_text

EVENT_TIMERS: WindowTableState[bool] = WindowTableState("timers.event", bool)
PROCESSING_TIMERS: WindowTableState[bool] = WindowTableState("timers.processing", bool)


@dataclass(frozen=True)
class StateLayout:
    """One state in storage.

    Attributes:
        schema: what a snapshot says about it.
        values: the codec of the stored values; with a time to live, of the pairs (expires_ms, value).
        keys: the codec of the operator's keys.
        map_keys: the codec of the map keys; None for other kinds.
        ttl_ms: the time to live; None without one.
        upgrade: the user's function for values of an older version.
        changed_by_records: whether every record changes the value of its key.
    """

    schema: StateSchema
    values: ValueCodec
    keys: KeyCodec
    map_keys: KeyCodec | None
    ttl_ms: int | None
    upgrade: Callable[[int, Any], Any] | None
    changed_by_records: bool

    @property
    def expiring(self) -> bool:
        """Whether the stored values are pairs (expires_ms, value)."""
        return self.ttl_ms is not None


class TableMaker(Protocol):
    """The part of a backend that makes empty tables."""

    def keyed(self, layout: StateLayout) -> KeyedTable[Any, Any]: ...
    def windowed(self, layout: StateLayout) -> WindowTable[Any, Any]: ...
    def mapped(self, layout: StateLayout) -> MapTable: ...


class BoundTables:
    """The tables of one operator in one subtask, by state name: what descriptors bind to.

    Raises:
        StateError: two states have one name.
        StateTypeError: a declared type cannot be stored.
    """

    def __init__(self, spec: StoreSpec, maker: TableMaker) -> None:
        self._operator_id = spec.operator_id
        self._keys = KeyCodec(spec.key_type)
        self._maker = maker
        self._tables: dict[str, Any] = {}
        self._descriptors: dict[str, StateDescriptor[Any]] = {}
        self._current_key: Any = None
        self.now_ms = spec.now_ms
        self.layouts: dict[str, StateLayout] = {}
        self.locals: dict[str, LocalItems] = {}
        timers = (EVENT_TIMERS, PROCESSING_TIMERS) if spec.uses_timers else ()
        for descriptor in (*spec.descriptors, *timers):
            if self._descriptors.setdefault(descriptor.name, descriptor) is not descriptor:
                raise StateError(
                    f"operator {spec.operator_id!r} declares two states named {descriptor.name!r}: rename one"
                )
            descriptor.bind(self)

    @property
    def schemas(self) -> tuple[StateSchema, ...]:
        """What a snapshot says about all of them."""
        return tuple([layout.schema for layout in self.layouts.values()])

    def table(self, name: str) -> Any:
        """The table of a state, for reading it from outside of its operator."""
        return self._tables[name]

    def current_key(self) -> Any:
        return self._current_key

    def set_current_key(self, key: Any) -> None:
        self._current_key = key

    def keyed(self, descriptor: StateDescriptor[Any], value_type: Any) -> KeyedTable[Any, Any]:
        return self._table(descriptor, "keyed", value_type, None)  # type: ignore[no-any-return]  # one dict for all kinds

    def windowed(self, descriptor: StateDescriptor[Any], value_type: Any) -> WindowTable[Any, Any]:
        return self._table(descriptor, "window", value_type, None)  # type: ignore[no-any-return]  # as above

    def mapped(self, descriptor: StateDescriptor[Any], key_type: Any, value_type: Any) -> MapTable:
        return self._table(descriptor, "map", value_type, key_type)  # type: ignore[no-any-return]  # as above

    def local(self, descriptor: StateDescriptor[Any], item_type: Any) -> LocalList:
        return self._table(descriptor, "local", item_type, None)  # type: ignore[no-any-return]  # as above

    def broadcast(self, descriptor: StateDescriptor[Any], key_type: Any, item_type: Any) -> BroadcastMap[Any, Any]:
        return self._table(descriptor, "broadcast", item_type, key_type)  # type: ignore[no-any-return]  # as above

    def conversions(self, snapshot: StoreSnapshot) -> dict[str, Conversion | None]:
        """For each state of a snapshot how its values become today's; None where the bytes are as they should be.

        Raises:
            StateTypeError: a type differs and cannot be upgraded.
            StateError: the snapshot holds a state that is not declared any more.
        """
        gone = [schema.name for schema in snapshot.schemas if schema.name not in self.layouts]
        if gone:
            raise StateError(
                f"the checkpoint holds state {', '.join(map(repr, gone))} of operator {self._operator_id!r}, which "
                "declares no such state any more: declare it again, or rename the operator to start it empty"
            )
        found = {}
        for schema in snapshot.schemas:
            layout = self.layouts[schema.name]
            found[schema.name] = conversion(
                self._operator_id,
                schema,
                layout.schema,
                codec=layout.values,
                upgrade=layout.upgrade,
                expiry_ms=self._expiry(layout.ttl_ms or 0),
            )
        return found

    def _expiry(self, ttl_ms: int) -> Callable[[], int]:
        return lambda: self.now_ms() + ttl_ms

    def _table(self, descriptor: StateDescriptor[Any], kind: str, value_type: Any, map_key_type: Any) -> Any:
        name = descriptor.name
        declared = self._descriptors.get(name)
        # Not equality: an operator may make its descriptors anew, upgrade function and all, whenever it is asked.
        if type(declared) is not type(descriptor) or declared.schema_types != descriptor.schema_types:
            raise StateError(
                f"operator {self._operator_id!r} asks for state {name!r}, which its states() do not return"
            )
        table = self._tables.get(name)
        if table is None:
            table = self._tables[name] = self._make(descriptor, kind, value_type, map_key_type)
        return table

    def _make(self, descriptor: StateDescriptor[Any], kind: str, value_type: Any, map_key_type: Any) -> Any:
        where = f"state {descriptor.name!r} of operator {self._operator_id!r}"
        values = ValueCodec(value_type, where)
        ttl = getattr(descriptor, "ttl", None)
        ttl_ms = None if ttl is None else duration_ms(ttl)
        map_keys = None if kind != "map" else KeyCodec(map_key_type)
        texts = [] if map_keys is None else [schema_text(map_key_type)]
        if isinstance(descriptor, BroadcastState):
            texts += [schema_text(descriptor.key_type), schema_text(descriptor.type)]
        elif ttl_ms is None:
            texts.append(values.schema)
        else:
            texts += [schema_text(descriptor.schema_types[-1]), EXPIRING]
        schema = StateSchema(descriptor.name, kind, descriptor.version, tuple(texts))
        changed = isinstance(descriptor, KeyedTableState)
        layout = StateLayout(schema, values, self._keys, map_keys, ttl_ms, descriptor.upgrade, changed)
        self.layouts[descriptor.name] = layout
        if kind == "keyed":
            return self._maker.keyed(layout)
        if kind == "window":
            return self._maker.windowed(layout)
        if kind == "map":
            return self._maker.mapped(layout)
        if kind == "broadcast":
            items: LocalItems = BroadcastItems(values, plain_keys=map_key_type is Any)
        else:
            items = LocalItems(values)
        self.locals[descriptor.name] = items
        return items


def declared_layouts(spec: StoreSpec) -> dict[str, StateLayout]:
    """The states that an operator declares, without any store.

    Raises:
        StateError: two states have one name.
        StateTypeError: a declared type cannot be stored.
    """
    return BoundTables(spec, _NoTables()).layouts


class _NoTables:
    """Makes tables that hold nothing and can do nothing: binding a descriptor asks for them and uses none."""

    def keyed(self, layout: StateLayout) -> Any:
        return None

    def windowed(self, layout: StateLayout) -> Any:
        return None

    def mapped(self, layout: StateLayout) -> Any:
        return None
