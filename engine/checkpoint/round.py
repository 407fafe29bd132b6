"""A checkpoint under way: what has been reported for it, and where its files go."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from ..executor import Executor
from ..runtime.chain import SubtaskReport
from ..runtime.recording import InFlightFiles
from ..savepoint.write import write_portable
from ..state.backend import SnapshotFiles
from .manifest import FileEntry, InFlightSubtask, SubtaskState
from .storage import CheckpointStorage


@dataclass
class Request:
    """A checkpoint that somebody asked for.

    Attributes:
        kind: a savepoint is written in the portable format.
        name: a savepoint's.
        done: who waits for it; None for nobody.
    """

    kind: Literal["checkpoint", "savepoint"] = "checkpoint"
    name: str | None = None
    done: asyncio.Future[int] | None = None


@dataclass
class Round:
    """The checkpoint under way.

    Attributes:
        checkpoint_id: its id.
        request: what was asked for.
        final: nothing comes after it.
        finished: the streams had come to their end.
        triggered_ms: when it was opened, milliseconds since 1970 UTC.
        started: the same, seconds of the monotonic clock.
        overtakes_at: when its barriers are to overtake what they wait for; None when they are not to, or already do.
        reports: what subtasks have acknowledged it with, once all their files are stored.
        states: operator id → the state of its subtasks.
        in_flight: operator id → what was on its way to its subtasks.
        stored: every file that was stored for it.
        uploaded_bytes: the size of those that were not there before.
    """

    checkpoint_id: int
    request: Request
    final: bool
    finished: bool
    triggered_ms: int
    started: float
    overtakes_at: float | None = None
    reports: list[SubtaskReport] = field(default_factory=list)
    states: dict[str, list[SubtaskState]] = field(default_factory=dict)
    in_flight: dict[str, list[InFlightSubtask]] = field(default_factory=dict)
    stored: list[FileEntry] = field(default_factory=list)
    uploaded_bytes: int = 0


class RoundFiles:
    """Stores what subtasks report for the checkpoints of one attempt.

    Args:
        storage: where checkpoints are kept; None for a job without.
        max_parallelism: number of key groups.
        is_under_way: whether a checkpoint is still wanted; asked in any thread.
    """

    def __init__(
        self,
        storage: CheckpointStorage | None,
        executor: Executor,
        max_parallelism: int,
        *,
        is_under_way: Callable[[Round], bool],
    ) -> None:
        self._storage = storage
        self._executor = executor
        self._max_parallelism = max_parallelism
        self._is_under_way = is_under_way
        self._known: dict[tuple[str, int], dict[str, str]] = {}
        self._writes_portable = asyncio.Lock()

    async def store(self, current: Round, report: SubtaskReport) -> None:
        """Store all files of a report, and note them in the round. What is stored once it has been given up is released.

        Raises:
            CheckpointError: a file cannot be stored.
            StateError: a snapshot cannot be written as a savepoint.
        """
        if self._storage is None:
            return
        for files in report.snapshots:
            if current.request.kind == "savepoint":
                state = await self._store_portable(self._storage, current, files)
            else:
                state = await self._store_native(self._storage, current, files)
            current.states.setdefault(state.snapshot.operator_id, []).append(state)
        if report.in_flight is not None:
            found = await self._store_in_flight(self._storage, current, report.in_flight)
            current.in_flight.setdefault(report.in_flight.receiver, []).append(found)

    async def forget(self, report: SubtaskReport) -> None:
        """Delete the local files of a report."""
        directories = [files.directory for files in report.snapshots]
        if report.in_flight is not None and report.in_flight.files:
            directories.append(report.in_flight.directory)
        for directory in directories:
            await self._executor.run(_remove_tree, directory)

    async def _store_native(self, storage: CheckpointStorage, current: Round, files: SnapshotFiles) -> SubtaskState:
        snapshot = files.snapshot
        known = self._known.setdefault((snapshot.operator_id, snapshot.subtask), {})
        before = set(known.values())
        entries = await storage.store_files(files, known, lambda: self._is_under_way(current))
        return SubtaskState(snapshot, self._noted(storage, current, entries, before))

    async def _store_portable(self, storage: CheckpointStorage, current: Round, files: SnapshotFiles) -> SubtaskState:
        folder = files.directory.with_name(f"{files.directory.name}.portable")
        try:
            # One after the other: each keeps the interpreter busy, and the job needs it too.
            async with self._writes_portable:
                portable = await self._executor.run(
                    write_portable, files, folder, self._max_parallelism, lambda: not self._is_under_way(current)
                )
            entries = await storage.store_files(portable, {}, lambda: self._is_under_way(current))
        finally:
            await self._executor.run(_remove_tree, folder)
        return SubtaskState(portable.snapshot, self._noted(storage, current, entries))

    async def _store_in_flight(
        self, storage: CheckpointStorage, current: Round, found: InFlightFiles
    ) -> InFlightSubtask:
        entries: Sequence[FileEntry] = ()
        if found.files:
            entries = await storage.store_files(found, {}, lambda: self._is_under_way(current))
        return InFlightSubtask(
            found.subtask,
            found.watermark_ms,
            found.watermarks,
            found.idle,
            found.records,
            self._noted(storage, current, entries),
        )

    def _noted(
        self,
        storage: CheckpointStorage,
        current: Round,
        entries: Sequence[FileEntry],
        before: Collection[str] = (),
    ) -> tuple[FileEntry, ...]:
        """The entries, which now belong to the round; contents in `before` had been stored already."""
        current.stored += entries
        current.uploaded_bytes += sum(entry.size for entry in entries if entry.sha256 not in before)
        if not self._is_under_way(current):
            storage.release(entries)
        return tuple(entries)


def _remove_tree(path: Path) -> None:
    shutil.rmtree(path, ignore_errors=True)
