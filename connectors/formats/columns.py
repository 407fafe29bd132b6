"""Records from columns and back: what CSV, Parquet and Arrow share."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

import msgspec

T = TypeVar("T")


@dataclasses.dataclass(frozen=True, slots=True)
class Column:
    """A field of a record type, as a column.

    Attributes:
        name: of the column: the field's encoded name.
        attribute: of the record: the field's name in Python.
        type: of the cells.
        optional: None is one of its values.
        required: has no default.
    """

    name: str
    attribute: str
    type: Any
    optional: bool
    required: bool


class Columns(Generic[T]):
    """The columns of a record type: a `msgspec.Struct`, a dataclass, a TypedDict, or `dict` for untyped records.

    Attributes:
        type: the record type; `dict` when it was None.
        fields: one per field; empty for `dict`.
        typed: whether the type names its fields.

    Raises:
        ValueError: the type has no named fields.
    """

    def __init__(self, type: Any) -> None:
        self.type = dict if type is None else type
        self.fields = _fields_of(self.type)
        self.typed = bool(self.fields)
        self._as_dict = not self.typed or typing.is_typeddict(self.type)

    def present(self, names: Sequence[str]) -> list[Column]:
        """The columns to take from data that has these columns.

        Raises:
            ValueError: a required column is missing.
        """
        if not self.typed:
            return [Column(name, name, Any, False, True) for name in names]
        there = set(names)
        missing = [field.name for field in self.fields if field.required and field.name not in there]
        if missing:
            raise ValueError(f"no column {', '.join(map(repr, missing))}; there are {', '.join(names)}")
        return [field for field in self.fields if field.name in there]

    def constructor(self, present: Sequence[Column]) -> Callable[[Sequence[Sequence[Any]]], list[T]]:
        """What makes records from cells already of the right type, given column by column in the order of `present`."""
        names = [column.attribute for column in present]
        if self._as_dict:
            return lambda cells: [
                typing.cast("T", dict(zip(names, row, strict=True))) for row in zip(*cells, strict=True)
            ]
        make: Any = self.type
        if tuple(names) == tuple(getattr(make, "__match_args__", ()))[: len(names)]:
            return lambda cells: list(map(make, *cells))
        return lambda cells: [make(**dict(zip(names, row, strict=True))) for row in zip(*cells, strict=True)]

    def cells(self, values: Sequence[T], names: Sequence[str]) -> list[list[Any]]:
        """The records as columns.

        Raises:
            ValueError: an untyped record has a column that is not in `names`.
        """
        if not self._as_dict:
            attributes = {field.name: field.attribute for field in self.fields}
            return [[getattr(value, attribute) for value in values] for attribute in map(attributes.__getitem__, names)]
        rows: Sequence[dict[str, Any]] = typing.cast("Sequence[dict[str, Any]]", values)
        known = set(names)
        for row in rows:
            if not row.keys() <= known:
                extra = ", ".join(map(repr, row.keys() - known))
                raise ValueError(f"a record has the column {extra}, which the first record had not; name a type")
        return [[row.get(name) for row in rows] for name in names]

    def names(self, values: Sequence[T]) -> list[str]:
        """The column names: the type's, or those of the first record."""
        if self.typed:
            return [field.name for field in self.fields]
        first: Any = values[0] if values else {}
        if not isinstance(first, dict):
            raise ValueError(f"a {type(first).__name__} has no named columns; name a type, or write dicts")
        return list(first)


def _fields_of(type_: Any) -> list[Column]:
    if type_ is dict or typing.get_origin(type_) is dict:
        return []
    if isinstance(type_, type) and issubclass(type_, msgspec.Struct):
        return [
            Column(f.encode_name, f.name, f.type, _takes_none(f.type), f.required)
            for f in msgspec.structs.fields(type_)
        ]
    if isinstance(type_, type) and dataclasses.is_dataclass(type_):
        hints = typing.get_type_hints(type_, include_extras=True)
        return [
            Column(
                f.name,
                f.name,
                hints[f.name],
                _takes_none(hints[f.name]),
                f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING,
            )
            for f in dataclasses.fields(type_)
            if f.init
        ]
    if typing.is_typeddict(type_):
        hints = typing.get_type_hints(type_, include_extras=True)
        needed: frozenset[str] = getattr(type_, "__required_keys__", frozenset())
        return [Column(name, name, hint, _takes_none(hint), name in needed) for name, hint in hints.items()]
    raise ValueError(f"{type_!r} has no named columns: use a msgspec.Struct, a dataclass, a TypedDict or dict")


def _takes_none(type_: Any) -> bool:
    origin = typing.get_origin(type_)
    if origin is typing.Annotated:
        return _takes_none(typing.get_args(type_)[0])
    if origin in (typing.Union, types.UnionType):
        return types.NoneType in typing.get_args(type_)
    return type_ is None or type_ is types.NoneType or type_ is Any
