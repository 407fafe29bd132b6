"""The columns of a state as a table: from the text of its stored types, and from its first rows where that says too little.

Needs pyarrow, as `pa`, handed in.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain
from typing import Any, Final

import msgspec

from ..state.backend import StateSchema
from ..state.codec import EXPIRING
from ..state.export import StateRow
from ..state.schema import text_parts

_SCALARS: Final = {
    "int": "int64",
    "float": "float64",
    "str": "string",
    "bool": "bool_",
    "bytes": "binary",
    "bytearray": "binary",
    "uuid": "string",
    "decimal": "string",
    "date": "string",
    "time": "string",
    "timedelta": "string",
}
_CONSTRAINED: Final = re.compile(r"(\w+)\(.*\)")


@dataclass(frozen=True)
class StateColumn:
    """A column of a state's table.

    Attributes:
        name: its name.
        type: its Arrow type; None where only the values can tell.
        get: reads it from a row.
    """

    name: str
    type: Any
    get: Callable[[StateRow], Any]


def columns_of(pa: Any, schema: StateSchema, first: StateRow | None) -> list[StateColumn]:
    """The columns of a state: the key and its parts, the namespace, when it expires, and the value or its fields.

    Args:
        pa: pyarrow.
        schema: the state's.
        first: one of its rows, to tell what its keys are; None for a state without rows.
    """
    columns: list[StateColumn] = []
    if schema.kind != "local":
        columns += _key_columns(pa, first)
    if schema.kind == "window":
        name = "time_ms" if schema.name.startswith("timers.") else "end_ms"
        columns.append(StateColumn(name, pa.int64(), lambda row: row.time_ms))
    if schema.kind == "map":
        columns.append(StateColumn("map_key", _arrow_type(pa, schema.types[0]), lambda row: _plain(row.map_key)))
    types = [text for text in schema.types if text != EXPIRING]
    if len(types) < len(schema.types):
        columns.append(StateColumn("expires_at", pa.timestamp("ms"), _expires_at))
    taken = {column.name.lower() for column in columns}
    for column in _value_columns(pa, types[-1]):
        name = column.name
        while name.lower() in taken:
            name = f"value_{name}"
        taken.add(name.lower())
        columns.append(StateColumn(name, column.type, column.get))
    return columns


def text_cell(value: Any) -> str | None:
    """A value as JSON text: what a column holds whose values are not of one type."""
    return None if value is None else msgspec.json.encode(value, enc_hook=repr).decode()


def _key_columns(pa: Any, first: StateRow | None) -> Iterator[StateColumn]:
    key = None if first is None else first.key
    if not isinstance(key, tuple | dict):
        yield StateColumn("key", None, lambda row: _plain(row.key))
        return
    yield StateColumn("key", pa.string(), lambda row: text_cell(row.key))
    parts: Sequence[Any] = list(key) if isinstance(key, dict) else range(len(key))
    for part in parts:
        yield StateColumn(f"key_{part}", None, _part_of_key(part))


def _part_of_key(part: Any) -> Callable[[StateRow], Any]:
    def get(row: StateRow) -> Any:
        try:
            return _plain(row.key[part])
        except (KeyError, IndexError, TypeError):
            return None

    return get


def _value_columns(pa: Any, text: str) -> Iterator[StateColumn]:
    head, parts = text_parts(text)
    if parts is None or head not in ("{", "["):
        yield StateColumn("value", _arrow_type(pa, text), lambda row: _plain(row.value))
        return
    for number, (name, field) in enumerate(parts.items()):
        if name.startswith("."):
            place = name[1:] if head == "{" else number
            kind, otherwise = _default(field)
            yield StateColumn(name[1:], _arrow_type(pa, kind), _field_of_value(place, otherwise))


def _field_of_value(place: Any, otherwise: Any) -> Callable[[StateRow], Any]:
    def get(row: StateRow) -> Any:
        try:
            return _plain(row.value[place])
        except (KeyError, IndexError, TypeError):
            return otherwise

    return get


def _default(text: str) -> tuple[str, Any]:
    """The type in a field's text, and what the field is where nothing is stored."""
    kind, _, default = text.partition(" = ")
    try:
        return kind, json.loads(default)
    except ValueError:
        return kind, None


def _arrow_type(pa: Any, text: str) -> Any:
    """The Arrow type of a stored type; `string` for what is shown as JSON, None where the values must tell."""
    members = [member for member in text.split(" | ") if member != "null"]
    if sorted(members) == ["float", "int"]:
        return pa.float64()
    if len(members) != 1:
        return None
    (text,) = members
    constrained = _CONSTRAINED.fullmatch(text)
    if constrained is not None and constrained[1] in _SCALARS:
        text = constrained[1]
    if text in _SCALARS:
        return getattr(pa, _SCALARS[text])()
    head, parts = text_parts(text)
    if head == "list[" and parts is not None:
        items = _arrow_type(pa, parts["[]"])
        return None if items is None else pa.list_(items)
    if head == "{" and parts:
        fields = [(name[1:], _arrow_type(pa, _default(field)[0])) for name, field in parts.items() if name[0] == "."]
        return pa.struct(fields) if fields and all(kind is not None for _, kind in fields) else None
    return None


def _plain(value: Any) -> Any:
    """The value as a cell: of what is neither a scalar nor a list of them, JSON text is made later."""
    return list(value) if isinstance(value, tuple) else value


def _expires_at(row: StateRow) -> datetime | None:
    if row.expires_at_ms is None:
        return None
    return datetime.fromtimestamp(row.expires_at_ms / 1000, UTC).replace(tzinfo=None)


def inferred(pa: Any, cells: Sequence[Any]) -> Any:
    """The Arrow type of some cells; `string`, for JSON text, where they have none in common or are maps."""
    if any(isinstance(cell, dict) for cell in chain.from_iterable(c if isinstance(c, list) else [c] for c in cells)):
        return pa.string()
    try:
        kind = pa.array(cells).type
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, OverflowError):
        return pa.string()
    return pa.string() if pa.types.is_null(kind) else kind
