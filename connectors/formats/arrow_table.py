"""Arrow: records from record batches and tables from records. Needs the extra `arrow`."""

from __future__ import annotations

import importlib
import types
import typing
from collections.abc import Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, Final, Generic, TypeVar, overload

import msgspec

from .columns import Columns
from .format import RAW_LIMIT_BYTES, Decoded, Undecodable, reason_of, type_name

T = TypeVar("T")


class ArrowFormat(Generic[T]):
    """See `arrow`."""

    suffix = ".arrow"

    def __init__(self, type: Any = None) -> None:
        self.type = type
        self._shape: Columns[T] = Columns(type)

    def columns(self, names: Sequence[str]) -> list[str]:
        """Which of these columns are read.

        Raises:
            ValueError: a column that the type needs is not among them.
        """
        return [column.name for column in self._shape.present(names)]

    def decode_table(self, table: Any) -> Decoded[T]:
        """The rows of a `pyarrow.RecordBatch` or `Table` as records; `start` is the row. Never raises for a bad row.

        Raises:
            ValueError: a column that the type needs is missing.
        """
        present = self._shape.present(table.schema.names)
        data = [table.column(column.name).to_pylist() for column in present]
        if not data:
            return Decoded([])
        make = self._shape.constructor(present)
        if not self._shape.typed:
            return Decoded(make(data))
        kinds = [list[column.type] for column in present]  # type: ignore[name-defined]  # a type at run time
        try:
            return Decoded(make([msgspec.convert(cells, kind) for cells, kind in zip(data, kinds, strict=True)]))
        except Exception:
            starts: list[int] = []
            decoded: Decoded[T] = Decoded([], starts)
            for row, cells in enumerate(zip(*data, strict=True)):
                try:
                    decoded.values += make(
                        [msgspec.convert([cell], kind) for cell, kind in zip(cells, kinds, strict=True)]
                    )
                    starts.append(row)
                except Exception as error:
                    raw = repr(dict(zip([column.name for column in present], cells, strict=True))).encode(
                        errors="replace"
                    )
                    decoded.undecodable.append(Undecodable(row, raw[:RAW_LIMIT_BYTES], reason_of(error)))
            return decoded

    def schema(self) -> Any:
        """The `pyarrow.Schema` of the type; None for untyped records, whose schema follows from the first of them.

        Raises:
            ValueError: a field has a type that has no Arrow type.
        """
        if not self._shape.typed:
            return None
        pyarrow = library()
        return pyarrow.schema(
            [
                pyarrow.field(field.name, _arrow_type(pyarrow, field.type, field.name), nullable=field.optional)
                for field in self._shape.fields
            ]
        )

    def encode_table(self, values: Sequence[T], schema: Any) -> Any:
        """A `pyarrow.Table` of the values.

        Raises:
            ValueError, TypeError: a value does not fit the schema; `pyarrow.ArrowInvalid` is a ValueError.
        """
        pyarrow = library()
        names = self._shape.names(values) if schema is None else schema.names
        cells = self._shape.cells(values, names)
        if schema is None:
            return pyarrow.table([pyarrow.array(column) for column in cells], names=names)
        return pyarrow.table(
            [
                pyarrow.array(_plain(column, field.type), field.type)
                for column, field in zip(cells, schema, strict=True)
            ],
            schema=schema,
        )

    def describe(self) -> str:
        return f"arrow({type_name(self.type)})"


def _plain(cells: list[Any], type_: Any) -> list[Any]:
    # Structs and enums are not known to Arrow; lists and dicts of plain values are.
    nested = str(type_).startswith(("struct", "list", "map"))
    if nested or any(isinstance(cell, (msgspec.Struct,)) or hasattr(cell, "__members__") for cell in cells[:1]):
        return [msgspec.to_builtins(cell, builtin_types=(datetime, date, time, bytes, Decimal)) for cell in cells]
    return cells


_SIMPLE: Final[dict[Any, str]] = {bool: "bool_", int: "int64", float: "float64", str: "string", bytes: "binary"}


def _arrow_type(pyarrow: Any, type_: Any, name: str) -> Any:
    origin = typing.get_origin(type_)
    if origin is typing.Annotated:
        return _arrow_type(pyarrow, typing.get_args(type_)[0], name)
    if origin in (typing.Union, types.UnionType):
        rest = [kind for kind in typing.get_args(type_) if kind is not types.NoneType]
        if len(rest) == 1:
            return _arrow_type(pyarrow, rest[0], name)
        if set(rest) == {int, float}:
            return pyarrow.float64()
    if origin in (list, tuple, set, frozenset):
        return pyarrow.list_(_arrow_type(pyarrow, typing.get_args(type_)[0], name))
    if origin is typing.Literal:
        kinds = {type(value) for value in typing.get_args(type_)}
        if len(kinds) == 1:
            return _arrow_type(pyarrow, kinds.pop(), name)
    if type_ in _SIMPLE:
        return getattr(pyarrow, _SIMPLE[type_])()
    if type_ is datetime:
        return pyarrow.timestamp("us", tz="UTC")
    if type_ is date:
        return pyarrow.date32()
    if type_ is time:
        return pyarrow.time64("us")
    if type_ is timedelta:
        return pyarrow.duration("us")
    if isinstance(type_, type) and issubclass(type_, msgspec.Struct):
        return pyarrow.struct([(f.name, _arrow_type(pyarrow, f.type, f.name)) for f in Columns[Any](type_).fields])
    raise ValueError(f"field {name!r}: {type_!r} has no Arrow type; use a simpler one, or write JSON")


def library() -> Any:
    """The `pyarrow` module, imported when first needed.

    Raises:
        ImportError: it is not installed; names the extra.
    """
    try:
        return importlib.import_module("pyarrow")
    except ImportError as error:
        raise ImportError('Arrow and Parquet need pyarrow: install "tidegate[arrow]"') from error


@overload
def arrow(type: type[T]) -> ArrowFormat[T]: ...
@overload
def arrow(type: Any = None) -> ArrowFormat[Any]: ...
def arrow(type: Any = None) -> ArrowFormat[Any]:
    """Arrow columns, for `files.arrow` and `files.parquet`.

    Only the columns that the type names are read. A naive `datetime` is written as UTC.

    Args:
        type: a `msgspec.Struct`, a dataclass or a TypedDict; None gives dicts.
    """
    return ArrowFormat(type)
