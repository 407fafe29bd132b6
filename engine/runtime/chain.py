"""A chain at work: the nodes of one subtask, their outputs and their sinks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from ...connectors.sink import Committable
from ..clock import Clock
from ..errors import CheckpointError
from ..executor import Executor
from ..metrics.measures import SubtaskMeasures
from ..state.backend import PendingSnapshot, SnapshotFiles
from .elements import Barrier
from .node import OperatorNode
from .outputs import ChannelOutput, SinkLeaf
from .pace import SnapshotPace
from .recording import InFlightFiles, Recording, UnrecordableChannelError

_CATCH_UP_S = 0.001
"""How long a snapshot waits for a database that has not flushed yet what it was given."""


@dataclass(frozen=True)
class SplitPosition:
    """Where a split stands at a barrier.

    Attributes:
        offset: what the reader resumes with.
        ended: it has no more records.
        watermark_ms: its watermark.
        records: how many records it has given so far.
        idle: it has had nothing for the idle timeout.
    """

    split: Any
    offset: Any
    ended: bool
    watermark_ms: int
    records: int
    idle: bool = False


@dataclass(frozen=True)
class SubtaskReport:
    """What a subtask acknowledges a barrier with.

    Attributes:
        subtask: its name.
        checkpoint_id: the barrier's.
        snapshots: the state of its operators, on local disk.
        splits: per source operator, the positions of its splits by id.
        committables: per sink, what its writer prepared.
        written: per sink, (arrival, records) of what the committables hold, for the end-to-end latency.
        sync_ms: how long the subtask stood still for it.
        alignment_ms: how long inputs were held back before.
        snapshot_ms: how long the part in the background took.
        in_flight: what was on its way to the subtask, on local disk; None where the barrier has not overtaken anything.
    """

    subtask: str
    checkpoint_id: int
    snapshots: Sequence[SnapshotFiles] = ()
    splits: dict[str, dict[str, SplitPosition]] = field(default_factory=dict)
    committables: dict[str, list[Committable]] = field(default_factory=dict)
    written: list[tuple[float, int]] = field(default_factory=list)
    sync_ms: float = 0.0
    alignment_ms: float = 0.0
    snapshot_ms: float = 0.0
    in_flight: InFlightFiles | None = None


class Reporter(Protocol):
    """Whom subtasks speak to: the coordinator's end of the worker interface."""

    async def acknowledge(self, report: SubtaskReport, failure: Exception | None) -> None:
        """The subtask's part of the checkpoint is on local disk, or could not be made (`failure`): then the checkpoint is
        given up and the job goes on. Runs in the background."""
        ...

    def ended(self, subtask: str) -> None:
        """The subtask has seen the end of all its input."""
        ...

    def not_recordable(self, error: UnrecordableChannelError) -> None:
        """What is in flight on an edge cannot be part of a checkpoint: barriers wait for it."""
        ...


class Chain:
    """The nodes of one subtask in topological order. Knows nothing of where its input comes from.

    Attributes:
        hurried: `hurry` has been called, and `settle` not yet.
    """

    def __init__(
        self,
        name: str,
        nodes: Sequence[OperatorNode],
        outputs: Sequence[ChannelOutput],
        sinks: Sequence[SinkLeaf],
        *,
        clock: Clock,
        executor: Executor,
        spawn: Callable[[Any], Any],
        reporter: Reporter,
        snapshot_directory: Path,
        measures: SubtaskMeasures,
    ) -> None:
        self.name = name
        self.nodes = nodes
        self.measures = measures
        self.hurried = False
        self._outputs = outputs
        self._sinks = sinks
        self._leaves: list[ChannelOutput | SinkLeaf] = [*outputs, *sinks]
        self._stores = [node.store for node in nodes if node.store is not None]
        self._timed = [node for node in nodes if node.operator.uses_timers]
        self._clock = clock
        self._executor = executor
        self._spawn = spawn
        self._reporter = reporter
        self._snapshot_directory = snapshot_directory
        self._written = asyncio.Event()
        self._written.set()
        self._finishing: Any = None
        self._snapshot_pace = SnapshotPace()

    async def open(self) -> None:
        for sink in self._sinks:
            await sink.open()
        for node in reversed(self.nodes):
            node.open()

    async def flush(self, arrived: float) -> None:
        """Hand over what the walk left at the leaves, then give memory back where it is over budget."""
        for leaf in self._leaves:
            if leaf.pending:
                started = self._clock.monotonic()
                await leaf.flush(arrived)
                self.measures.backpressured_s += self._clock.monotonic() - started
        for store in self._stores:
            if store.over_budget and not store.drop_unchanged():
                await self.snapshot_finished()
                store.evict()

    async def snapshot_finished(self) -> None:
        """Wait until no snapshot of this subtask is being written."""
        await self._written.wait()

    def hurry(self) -> None:
        """A barrier is to overtake: nothing that is handed over to other subtasks waits for room, until `settle`."""
        self.hurried = True
        for output in self._outputs:
            output.hurry(True)

    async def settle(self) -> None:
        """After `hurry`: wait until no receiver holds more than it should. So one that stands still never gets more than what
        one walk leaves, however many barriers overtake. Ends also when `hurry` is called anew."""
        self.hurried = False
        for output in self._outputs:
            output.hurry(False)
        started = self._clock.monotonic()
        for output in self._outputs:
            await output.room()
        self.measures.backpressured_s += self._clock.monotonic() - started

    def next_processing_time(self) -> int | None:
        """When a processing-time timer is due next."""
        times = [t for t in (node.next_processing_time() for node in self._timed) if t is not None]
        return min(times, default=None)

    async def tick(self) -> float | None:
        """Fire the processing-time timers that are due; seconds until the next, None when there is none."""
        if not self._timed:
            return None
        due = self.next_processing_time()
        if due is None:
            return None
        now = self._clock.now_ms()
        if due <= now:
            for node in self._timed:
                node.processing_time(now)
            await self.flush(self._clock.monotonic())
            due = self.next_processing_time()
            if due is None:
                return None
        return max(0.0, (due - now) / 1000)

    async def barrier(
        self,
        barrier: Barrier,
        splits: dict[str, dict[str, SplitPosition]],
        alignment_ms: float = 0.0,
        recording: Recording | None = None,
    ) -> None:
        """Snapshot, pass the barrier on, and acknowledge from the background; a `recording`, once it has ended."""
        if self._finishing is not None:
            # Also what was recorded for the one before it: reports come in the order of checkpoints.
            await self._finishing
        started = self._clock.monotonic()
        checkpoint_id = barrier.checkpoint_id
        pending: list[PendingSnapshot] = []
        committables: dict[str, list[Committable]] = {}
        written: list[tuple[float, int]] = []
        failure: Exception | None = None
        for node in self.nodes:
            node.prepare_snapshot(checkpoint_id)
            if node.store is not None and not barrier.stateless and failure is None:
                folder = self._snapshot_directory / f"{checkpoint_id}-{node.context.operator_id}"
                try:
                    snapshot = node.store.begin_snapshot(folder)
                    # Where little has changed that is all, and the next records find nothing frozen.
                    snapshot.advance(self._snapshot_pace.limit(0.0))
                    pending.append(snapshot)
                except (
                    Exception
                ) as error:  # full disk, a value that cannot be stored: the checkpoint fails, not the job
                    failure = error
        for output in self._outputs:
            output.barrier(barrier)
            await output.flush(started)
        for sink in self._sinks:
            committables[sink.operator_id], arrivals = await sink.prepare_commit(checkpoint_id)
            written.extend(arrivals)
        sync_ms = (self._clock.monotonic() - started) * 1000
        report = SubtaskReport(
            self.name,
            checkpoint_id,
            splits=splits,
            committables=committables,
            written=written,
            sync_ms=sync_ms,
            alignment_ms=alignment_ms,
        )
        self._written.clear()
        self._finishing = self._spawn(self._finish(report, pending, failure, recording))

    async def _finish(
        self,
        report: SubtaskReport,
        pending: Sequence[PendingSnapshot],
        failure: Exception | None,
        recording: Recording | None,
    ) -> None:
        started = self._clock.monotonic()
        snapshots: list[SnapshotFiles] = []
        for snapshot in pending:
            try:
                await self._write(snapshot)
                snapshots.append(await self._executor.run(snapshot.finish))
            except Exception as error:  # as above
                failure = failure or error
        took_ms = (self._clock.monotonic() - started) * 1000
        self._written.set()
        in_flight: InFlightFiles | None = None
        if recording is not None and failure is None:
            await recording.ended.wait()
            failure = recording.failure
            if failure is None:
                try:
                    in_flight = await self._executor.run(self._write_recording, recording)
                except CheckpointError as error:  # as above
                    failure = error
        # Also with a failure the report goes: the records in its committables will not come again.
        report = replace(report, snapshots=tuple(snapshots), snapshot_ms=took_ms, in_flight=in_flight)
        self._spawn(self._reporter.acknowledge(report, failure))

    def _write_recording(self, recording: Recording) -> InFlightFiles:
        directory = self._snapshot_directory / f"{recording.checkpoint_id}-in-flight"
        return recording.write(self.measures.name, self.measures.subtask, directory)

    async def _write(self, snapshot: PendingSnapshot) -> None:
        """Write what has changed in portions, letting others run in between: the subtask goes on from batch to batch."""
        clock, pace = self._clock, self._snapshot_pace
        ended = clock.monotonic()
        while not snapshot.written:
            started = clock.monotonic()
            entries = snapshot.advance(pace.limit(started - ended))
            ended = clock.monotonic()
            self.measures.busy_s += ended - started
            pace.observe(entries, ended - started)
            await clock.sleep(0 if entries else _CATCH_UP_S)

    def close(self) -> None:
        for node in self.nodes:
            node.close()

    async def close_sinks(self) -> None:
        for sink in self._sinks:
            await sink.close()
