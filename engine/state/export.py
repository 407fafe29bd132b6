"""The entries of a snapshot as rows, for people and other programs. Needs no topology: values come as builtins."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

import msgspec

from ...operators.state import frozen
from .backend import StateSchema, StoreSnapshot
from .codec import EXPIRING
from .entries import open_snapshot
from .key_groups import KeyCodec

_decode = msgspec.msgpack.Decoder().decode
_key = KeyCodec().decode


class StateRow(msgspec.Struct, frozen=True, omit_defaults=True):
    """One entry of a state.

    Attributes:
        operator_id: whose state.
        subtask: in whose snapshot it was found.
        state: the state's name; timers are `timers.event` and `timers.processing`.
        value: what is stored, as builtins: a Struct is a dict (a list when it is `array_like`).
        key: the key, also that of an entry of a broadcast map; None for an item of a local list.
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
    with open_snapshot(snapshot, folder) as files:
        for schema in snapshot.schemas:
            if states is not None and schema.name not in states:
                continue
            if schema.kind == "local":
                for item in files.items(schema.name):
                    yield StateRow(snapshot.operator_id, snapshot.subtask, schema.name, _decode(item))
                continue
            if schema.kind == "broadcast":
                # Every subtask has a copy: one is enough.
                for item in files.items(schema.name) if snapshot.subtask == 0 else ():
                    key, value = _decode(item)
                    yield StateRow(snapshot.operator_id, snapshot.subtask, schema.name, value, frozen(key))
                continue
            make = _row_maker(snapshot, schema)
            for key, middle, data in files.entries(schema.name):
                yield make(_key(key), _key(middle) if isinstance(middle, bytes) else middle, data)


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
