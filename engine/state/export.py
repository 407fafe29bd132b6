"""The entries of a snapshot as rows, for people and other programs. Needs no topology: values come as builtins."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

import msgspec

from ..errors import StateError
from .backend import StateSchema, StoreSnapshot
from .codec import EXPIRING
from .dict_backend import FILE
from .key_groups import KeyCodec
from .local_items import FILE as LOCAL_FILE

_READ_CACHE_BYTES = 8 << 20
_AFTER_ALL = b"\xff" * 16
_decode = msgspec.msgpack.Decoder().decode
_key = KeyCodec().decode


class StateRow(msgspec.Struct, frozen=True, omit_defaults=True):
    """One entry of a state.

    Attributes:
        operator_id: whose state.
        subtask: in whose snapshot it was found.
        state: the state's name; timers are `timers.event` and `timers.processing`.
        value: what is stored, as builtins: a Struct is a dict (a list when it is `array_like`).
        key: the key; None for an item of a local list.
        time_ms: of a window state the namespace: the end of the window or pane, the time of a timer. Else None.
        map_key: of a map state the key in the map. Else None.
        expires_at_ms: when the entry is forgotten, for a state with a time to live. Else None.
    """

    operator_id: str
    subtask: int
    state: str
    value: Any
    key: Any = None
    time_ms: int | None = None
    map_key: Any = None
    expires_at_ms: int | None = None


FIELDS = StateRow.__struct_fields__


def read_rows(snapshot: StoreSnapshot, folder: Path, states: Collection[str] | None = None) -> Iterator[StateRow]:
    """The entries of a snapshot, state by state, one at a time: the state need not fit into memory. Blocking.

    Args:
        snapshot: its description.
        folder: its files; a database may write logs beside them.
        states: the names of those wanted; None for all.

    Raises:
        StateError: the files cannot be read, or a backend wrote them that this version does not know.
    """
    wanted = [schema for schema in snapshot.schemas if states is None or schema.name in states]
    keyed = [schema for schema in wanted if schema.kind != "local"]
    if snapshot.backend == "dict":
        yield from _dict_rows(snapshot, keyed, folder)
    elif snapshot.backend == "rocksdb":
        yield from _rocksdb_rows(snapshot, keyed, folder)
    else:
        raise StateError(
            f"state of operator {snapshot.operator_id!r} was written by backend {snapshot.backend!r}, which cannot "
            "be exported; use the version of Tidegate that wrote it"
        )
    if len(keyed) < len(wanted):
        local = _read_packed(folder / LOCAL_FILE)
        for schema in wanted:
            for item in local.get(schema.name, ()) if schema.kind == "local" else ():
                yield StateRow(snapshot.operator_id, snapshot.subtask, schema.name, _decode(item))


def _dict_rows(snapshot: StoreSnapshot, schemas: list[StateSchema], folder: Path) -> Iterator[StateRow]:
    content = _read_packed(folder / FILE) if schemas else {}
    for schema in schemas:
        make = _row_maker(snapshot, schema)
        for key, *middle, value in content.get(schema.name, ()):
            found = middle[0] if middle else None
            yield make(_key(key), _key(found) if isinstance(found, bytes) else found, value)


def _rocksdb_rows(snapshot: StoreSnapshot, schemas: list[StateSchema], folder: Path) -> Iterator[StateRow]:
    from .database import Column, Database, Memory
    from .rocksdb_restore import column_name

    columns = {schema.name: Column(column_name(schema.name)) for schema in schemas}
    if not columns:
        return
    database = Database(Memory(_READ_CACHE_BYTES, _READ_CACHE_BYTES), folder, list(columns.values()), read_only=True)
    try:
        for schema in schemas:
            make = _row_maker(snapshot, schema)
            split = _SPLITTERS[schema.kind]
            column = columns[schema.name]
            for raw, value in column.scan(b"", _AFTER_ALL) if column.attached else ():
                yield make(*split(raw), value)
    finally:
        database.close()


def _row_maker(snapshot: StoreSnapshot, schema: StateSchema) -> Callable[[Any, Any, bytes], StateRow]:
    expiring = EXPIRING in schema.types
    is_window = schema.kind == "window"

    def make(key: Any, middle: Any, data: bytes) -> StateRow:
        expires_at_ms, value = _decode(data) if expiring else (None, _decode(data))
        return StateRow(
            snapshot.operator_id,
            snapshot.subtask,
            schema.name,
            value,
            key,
            middle if is_window else None,
            None if is_window else middle,
            expires_at_ms,
        )

    return make


def _keyed_parts(raw: bytes) -> tuple[Any, Any]:
    return _key(raw[2:]), None


def _window_parts(raw: bytes) -> tuple[Any, Any]:
    from .window_table import namespace_of

    return _key(raw[10:]), namespace_of(raw)


def _map_parts(raw: bytes) -> tuple[Any, Any]:
    end = 6 + int.from_bytes(raw[2:6], "big")
    return _key(raw[6:end]), _key(raw[end:])


_SPLITTERS: dict[str, Callable[[bytes], tuple[Any, Any]]] = {
    "keyed": _keyed_parts,
    "window": _window_parts,
    "map": _map_parts,
}


def _read_packed(path: Path) -> dict[str, Any]:
    try:
        return msgspec.msgpack.decode(path.read_bytes(), type=dict[str, Any])
    except (OSError, msgspec.MsgspecError) as error:
        raise StateError(f"{path} cannot be read: {error}; choose another checkpoint") from error
