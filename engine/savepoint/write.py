"""From the snapshot of a subtask to the portable files of a savepoint."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import msgspec

from ..errors import StateError
from ..state.backend import SnapshotFiles
from ..state.entries import RawEntry, database_key, open_snapshot
from ..state.portable import BACKEND, StateWriter, file_name

_ASK_EVERY = 4096


def write_portable(
    files: SnapshotFiles, folder: Path, max_parallelism: int, given_up: Callable[[], bool] = lambda: False
) -> SnapshotFiles:
    """Write the state of a snapshot in the portable format. Blocking; memory stays bounded, except for a snapshot of the
    dict backend, whose state is in memory anyway.

    Args:
        files: the snapshot; left as it is.
        folder: where to; does not exist yet.
        max_parallelism: number of key groups of the job.
        given_up: asked now and then whether anybody still wants it.

    Raises:
        StateError: the snapshot cannot be read, or the folder not be written; names which, and the remedy. Or nobody wants
            it any more.
    """
    snapshot = files.snapshot
    try:
        folder.mkdir(parents=True)
        writer = StateWriter(snapshot, folder, max_parallelism)
        with open_snapshot(snapshot, files.directory) as reader:
            for schema in snapshot.schemas:
                if schema.of_subtasks:
                    writer.write_items(schema, reader.items(schema.name))
                    continue
                entries = reader.entries(schema.name)
                if reader.ascending != max_parallelism:
                    entries = iter(sorted(entries, key=lambda entry: database_key(entry[0], entry[1], max_parallelism)))
                writer.write(schema, _while_wanted(entries, given_up))
    except OSError as error:
        raise StateError(
            f"the savepoint of operator {snapshot.operator_id!r} cannot be written to {folder}: {error.strerror or error}; "
            "free space there, or make it writable"
        ) from error
    details = {"max_parallelism": max_parallelism, "files": writer.files}
    names = [
        file_name(number, index)
        for number, schema in enumerate(snapshot.schemas)
        for index in range(writer.files[schema.name])
    ]
    return SnapshotFiles(msgspec.structs.replace(snapshot, backend=BACKEND, details=details), folder, tuple(names), {})


def _while_wanted(entries: Iterable[RawEntry], given_up: Callable[[], bool]) -> Iterator[RawEntry]:
    for number, entry in enumerate(entries):
        if number % _ASK_EVERY == 0 and given_up():
            raise StateError("the savepoint was given up while it was written; take it again")
        yield entry
