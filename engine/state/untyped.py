"""What may stand under `Any`: only values that msgpack gives back unchanged.

A Struct stored under `Any` would come back as a dict, a tuple as a list. So values of a type that has an `Any` in it
are looked through before they are encoded; the functions that do it are composed once per type.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec import inspect as types

Check = Callable[[Any], None]

_SCALARS = frozenset({str, int, float, bool, bytes, type(None)})


def untyped_check(stored: Any) -> Check | None:
    """A function that raises TypeError for a value with a non-builtin under `Any`; None for a type without `Any`."""
    return _check_of(types.type_info(stored), {})


def _check_of(info: types.Type, records: dict[int, Check | None]) -> Check | None:
    if isinstance(info, types.Metadata):
        return _check_of(info.type, records)
    if isinstance(info, types.AnyType):
        return _check_value
    if isinstance(info, types.UnionType):
        return _union_check(info, records)
    if isinstance(info, (types.StructType, types.DataclassType)):
        return _record_check(info, records)
    if isinstance(info, types.TupleType):
        parts = [_check_of(item, records) for item in info.item_types]
        return _tuple_check(parts) if any(parts) else None
    if isinstance(info, types.DictType):
        values = _check_of(info.value_type, records)
        return None if values is None else lambda value: _each(values, value.values())
    item_type = getattr(info, "item_type", None)
    items = None if item_type is None else _check_of(item_type, records)
    if items is None:
        return None
    return _check_values if items is _check_value else lambda value: _each(items, value)


def _record_check(info: types.StructType | types.DataclassType, records: dict[int, Check | None]) -> Check | None:
    if id(info) in records:
        # A record inside itself: its check is known only once the outer one is composed.
        return lambda value: _check_if(records[id(info)], value)
    records[id(info)] = None
    checks = [(field.name, _check_of(field.type, records)) for field in info.fields]
    wanted = [(name, check) for name, check in checks if check is not None]
    if not wanted:
        return None

    def check_fields(value: Any) -> None:
        for name, check in wanted:
            check(getattr(value, name))

    records[id(info)] = check_fields
    return check_fields


def _union_check(info: types.UnionType, records: dict[int, Check | None]) -> Check | None:
    kinds: dict[type, type] = {types.ListType: list, types.DictType: dict, types.SetType: set}
    checks: dict[type, Check] = {}
    for member in info.types:
        check = _check_of(member, records)
        if check is not None:
            checks[getattr(member, "cls", kinds.get(type(member), tuple))] = check
    if not checks:
        return None

    def check_member(value: Any) -> None:
        check = checks.get(type(value))
        if check is not None:
            check(value)

    return check_member


def _tuple_check(parts: list[Check | None]) -> Check:
    def check_parts(value: Any) -> None:
        for check, part in zip(parts, value, strict=False):
            if check is not None:
                check(part)

    return check_parts


def _each(check: Check, values: Any) -> None:
    for value in values:
        check(value)


def _check_if(check: Check | None, value: Any) -> None:
    if check is not None:
        check(value)


def _check_values(values: Any) -> None:
    if not _SCALARS.issuperset(map(type, values)):
        for value in values:
            _check_value(value)


def _check_value(value: Any) -> None:
    kind = type(value)
    if kind in _SCALARS:
        return
    if kind is list:
        _check_values(value)
    elif kind is dict:
        _check_values(value)
        _check_values(value.values())
    else:
        raise TypeError(
            f"a {kind.__qualname__} under `any` would not come back as one: declare its type "
            "(only None, bool, int, float, str, bytes, list and dict need no declaration)"
        )
