"""`tidegate state tables` and `tidegate state query`: SQL over the state in a checkpoint."""

from __future__ import annotations

import json as json_text
import sys
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from ..checkpoint.manifest import Manifest
from ..query.tables import StateDatabase, StateTable, tables_of
from ..state.export import StateRow, read_rows
from .checkpoint_folder import Directory, JobOption
from .options import Json
from .output import UsageError, print_json
from .snapshots import Fetched, Which, with_snapshots, written_whole

_FORMATS: Final = {".parquet": "parquet", ".csv": "csv", ".jsonl": "json", ".json": "json", ".ndjson": "json"}
_SHOWN_ROWS: Final = 1000
_WIDEST: Final = 60


def tables(checkpoints: Directory, *, job: JobOption = None, checkpoint: Which = "latest", json: Json = False) -> None:
    """Show the states of a checkpoint as tables, with their columns and how many rows they have.

    Every row is read for that.
    """

    def describe(manifest: Manifest, fetched: Sequence[Fetched], scratch: Path) -> list[dict[str, Any]]:
        found = []
        for table, database in _each_table(manifest, fetched, scratch):
            columns = [{"name": name, "type": kind} for name, kind in database.columns(table)]
            found.append(
                {
                    "table": table.name,
                    "operator": table.operator_id,
                    "state": table.schema.name,
                    "rows": database.rows[table],
                    "columns": columns,
                }
            )
        return found

    found = with_snapshots(checkpoints, job, checkpoint, lambda manifest: None, describe)
    if json:
        print_json(found)
        return
    for table in found:
        columns = ", ".join(f"{column['name']} {column['type']}" for column in table["columns"])
        print(f"{table['table']}: {table['rows']} rows ({columns})")
    if not found:
        print("the checkpoint holds no state")


def query(
    sql: Annotated[str, typer.Argument(metavar="SQL", help="A query, in DuckDB's SQL.")],
    checkpoints: Directory,
    *,
    job: JobOption = None,
    checkpoint: Which = "latest",
    output: Annotated[
        Path | None,
        typer.Option("--output", metavar="FILE", help="Write the result to FILE.parquet, .csv or .jsonl."),
    ] = None,
    json: Json = False,
) -> None:
    """Ask the state of a checkpoint in SQL. Each state is a table, OPERATOR.STATE; `state tables` lists them.

    Needs the extra `query`.
    """
    file_format = None if output is None else _FORMATS.get(output.suffix)
    if output is not None and file_format is None:
        raise UsageError(f"--output {output}: the name must end in .parquet, .csv or .jsonl")

    def choose(manifest: Manifest) -> set[str]:
        return {table.operator_id for table in tables_of(manifest) if table.named_in(sql)}

    def ask(manifest: Manifest, fetched: Sequence[Fetched], scratch: Path) -> None:
        database: StateDatabase | None = None
        try:
            database = StateDatabase(scratch)
            for table in tables_of(manifest):
                if table.named_in(sql):
                    database.add(table, _rows_of(table, fetched))
            try:
                if output is not None and file_format is not None:
                    used = database
                    n_rows = written_whole(output, lambda partial: used.write(sql, partial, file_format))
                    print(f"{n_rows} rows written to {output}", file=sys.stderr)
                    return
                names, rows = database.query(sql)
                if json:
                    _print_json(names, rows)
                else:
                    _print_table(names, rows)
            except database.error as error:
                there = ", ".join(table.name for table in tables_of(manifest)) or "none"
                raise UsageError(f"query: {' '.join(str(error).split())}; the tables are: {there}") from None
        finally:
            if database is not None:
                database.close()

    with_snapshots(checkpoints, job, checkpoint, choose, ask)


def _each_table(
    manifest: Manifest, fetched: Sequence[Fetched], scratch: Path
) -> Iterator[tuple[StateTable, StateDatabase]]:
    """Every table, one at a time: the file of one is written over by the next."""
    for table in tables_of(manifest):
        database = StateDatabase(scratch)
        try:
            database.add(table, _rows_of(table, fetched))
            yield table, database
        finally:
            database.close()


def _rows_of(table: StateTable, fetched: Sequence[Fetched]) -> Any:
    def rows() -> Iterator[StateRow]:
        for subtask, folder in fetched:
            if subtask.snapshot.operator_id == table.operator_id:
                yield from read_rows(subtask.snapshot, folder, {table.schema.name})

    return rows


def _print_json(names: Sequence[str], rows: Iterable[tuple[Any, ...]]) -> None:
    """An array of objects, written as the rows come."""
    between = "["
    for row in rows:
        cells = dict(zip(names, row, strict=True))
        print(between + json_text.dumps(cells, default=str, ensure_ascii=False), end="")
        between = ",\n "
    print("[]" if between == "[" else "]")


def _print_table(names: Sequence[str], rows: Iterator[tuple[Any, ...]]) -> None:
    shown = [[_cell(cell) for cell in row] for row in islice(rows, _SHOWN_ROWS)]
    more = next(rows, None) is not None
    numeric = [all(_is_number(row[column]) for row in shown) for column in range(len(names))]
    widths = [max([len(name), *(len(row[column]) for row in shown)]) for column, name in enumerate(names)]

    def line(cells: Sequence[str]) -> str:
        parts = zip(cells, widths, numeric, strict=True)
        return "  ".join(cell.rjust(width) if right else cell.ljust(width) for cell, width, right in parts).rstrip()

    if names:
        print(line(names))
        print("  ".join("-" * width for width in widths))
    for row in shown:
        print(line(row))
    if more:
        print(f"(the first {_SHOWN_ROWS} rows; --output writes all)")


def _cell(value: Any) -> str:
    text = "" if value is None else str(value)
    return text if len(text) <= _WIDEST else f"{text[: _WIDEST - 1]}…"


def _is_number(text: str) -> bool:
    try:
        float(text or "0")
    except ValueError:
        return False
    return True
