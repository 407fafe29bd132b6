"""What the commands on state share: fetching the snapshots of a checkpoint, and files that are whole or not there."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Annotated, TypeAlias, TypeVar

import typer

from ..checkpoint.manifest import Manifest, SubtaskState
from ..checkpoint.storage import CheckpointStorage
from .checkpoint_folder import with_storage
from .checkpoints import read
from .output import UsageError

R = TypeVar("R")

Which: TypeAlias = Annotated[
    str, typer.Option("--checkpoint", metavar="ID|NAME|latest", help="Which checkpoint or savepoint.")
]
Fetched: TypeAlias = tuple[SubtaskState, Path]
"""The state of an operator in a subtask, and the folder with its files."""


def with_snapshots(
    checkpoints: str,
    job: str | None,
    checkpoint: str,
    choose: Callable[[Manifest], Collection[str] | None],
    use: Callable[[Manifest, Sequence[Fetched], Path], R],
) -> R:
    """Fetch and verify the snapshots of a checkpoint, and use them while they are there.

    Args:
        choose: the operators that are wanted; None for all.
        use: told the checkpoint, its snapshots by operator and subtask, and a folder to work in.
    """
    scratch = Path(tempfile.mkdtemp(prefix="tidegate-state-"))

    async def act(storage: CheckpointStorage) -> tuple[Manifest, list[Fetched]]:
        manifest = await read(storage, checkpoint)
        chosen = choose(manifest)
        found: list[Fetched] = []
        for operator_id, entry in sorted(manifest.operators.items()):
            for subtask in entry.subtasks if chosen is None or operator_id in chosen else ():
                folder = scratch / f"snapshot-{len(found)}"
                await storage.fetch_files(manifest.checkpoint_id, subtask.files, folder)
                found.append((subtask, folder))
        return manifest, found

    try:
        manifest, fetched = with_storage(checkpoints, job, act)
        return use(manifest, fetched, scratch)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def written_whole(output: Path, write: Callable[[Path], R]) -> R:
    """Write a file whole or not at all: a reader never takes half of it for all.

    Raises:
        UsageError: it cannot be written.
    """
    partial = output.with_name(output.name + ".partial")
    try:
        result = write(partial)
        partial.replace(output)
    except OSError as error:
        raise UsageError(f"cannot write {output}: {error.strerror or error}") from None
    finally:
        partial.unlink(missing_ok=True)
    return result
