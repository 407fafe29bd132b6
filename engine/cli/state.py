"""`tidegate state`: look into the state in a checkpoint, ask it in SQL, or write it to a file."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, TypeAlias, TypeVar

import msgspec
import typer

from ..checkpoint.manifest import Manifest
from ..metrics.live import size
from ..query.tables import tables_of
from ..state.export import StateRow, read_rows
from ..state.export_files import FORMATS, write_json, write_table
from .checkpoint_folder import Directory, JobOption, with_storage
from .checkpoints import read
from .options import Json, new_app
from .output import UsageError, print_json
from .snapshots import Fetched, Which, with_snapshots, written_whole
from .state_query import query, tables

R = TypeVar("R")
Rows: TypeAlias = Callable[[], Iterable[StateRow]]

app = new_app()
app.info.help = "Show, query and export the state in a checkpoint."
app.command()(tables)
app.command()(query)
OperatorOption: TypeAlias = Annotated[
    str | None, typer.Option("--operator", metavar="ID", help="Of this operator only.")
]
StateOption: TypeAlias = Annotated[str | None, typer.Option("--state", metavar="NAME", help="This state only.")]


@app.command()
def show(
    checkpoints: Directory,
    *,
    job: JobOption = None,
    operator: OperatorOption = None,
    state: StateOption = None,
    checkpoint: Which = "latest",
    limit: Annotated[int, typer.Option("--limit", min=1, help="How many entries, with --operator or --state.")] = 20,
    json: Json = False,
) -> None:
    """Show which states there are or, with --operator or --state, their first entries."""
    if operator is None and state is None:
        manifest = with_storage(checkpoints, job, lambda storage: read(storage, checkpoint))
        states = _states(manifest)
        if json:
            print_json(states)
            return
        for found in states:
            types = ", ".join(found["types"])
            print(f"{found['operator']}: {found['state']} ({found['kind']}, version {found['version']}): {types}")
        print(f"{manifest.title}: {size(manifest.state_bytes)} of state")
        return

    def take(rows: Rows) -> list[StateRow]:
        return list(islice(rows(), limit))

    shown = _with_rows(checkpoints, job, checkpoint, take, operator=operator, state=state)
    if json:
        print_json([msgspec.to_builtins(row, enc_hook=repr) for row in shown])
        return
    for row in shown:
        time = "" if row.time_ms is None else f" @ {row.time_ms}"
        map_key = "" if row.map_key is None else f"[{row.map_key!r}]"
        print(f"{row.operator_id}.{row.state}{map_key} {row.key!r}{time} = {row.value!r}")
    if len(shown) == limit:
        print(f"(the first {limit}; --limit shows more, `state export` writes all)")


@app.command()
def export(
    checkpoints: Directory,
    *,
    output: Annotated[Path, typer.Option("--output", metavar="FILE", help="Where to write; - for stdout.")],
    file_format: Annotated[str, typer.Option("--format", metavar="|".join(FORMATS), help="What to write.")] = "json",
    job: JobOption = None,
    operator: OperatorOption = None,
    state: StateOption = None,
    checkpoint: Which = "latest",
) -> None:
    """Write the entries of the state to a file: JSON lines, Arrow IPC or Parquet."""
    if file_format not in FORMATS:
        raise UsageError(f"--format {file_format}: use one of {', '.join(FORMATS)}")
    to_stdout = str(output) == "-"
    if to_stdout and file_format != "json":
        raise UsageError(f"--format {file_format} cannot be written to stdout: give --output a file")

    def write(rows: Rows) -> int:
        if to_stdout:
            return write_json(rows(), sys.stdout.buffer)
        return written_whole(output, lambda partial: write_file(rows, partial))

    def write_file(rows: Rows, path: Path) -> int:
        if file_format != "json":
            return write_table(rows, path, file_format)
        with path.open("wb") as out:
            return write_json(rows(), out)

    n_rows = _with_rows(checkpoints, job, checkpoint, write, operator=operator, state=state)
    print(f"{n_rows} entries written to {'stdout' if to_stdout else output}", file=sys.stderr)


def _with_rows(
    checkpoints: str,
    job: str | None,
    checkpoint: str,
    use: Callable[[Rows], R],
    *,
    operator: str | None,
    state: str | None,
) -> R:
    """Use the rows that are wanted, of snapshots that have been verified."""

    def rows_of(manifest: Manifest, fetched: Sequence[Fetched], scratch: Path) -> R:
        def rows() -> Iterable[StateRow]:
            for subtask, folder in fetched:
                yield from read_rows(subtask.snapshot, folder, None if state is None else {state})

        return use(rows)

    return with_snapshots(checkpoints, job, checkpoint, lambda manifest: _wanted(manifest, operator, state), rows_of)


def _wanted(manifest: Manifest, operator: str | None, state: str | None) -> set[str]:
    """The operators that have the state that is wanted."""
    stateful = {name: entry.subtasks for name, entry in manifest.operators.items() if entry.subtasks}
    if operator is not None and operator not in stateful:
        there = ", ".join(sorted(stateful)) or "none"
        raise UsageError(f"{manifest.title} holds no state of an operator {operator!r}; there are: {there}")
    found = [table for table in tables_of(manifest) if operator in (None, table.operator_id)]
    names = {table.schema.name for table in found}
    if state is not None and state not in names:
        raise UsageError(f"{manifest.title} holds no state {state!r}; there are: {', '.join(sorted(names)) or 'none'}")
    return {table.operator_id for table in found if state in (None, table.schema.name)}


def _states(manifest: Manifest) -> list[dict[str, Any]]:
    return [
        {
            "operator": table.operator_id,
            "state": table.schema.name,
            "kind": table.schema.kind,
            "version": table.schema.version,
            "types": list(table.schema.types),
        }
        for table in tables_of(manifest)
    ]
