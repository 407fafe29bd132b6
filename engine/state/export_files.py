"""Rows of state as files: JSON lines, Arrow IPC, Parquet."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import IO, Any

import msgspec

from ..errors import ConfigError
from .export import FIELDS, StateRow

Rows = Callable[[], Iterable[StateRow]]

FORMATS = ("json", "arrow", "parquet")
_CHUNK_ROWS = 16_384


def write_json(rows: Iterable[StateRow], out: IO[bytes]) -> int:
    """One JSON object per row and line, members without a value left out; the number of rows. Blocking.

    Bytes are base64, times ISO 8601; what JSON cannot hold at all is written as Python shows it.
    """
    encoder = msgspec.json.Encoder(enc_hook=repr)
    n_rows = 0
    for row in rows:
        out.write(encoder.encode(row) + b"\n")
        n_rows += 1
    return n_rows


def write_table(rows: Rows, path: Path, file_format: str) -> int:
    """An Arrow IPC or Parquet file with a column per attribute of `StateRow`; the number of rows. Blocking.

    The rows are asked for twice: once to find the types of the columns, once to write them. A column whose values are
    not of one type holds them as JSON text. It holds a few thousand rows in memory at a time.

    Raises:
        ConfigError: pyarrow is not installed; says how to install it.
    """
    pa = _pyarrow()
    schema = pa.schema([])
    mixed: set[str] = set()
    for chunk in _chunks(rows()):
        schema = _widened(pa, schema, chunk, mixed)
    fields = [(name, schema.field(name).type if name in schema.names else pa.null()) for name in FIELDS]
    schema = pa.schema(
        [(name, pa.string() if name in mixed or pa.types.is_null(kind) else kind) for name, kind in fields]
    )
    n_rows = 0
    with path.open("wb") as out, _writer(pa, out, schema, file_format) as writer:
        for chunk in _chunks(rows()):
            columns = [_column(pa, chunk, field.name, field.type, mixed) for field in schema]
            writer.write_batch(pa.record_batch(columns, schema=schema))
            n_rows += len(chunk)
    return n_rows


def _widened(pa: Any, schema: Any, chunk: list[StateRow], mixed: set[str]) -> Any:
    """The schema that also holds the rows of a chunk; names of columns that no type holds are added to `mixed`."""
    found = []
    for name in FIELDS:
        if name in mixed:
            continue
        try:
            kind = pa.array([getattr(row, name) for row in chunk]).type
            before = schema.field(name).type if name in schema.names else pa.null()
            merged = pa.unify_schemas(
                [pa.schema([(name, before)]), pa.schema([(name, kind)])], promote_options="permissive"
            )
            found.append(merged.field(name))
        except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, OverflowError):
            mixed.add(name)
    return pa.schema(found)


def _column(pa: Any, chunk: list[StateRow], name: str, kind: Any, mixed: set[str]) -> Any:
    values = [getattr(row, name) for row in chunk]
    return pa.array([_text(value) for value in values] if name in mixed else values, kind)


def _writer(pa: Any, out: IO[bytes], schema: Any, file_format: str) -> Any:
    if file_format == "arrow":
        return pa.ipc.new_file(out, schema)
    import pyarrow.parquet

    return pyarrow.parquet.ParquetWriter(out, schema)


def _chunks(rows: Iterable[StateRow]) -> Iterator[list[StateRow]]:
    iterator = iter(rows)
    while chunk := list(islice(iterator, _CHUNK_ROWS)):
        yield chunk


def _text(value: Any) -> str | None:
    if value is None:
        return None
    return msgspec.json.encode(value, enc_hook=repr).decode()


def _pyarrow() -> Any:
    try:
        import pyarrow
    except ImportError as error:
        raise ConfigError(
            "Arrow and Parquet need pyarrow: pip install 'tidegate[arrow]', or use --format json"
        ) from error
    return pyarrow
