"""The canonical text of a stored type, and what differs between two of them.

Two types have equal texts exactly when they store alike. Class names and the order of fields, of union members and of
enum members do not count; the names, types and defaults of fields, and tags, do.

    int   float   str | null   list[int]   map[str, {count: int, mean: float = 0.0}]   tuple[str, int]
    {@type="click", at: datetime}       a tagged Struct
    enum("a", "b")   literal(1, 2)      a choice
    ^1                                  the enclosing record again, one level up
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import inspect as types

from ..errors import StateTypeError

_SCALARS: dict[type, str] = {
    types.AnyType: "any",
    types.NoneType: "null",
    types.BoolType: "bool",
    types.IntType: "int",
    types.FloatType: "float",
    types.StrType: "str",
    types.BytesType: "bytes",
    types.ByteArrayType: "bytearray",
    types.DateTimeType: "datetime",
    types.DateType: "date",
    types.TimeType: "time",
    types.TimeDeltaType: "timedelta",
    types.UUIDType: "uuid",
    types.DecimalType: "decimal",
}
_CONSTRAINTS = ("gt", "ge", "lt", "le", "multiple_of", "pattern", "min_length", "max_length", "tz")
_COLLECTIONS: dict[type, str] = {
    types.ListType: "list",
    types.SetType: "set",
    types.FrozenSetType: "frozenset",
    types.VarTupleType: "tuple",
    types.CollectionType: "list",
}


def schema_text(stored: Any) -> str:
    """The canonical text of a type.

    Raises:
        StateTypeError: the type cannot be stored; the message says why and what to use.
    """
    try:
        info = types.type_info(stored)
    except (TypeError, NameError) as error:
        raise StateTypeError(
            f"{stored!r} cannot be stored: {error}; use msgspec Structs, dataclasses and builtin types"
        ) from error
    return _text(info, [])


def _text(info: types.Type, above: list[int]) -> str:
    kind = type(info)
    if isinstance(info, types.Metadata):
        return _text(info.type, above)
    if kind in _SCALARS:
        return _SCALARS[kind] + _constraints(info)
    if kind in _COLLECTIONS:
        tail = ", ..." if kind is types.VarTupleType else ""
        return f"{_COLLECTIONS[kind]}[{_text(info.item_type, above)}{tail}]{_constraints(info)}"  # type: ignore[attr-defined]  # every collection has it
    if isinstance(info, types.TupleType):
        return f"tuple[{', '.join([_text(item, above) for item in info.item_types])}]"
    if isinstance(info, types.DictType):
        return f"map[{_text(info.key_type, above)}, {_text(info.value_type, above)}]{_constraints(info)}"
    if isinstance(info, types.UnionType):
        return " | ".join(sorted([_text(member, above) for member in info.types], key=lambda t: (t == "null", t)))
    if isinstance(info, types.EnumType):
        return f"enum({', '.join(sorted([_json(member.value) for member in info.cls]))})"
    if isinstance(info, types.LiteralType):
        return f"literal({', '.join(sorted([_json(value) for value in info.values]))})"
    if isinstance(info, (types.StructType, types.DataclassType, types.TypedDictType, types.NamedTupleType)):
        return _record_text(info, above)
    raise StateTypeError(
        f"{getattr(info, 'cls', kind).__name__} cannot be stored: use msgspec Structs, dataclasses and builtin types"
    )


def _record_text(info: Any, above: list[int]) -> str:
    if id(info) in above:
        return f"^{len(above) - above.index(id(info))}"
    above = [*above, id(info)]
    parts = []
    if getattr(info, "tag", None) is not None:
        parts.append(f"@{info.tag_field}={_json(info.tag)}")
    for field in info.fields:
        text = f"{field.encode_name}: {_text(field.type, above)}"
        if field.default is not msgspec.NODEFAULT:
            text += f" = {_json(field.default)}"
        elif field.default_factory is not msgspec.NODEFAULT:
            text += f" = {getattr(field.default_factory, '__name__', 'factory')}()"
        elif not field.required:
            text += " = missing"
        parts.append(text)
    positional = isinstance(info, types.NamedTupleType) or getattr(info, "array_like", False)
    if not positional:
        # Named fields are stored by name, so that their order does not matter.
        parts.sort()
    return f"[{', '.join(parts)}]" if positional else f"{{{', '.join(parts)}}}"


def _constraints(info: Any) -> str:
    given = [
        f"{name}={getattr(info, name)!r}"
        for name in _CONSTRAINTS
        if getattr(info, name, None) is not None and not isinstance(info, types.UUIDType)
    ]
    return f"({', '.join(given)})" if given else ""


def _json(value: Any) -> str:
    try:
        return msgspec.json.encode(value).decode()
    except (TypeError, ValueError):
        return repr(type(value).__name__)


def schema_difference(name: str, old: Sequence[str], new: Sequence[str]) -> str:
    """What differs, for people: "`totals.mean` was float and is now int; `totals.worst` is new".

    Args:
        name: what the type is the type of, the first word of each path.
        old: the texts in the snapshot.
        new: the texts now.
    """
    found: list[str] = []
    if len(old) != len(new):
        found.append(f"`{name}` stored {len(old)} types and now stores {len(new)}")
    for index, (before, after) in enumerate(zip(old, new, strict=False)):
        path = name if len(new) == 1 else f"{name} ({('key', 'value')[index] if len(new) == 2 else index})"
        _compare(path, before, after, found)
    return "; ".join(found)


def _compare(path: str, old: str, new: str, found: list[str]) -> None:
    if old == new:
        return
    old_head, old_fields = text_parts(old)
    new_head, new_fields = text_parts(new)
    if old_fields is None or new_fields is None or old_head != new_head:
        found.append(f"`{path}` was {old} and is now {new}")
        return
    before = len(found)
    for field, text in old_fields.items():
        now = new_fields.get(field)
        if now is None:
            found.append(f"`{path}{field}` ({text}) is gone")
        else:
            _compare(f"{path}{field}", text, now, found)
    found.extend(f"`{path}{field}` ({text}) is new" for field, text in new_fields.items() if field not in old_fields)
    if len(found) == before:
        found.append(f"the fields of `{path}` are in another order")


def text_parts(text: str) -> tuple[str, dict[str, str] | None]:
    """The head of a composed text and its parts by path, or (text, None) for one that is not composed.

    >>> text_parts("{n: int, mean: float = 0.0}")
    ('{', {'.n': 'int', '.mean': 'float = 0.0'})
    """
    for head, close in (("{", "}"), ("[", "]"), ("list[", "]"), ("map[", "]"), ("tuple[", "]")):
        if text.startswith(head) and _closes_at_end(text, len(head) - 1):
            parts = _split(text[len(head) : -len(close)])
            if head in "{[":
                named = [part.partition(": ") for part in parts]
                return head, {f".{name}" if colon else name: rest or name for name, colon, rest in named}
            labels = {"list[": ["[]"], "map[": [" (key)", "[]"]}.get(head)
            return head, dict(zip(labels or [f"[{i}]" for i in range(len(parts))], parts, strict=False))
    return text, None


def _closes_at_end(text: str, opened: int) -> bool:
    depth = 0
    for position in range(opened, len(text)):
        if text[position] in "[{(":
            depth += 1
        elif text[position] in "]})":
            depth -= 1
            if depth == 0:
                return position == len(text) - 1
    return False


def _split(text: str) -> list[str]:
    """The parts between the outermost commas."""
    parts, depth, start = [], 0, 0
    for position, character in enumerate(text):
        if character in "[{(":
            depth += 1
        elif character in "]})":
            depth -= 1
        elif character == "," and depth == 0:
            parts.append(text[start:position].strip())
            start = position + 1
    if text[start:].strip():
        parts.append(text[start:].strip())
    return parts
