"""CSV: columns named by a header row, cells converted to the types of the fields."""

from __future__ import annotations

import csv as reader_library
import io
from collections.abc import Callable, Iterator, Sequence
from datetime import date, datetime, time
from typing import Any, Final, Generic, TypeVar, overload

import msgspec

from .columns import Column, Columns
from .format import RAW_LIMIT_BYTES, Decoded, Undecodable, reason_of, type_name

T = TypeVar("T")

_UNFINISHED: Final = "unexpected end of data"


class CsvFormat(Generic[T]):
    """See `csv`."""

    suffix = ".csv"

    def __init__(
        self,
        type: Any = None,
        *,
        delimiter: str = ",",
        null_values: Sequence[str] = ("",),
        header: bool = True,
        multiline: bool = True,
        columns: Sequence[str] | None = None,
    ) -> None:
        if len(delimiter) != 1 or delimiter in '"\r\n':
            raise ValueError(f"delimiter={delimiter!r}: one character, not a quote and not a line end")
        if isinstance(null_values, str):
            raise ValueError(f'null_values={null_values!r}: a list of strings, such as ["", "NA"]')
        self.type = type
        self.has_header = header
        self.splittable = not multiline
        self._multiline = multiline
        self._settings: dict[str, Any] = {
            "delimiter": delimiter,
            "null_values": null_values,
            "header": header,
            "multiline": multiline,
        }
        self._delimiter = delimiter
        self._nulls = frozenset(null_values)
        self._null = null_values[0] if null_values else ""
        self._shape: Columns[T] = Columns(type)
        if columns is None and self._shape.typed:
            columns = [field.name for field in self._shape.fields]
        if columns is None and not header:
            raise ValueError("csv(header=False) needs a type: its fields name the columns, in their order")
        self._columns = None if columns is None else list(columns)
        self._present: list[Column] = []
        if self._columns is not None:
            self._present = self._shape.present(self._columns)
            self._indices = [self._columns.index(column.name) for column in self._present]
            self._make: Callable[[Sequence[Sequence[Any]]], list[T]] = self._shape.constructor(self._present)

    def with_header(self, line: bytes) -> CsvFormat[T]:
        try:
            rows = list(reader_library.reader([line.decode("utf-8-sig")], delimiter=self._delimiter, strict=True))
        except (UnicodeDecodeError, reader_library.Error) as error:
            raise ValueError(f"the header row cannot be read: {reason_of(error)}") from error
        names = rows[0] if rows else []
        if not any(names):
            raise ValueError("the header row is empty")
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"the header row names {', '.join(map(repr, twice))} twice")
        return CsvFormat(self.type, columns=names, **self._settings)

    def decode_lines(self, block: bytes, final: bool = True) -> Decoded[T]:
        try:
            text = block.decode()
            reader = self._reader(io.StringIO(text, newline="\n"))
            rows = list(reader)
            if len(rows) != reader.line_num and not self._multiline:
                return self._decode_one_by_one(block, final)
            values = self._records([row for row in rows if row])
        except Exception:
            return self._decode_one_by_one(block, final)
        # A record may take several lines, so where each begins is found out by reading again, if asked.
        return Decoded(values, None if '"' not in text else _LazyStarts(self, block, len(values)))

    def _reader(self, lines: Iterator[str]) -> Any:
        return reader_library.reader(lines, delimiter=self._delimiter, strict=True)

    def _records(self, rows: list[list[str]]) -> list[T]:
        if self._columns is None:
            raise ValueError("the format has no columns yet: call with_header with the first line")
        if not rows:
            return []
        width = len(self._columns)
        if set(map(len, rows)) != {width}:
            raise ValueError(_wrong_width(next(row for row in rows if len(row) != width), self._columns))
        if not self._present:
            raise ValueError("no column of the type is in the file")
        columns = list(zip(*rows, strict=True))
        return self._make(
            [self._cells(column, columns[i]) for column, i in zip(self._present, self._indices, strict=True)]
        )

    def _cells(self, column: Column, cells: Sequence[str]) -> Sequence[Any]:
        if column.type is str or not self._shape.typed:
            return cells
        filled: Sequence[Any] = cells
        if column.optional:
            nulls = self._nulls
            filled = [None if cell in nulls else cell for cell in cells]
        try:
            return msgspec.convert(filled, list[column.type], strict=False)  # type: ignore[name-defined]  # a type at run time
        except msgspec.ValidationError as error:
            if len(cells) > 1:
                raise
            reason = str(error).removesuffix(" - at `$[0]`")
            raise ValueError(f"column {column.name!r} holds {cells[0]!r}: {reason}") from error

    def _decode_one_by_one(self, block: bytes, final: bool) -> Decoded[T]:
        starts: list[int] = []
        decoded: Decoded[T] = Decoded([], starts)
        for start, stop, row, problem in self._rows(block, final):
            if problem == _UNFINISHED:
                decoded.unfinished = len(block) - start
                return decoded
            if problem is None:
                try:
                    decoded.values += self._records([row])
                    starts.append(start)
                    continue
                except Exception as error:
                    problem = str(error) if isinstance(error, ValueError) else reason_of(error)
            raw = block[start:stop].rstrip(b"\r\n")[:RAW_LIMIT_BYTES]
            decoded.undecodable.append(Undecodable(start, raw, problem))
        return decoded

    def _rows(self, block: bytes, final: bool) -> Iterator[tuple[int, int, list[str], str | None]]:
        """Row by row, without blank ones: first byte, end, cells, and what is wrong with it.

        A row that goes over several lines and is wrong most likely has a stray quote: only its first line is refused,
        and reading goes on with the second. So a stray quote does not swallow the rows behind it.
        """
        lines = io.BytesIO(block).readlines()
        first = start = 0
        while first < len(lines):
            taken = first

            def feed() -> Iterator[str]:
                nonlocal taken
                while taken < len(lines):
                    taken += 1
                    # Escaped so that the reader goes on; the row is then refused by the check for what was escaped.
                    yield lines[taken - 1].decode(errors="surrogateescape")

            reader = self._reader(feed())
            while first < len(lines):
                row: list[str] = []
                problem = None
                try:
                    row = next(reader)
                except StopIteration:
                    return
                except reader_library.Error as error:
                    problem = str(error)
                spans = taken - first > 1
                if problem == _UNFINISHED:
                    if self._multiline and not final:
                        yield start, len(block), row, problem
                        return
                    problem = "a quoted cell is not closed"
                elif spans and not self._multiline:
                    problem = "a quoted cell is not closed on its line"
                elif problem is None and row and self._columns is not None and len(row) != len(self._columns):
                    problem = _wrong_width(row, self._columns)
                elif problem is None and not all(map(_is_utf8, row)):
                    problem = "invalid UTF-8"
                again = spans and problem is not None
                stop = start + (len(lines[first]) if again else sum(map(len, lines[first:taken])))
                if row or problem is not None:
                    yield start, stop, row, problem
                start, first = stop, first + 1 if again else taken
                if again:
                    break

    def decode_messages(self, payloads: Sequence[bytes]) -> Decoded[T]:
        starts: list[int] = []
        decoded: Decoded[T] = Decoded([], starts)
        for index, payload in enumerate(payloads):
            one = self.decode_lines(payload)
            decoded.values += one.values
            starts += [index] * len(one.values)
            decoded.undecodable += [Undecodable(index, bad.raw, bad.reason) for bad in one.undecodable]
        return decoded

    def encode_lines(self, values: Sequence[T]) -> bytes:
        if self._columns is None:
            raise ValueError("the format has no columns yet: call with_header with the header it made")
        null = self._null
        cells = [
            column if set(map(type, column)) <= {str, int} else [_cell(cell, null) for cell in column]
            for column in self._shape.cells(values, self._columns)
        ]
        out = io.StringIO(newline="")
        reader_library.writer(out, delimiter=self._delimiter, lineterminator="\n").writerows(zip(*cells, strict=True))
        return out.getvalue().encode()

    def encode_messages(self, values: Sequence[T]) -> list[bytes]:
        bound = self if self._columns is not None else self.with_header(self.header(values))
        return [bound.encode_lines([value]).removesuffix(b"\n") for value in values]

    def header(self, values: Sequence[T]) -> bytes:
        if not self.has_header:
            return b""
        out = io.StringIO(newline="")
        reader_library.writer(out, delimiter=self._delimiter, lineterminator="\n").writerow(self._shape.names(values))
        return out.getvalue().encode()

    def describe(self) -> str:
        return f"csv({type_name(self.type)})"


class _LazyStarts(Sequence[int]):
    """Where the rows of a block begin, worked out when the first is asked for."""

    def __init__(self, format: CsvFormat[Any], block: bytes, length: int) -> None:
        self._format = format
        self._block = block
        self._length = length
        self._starts: list[int] | None = None

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: Any) -> Any:
        if self._starts is None:
            self._starts = [start for start, _, row, _ in self._format._rows(self._block, True) if row]
        return self._starts[index]


def _wrong_width(row: Sequence[str], columns: Sequence[str]) -> str:
    return f"{len(row)} cells, but the header names {len(columns)} columns"


def _is_utf8(cell: str) -> bool:
    return cell.isascii() or not any("\udc80" <= character <= "\udcff" for character in cell)


def _cell(value: Any, null: str) -> Any:
    if value is None:
        return null
    if value is True or value is False:
        return "true" if value else "false"
    if isinstance(value, (datetime, date, time)):
        return value.isoformat()
    if isinstance(value, (str, int, float)):
        return value
    plain = msgspec.to_builtins(value)
    return plain if isinstance(plain, (str, int, float)) else msgspec.json.encode(plain).decode()


@overload
def csv(
    type: type[T],
    *,
    delimiter: str = ",",
    null_values: Sequence[str] = ("",),
    header: bool = True,
    multiline: bool = True,
) -> CsvFormat[T]: ...
@overload
def csv(
    type: Any = None,
    *,
    delimiter: str = ",",
    null_values: Sequence[str] = ("",),
    header: bool = True,
    multiline: bool = True,
) -> CsvFormat[Any]: ...
def csv(
    type: Any = None,
    *,
    delimiter: str = ",",
    null_values: Sequence[str] = ("",),
    header: bool = True,
    multiline: bool = True,
) -> CsvFormat[Any]:
    """CSV after RFC 4180, UTF-8, LF or CRLF; blank lines are skipped.

    The header names the columns; those that the type does not name are left out. A row with more or fewer cells than
    the header, or a cell that its type does not accept, is a bad record.

    Args:
        type: a `msgspec.Struct`, a dataclass or a TypedDict; None gives dicts of strings.
        delimiter: one character.
        null_values: cells that mean None where the field's type takes None; the first is written for None.
        header: the file begins with a header row. When false, the type's fields name the columns, in their order.
        multiline: a quoted cell may hold line ends. Such a file is read whole; with False it may be read in byte
            ranges (`split_size`).

    >>> csv(header=True).with_header(b"n,who").decode_lines(b'1,"a, b"\\n').values
    [{'n': '1', 'who': 'a, b'}]
    """
    return CsvFormat(type, delimiter=delimiter, null_values=null_values, header=header, multiline=multiline)
