"""The states of a checkpoint as tables of DuckDB: schema = operator, table = state. Blocking."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any, Final

from ..checkpoint.manifest import Manifest
from ..errors import ConfigError
from ..state.backend import StateSchema
from ..state.export import StateRow
from .columns import StateColumn, columns_of, inferred, text_cell

Rows = Callable[[], Iterable[StateRow]]

_CHUNK_ROWS: Final = 32_768


@dataclass(frozen=True)
class StateTable:
    """A state as a table.

    Attributes:
        operator_id: the operator.
        schema: the state.
    """

    operator_id: str
    schema: StateSchema

    @property
    def name(self) -> str:
        """How SQL names it: `shops.totals`, `"by-rest"."timers.event"`."""
        return f"{_quoted(self.operator_id)}.{_quoted(self.schema.name)}"

    def named_in(self, sql: str) -> bool:
        """Whether a statement may read it: both names occur."""
        text = sql.lower()
        return self.operator_id.lower() in text and self.schema.name.lower() in text


def tables_of(manifest: Manifest) -> list[StateTable]:
    """The tables of a checkpoint, by name."""
    found = {
        (operator_id, schema.name): schema
        for operator_id, entry in manifest.operators.items()
        for subtask in entry.subtasks
        for schema in subtask.snapshot.schemas
    }
    return [StateTable(operator_id, schema) for (operator_id, _), schema in sorted(found.items())]


class StateDatabase:
    """A DuckDB in memory with states as views over Parquet files in a folder, which it may fill with more than fits into
    memory.

    Args:
        folder: for the files; must exist.

    Raises:
        ConfigError: DuckDB or pyarrow is not installed; says how to install them.
    """

    def __init__(self, folder: Path) -> None:
        self._pa, duckdb = _libraries()
        self._folder = folder
        self.error: type[Exception] = duckdb.Error
        self.connection: Any = duckdb.connect(":memory:", config={"temp_directory": str(folder / "spilled")})
        self.rows: dict[StateTable, int] = {}

    def add(self, table: StateTable, rows: Rows) -> None:
        """Make a table of a state. The rows are asked for again when a column turns out to hold more than its type."""
        path = self._folder / f"{len(self.rows)}.parquet"
        self.rows[table] = _write(self._pa, table.schema, rows, path)
        self.connection.execute(f"CREATE SCHEMA IF NOT EXISTS {_quoted(table.operator_id, always=True)}")
        place = f"{_quoted(table.operator_id, always=True)}.{_quoted(table.schema.name, always=True)}"
        self.connection.execute(f"CREATE VIEW {place} AS SELECT * FROM read_parquet('{_text(path)}')")

    def columns(self, table: StateTable) -> list[tuple[str, str]]:
        """Names and types of a table's columns."""
        found = self.connection.execute(f"DESCRIBE {table.name}").fetchall()
        return [(name, kind) for name, kind, *_ in found]

    def query(self, sql: str) -> tuple[list[str], Iterator[tuple[Any, ...]]]:
        """The names of a result's columns, and its rows, some at a time."""
        result = self.connection.execute(sql)
        names = [column[0] for column in result.description or ()]

        def rows() -> Iterator[tuple[Any, ...]]:
            while found := result.fetchmany(_CHUNK_ROWS):
                yield from found

        return names, rows()

    def write(self, sql: str, path: Path, file_format: str) -> int:
        """The result of a query as a file, `parquet`, `csv` or `json` (lines); the number of rows."""
        query = sql.strip().rstrip(";")
        options = {"csv": ", HEADER", "json": ", ARRAY false"}.get(file_format, "")
        done = self.connection.execute(f"COPY ({query}) TO '{_text(path)}' (FORMAT {file_format}{options})")
        (count,) = done.fetchone()
        return int(count)

    def close(self) -> None:
        """Give the database back; the files are the caller's."""
        self.connection.close()


class _DoesNotFit(Exception):
    def __init__(self, column: str, wider: Any) -> None:
        self.column = column
        self.wider = wider


def _write(pa: Any, schema: StateSchema, rows: Rows, path: Path) -> int:
    """The rows of a state as a Parquet file; how many they are."""
    widened: dict[str, Any] = {}
    while True:
        try:
            return _write_once(pa, schema, rows, path, widened)
        except _DoesNotFit as found:
            widened[found.column] = found.wider


def _write_once(pa: Any, schema: StateSchema, rows: Rows, path: Path, widened: dict[str, Any]) -> int:
    import pyarrow.parquet

    chunks = _chunks(rows())
    first = next(chunks, [])
    columns = columns_of(pa, schema, first[0] if first else None)
    types = [_type(pa, column, first, widened) for column in columns]
    arrow = pa.schema([(column.name, kind) for column, kind in zip(columns, types, strict=True)])
    n_rows = 0
    with pyarrow.parquet.ParquetWriter(path, arrow) as writer:
        for chunk in chain([first], chunks):
            arrays = [_array(pa, column, kind, chunk) for column, kind in zip(columns, types, strict=True)]
            writer.write_batch(pa.record_batch(arrays, schema=arrow))
            n_rows += len(chunk)
    return n_rows


def _type(pa: Any, column: StateColumn, first: Sequence[StateRow], widened: dict[str, Any]) -> Any:
    if column.name in widened:
        return widened[column.name]
    return inferred(pa, [column.get(row) for row in first]) if column.type is None else column.type


def _array(pa: Any, column: StateColumn, kind: Any, chunk: Sequence[StateRow]) -> Any:
    cells = [column.get(row) for row in chunk]
    if pa.types.is_string(kind):
        cells = [cell if cell is None or isinstance(cell, str) else text_cell(cell) for cell in cells]
    elif column.type is None:
        # Arrow would cut 3.5 to fit into a column of whole numbers.
        wider = _wider(pa, kind, inferred(pa, cells)) if any(cell is not None for cell in cells) else kind
        if wider != kind:
            raise _DoesNotFit(column.name, wider)
    try:
        return pa.array(cells, kind)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, TypeError, OverflowError):
        raise _DoesNotFit(column.name, pa.string()) from None


def _wider(pa: Any, *kinds: Any) -> Any:
    """A type that holds the values of two others; text where there is none."""
    try:
        merged = pa.unify_schemas([pa.schema([("cell", kind)]) for kind in kinds], promote_options="permissive")
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        return pa.string()
    return merged.field("cell").type


def _chunks(rows: Iterable[StateRow]) -> Iterator[list[StateRow]]:
    iterator = iter(rows)
    while chunk := list(islice(iterator, _CHUNK_ROWS)):
        yield chunk


def _quoted(name: str, always: bool = False) -> str:
    if not always and name.isidentifier() and name.isascii() and not _RESERVED.fullmatch(name):
        return name
    return '"' + name.replace('"', '""') + '"'


_RESERVED: Final = re.compile(
    "all|and|any|array|as|asc|both|case|cast|check|collate|column|constraint|create|cross|default|desc|distinct|do|else|"
    "end|except|false|fetch|for|foreign|from|full|grant|group|having|in|inner|intersect|into|is|join|lateral|leading|left|"
    "like|limit|main|natural|not|null|offset|on|only|or|order|outer|pivot|primary|qualify|references|returning|right|"
    "select|show|some|summarize|table|then|to|trailing|true|union|unique|unpivot|using|values|when|where|window|with",
    re.IGNORECASE,
)
"""Words of SQL that a name must not be taken for."""


def _text(path: Path) -> str:
    return str(path).replace("'", "''")


def _libraries() -> tuple[Any, Any]:
    try:
        import duckdb
        import pyarrow
    except ImportError as error:
        raise ConfigError(f"SQL over state needs {error.name}: pip install 'tidegate[query]'") from None
    return pyarrow, duckdb
