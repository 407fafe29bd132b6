"""`tidegate state`: look into the state in a checkpoint, or write it to a file."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, TypeAlias, TypeVar

import msgspec
import typer

from ..checkpoint.manifest import Manifest, SubtaskState
from ..checkpoint.storage import CheckpointStorage
from ..metrics.live import size
from ..state.export import StateRow, read_rows
from ..state.export_files import FORMATS, write_json, write_table
from .checkpoint_folder import Directory, JobOption, with_storage
from .checkpoints import read
from .options import Json, new_app
from .output import UsageError, print_json

R = TypeVar("R")
Rows: TypeAlias = Callable[[], Iterable[StateRow]]

app = new_app()
app.info.help = "Show and export the state in a checkpoint."

Which: TypeAlias = Annotated[
    str, typer.Option("--checkpoint", metavar="ID|NAME|latest", help="Which checkpoint or savepoint.")
]
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
        # Whole or not at all: a reader never takes half an export for all of it.
        partial = output.with_name(output.name + ".partial")
        try:
            if file_format == "json":
                with partial.open("wb") as out:
                    n_rows = write_json(rows(), out)
            else:
                n_rows = write_table(rows, partial, file_format)
            partial.replace(output)
        except OSError as error:
            raise UsageError(f"cannot write {output}: {error.strerror or error}") from None
        finally:
            partial.unlink(missing_ok=True)
        return n_rows

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
    """Fetch and verify the snapshots that are wanted, and use their rows while they are there."""
    scratch = Path(tempfile.mkdtemp(prefix="tidegate-state-"))

    async def act(storage: CheckpointStorage) -> list[SubtaskState]:
        manifest = await read(storage, checkpoint)
        found = _wanted(manifest, operator, state)
        for index, subtask in enumerate(found):
            await storage.fetch_files(manifest.checkpoint_id, subtask.files, scratch / str(index))
        return found

    try:
        snapshots = with_storage(checkpoints, job, act)

        def rows() -> Iterable[StateRow]:
            for index, subtask in enumerate(snapshots):
                yield from read_rows(subtask.snapshot, scratch / str(index), None if state is None else {state})

        return use(rows)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _wanted(manifest: Manifest, operator: str | None, state: str | None) -> list[SubtaskState]:
    stateful = {name: entry.subtasks for name, entry in manifest.operators.items() if entry.subtasks}
    if operator is not None and operator not in stateful:
        there = ", ".join(sorted(stateful)) or "none"
        raise UsageError(f"{manifest.title} holds no state of an operator {operator!r}; there are: {there}")
    subtasks = [s for name, found in sorted(stateful.items()) if operator in (None, name) for s in found]
    names = {schema.name for subtask in subtasks for schema in subtask.snapshot.schemas}
    if state is not None and state not in names:
        raise UsageError(f"{manifest.title} holds no state {state!r}; there are: {', '.join(sorted(names)) or 'none'}")
    return [s for s in subtasks if state is None or state in {schema.name for schema in s.snapshot.schemas}]


def _states(manifest: Manifest) -> list[dict[str, Any]]:
    found = {
        (operator_id, schema.name): schema
        for operator_id, entry in manifest.operators.items()
        for subtask in entry.subtasks
        for schema in subtask.snapshot.schemas
    }
    return [
        {"operator": operator_id, "state": name, "kind": s.kind, "version": s.version, "types": list(s.types)}
        for (operator_id, name), s in sorted(found.items())
    ]
