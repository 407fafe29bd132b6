"""The coordinator: opens checkpoints, gathers acknowledgements, writes the manifest, and has the sinks commit.

One checkpoint is under way at a time, commit included, so commits happen in the order of checkpoints. What is to be
decided is decided in `decisions` and `tracker`; here is what has to wait.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Literal, Protocol

from ...connectors.sink import Committable
from ..clock import Clock
from ..config import RunConfig
from ..errors import CheckpointError, FencedError, StateError
from ..executor import Executor
from ..metrics.measures import JobMeasures
from ..runtime.chain import SubtaskReport
from ..runtime.elements import Barrier
from ..runtime.recording import UnrecordableChannelError
from .assembly import JobFacts, assemble
from .commit import Committer, CommittingSink, OnEvent
from .decisions import next_trigger
from .manifest import Manifest
from .retention import apply_retention
from .round import Request, Round, RoundFiles
from .storage import CheckpointStorage
from .tracker import Aborted, CheckpointTracker, Completed

Spawn = Callable[[Coroutine[Any, Any, Any]], Any]

_FINAL_TRIES = 3


class Workers(Protocol):
    """What the coordinator asks of the workers."""

    @property
    def names(self) -> list[str]: ...
    def trigger(self, barrier: Barrier) -> None: ...
    def overtake(self, checkpoint_id: int) -> None: ...
    def give_up(self, checkpoint_id: int) -> None: ...
    def completed(self, checkpoint_id: int) -> None: ...
    def drain(self) -> None: ...


class CheckpointCoordinator:
    """The checkpoints of one attempt. Implements the `Reporter` that the subtasks speak to.

    Args:
        storage: where checkpoints are kept; None for a job without: then a barrier only lets the sinks commit.
    """

    def __init__(
        self,
        facts: JobFacts,
        config: RunConfig,
        storage: CheckpointStorage | None,
        sinks: Mapping[str, CommittingSink],
        *,
        first_checkpoint_id: int,
        clock: Clock,
        executor: Executor,
        measures: JobMeasures,
        on_event: OnEvent,
    ) -> None:
        self._facts = facts
        self._config = config
        self._storage = storage
        self._committer = Committer(sinks, config.commit_retry_limit, clock, on_event)
        self._next_id = first_checkpoint_id
        self._clock = clock
        self._measures = measures.checkpoints
        self._latency = measures.latency
        self._on_event = on_event
        self._workers: Workers | None = None
        self._tracker = CheckpointTracker()
        self._round: Round | None = None
        self._requests: list[Request] = []
        self._prepared: list[tuple[int, str, list[Committable]]] = []
        self._written: list[tuple[int, list[tuple[float, int]]]] = []
        self._files = RoundFiles(
            storage, executor, facts.max_parallelism, is_under_way=lambda current: current is self._round
        )
        self._ended: set[str] = set()
        self._not_recordable: set[str] = set()
        self._woken = asyncio.Event()
        self._draining: Request | None = None
        self._final_failures = 0
        self._over = False
        self._closed = False
        self._last_triggered = 0.0
        self._last_ended: float | None = None
        self._failures_in_a_row = 0
        self.completed = 0
        self.first_completed = asyncio.Event()
        """Set with the first checkpoint that is complete."""

    def attach(self, workers: Workers) -> None:
        """The workers of the attempt, before `drive`."""
        self._workers = workers

    @property
    def finished(self) -> bool:
        """Whether the streams have come to their end, and that is committed."""
        return self._over and self._draining is None

    @property
    def takes_last_savepoint(self) -> bool:
        """Whether the last checkpoint of the attempt can still become a savepoint: it is not under way."""
        ends = self._draining is not None or (self._round is not None and self._round.final)
        return not (ends or self._over or self._closed)

    @property
    def missing(self) -> tuple[str, ...]:
        """The subtasks that the checkpoint under way waits for."""
        return () if self._round is None else self._tracker.missing(self._round.checkpoint_id)

    # -------------------------------------------------------- asked from outside

    async def checkpoint(self, kind: Literal["checkpoint", "savepoint"], name: str | None) -> int:
        """Take one now; its id once its output is committed.

        Raises:
            CheckpointError: it was given up, or the attempt has ended; says why.
        """
        if self._closed:
            raise CheckpointError(f"no {kind} can be taken any more: the attempt has ended")
        done: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._requests.append(Request(kind, name, done))
        self._woken.set()
        return await done

    def drain(self, savepoint: str | None) -> None:
        """Sources read no more; when all in flight is through, a last checkpoint or savepoint ends the attempt."""
        if self._draining is None:
            self._draining = Request("checkpoint" if savepoint is None else "savepoint", savepoint)
            self._woken.set()

    # ------------------------------------------------------------------ the task

    async def drive(self, spawn: Spawn) -> None:
        """Until the last checkpoint of the attempt has been committed.

        Raises:
            FencedError: another process has taken over.
            CommitError: a sink could not commit.
            CheckpointError: the last checkpoint could not be written, or more failed in a row than may.
        """
        assert self._workers is not None
        self._last_triggered = self._clock.monotonic()
        draining = False
        try:
            while not self._over:
                if self._draining is not None and not draining:
                    draining = True
                    self._workers.drain()
                self._expire()
                timeout = self._open_if_due()
                if await self._clock.wait(self._woken, timeout):
                    self._woken.clear()
        finally:
            self._give_up("the attempt has ended")

    def _open_if_due(self) -> float | None:
        """Open what is due; seconds until something is to be looked at again, None while only a wake-up can change that."""
        due = self._due() if self._round is None else None
        self._overtake_if_due()
        overtakes_at = None if self._round is None else self._round.overtakes_at
        moments = [t for t in (due, self._tracker.next_deadline(), overtakes_at) if t is not None]
        return max(0.0, min(moments) - self._clock.monotonic()) if moments else None

    def _due(self) -> float | None:
        """Open a checkpoint if one is due; else when one will be."""
        assert self._workers is not None
        now = self._clock.monotonic()
        finished = len(self._ended) == len(self._workers.names)
        if finished or self._draining is not None:
            self._open(self._draining or Request(), now, final=True, finished=finished)
            return None
        if self._requests:
            self._open(self._requests.pop(0), now)
            return None
        due = next_trigger(
            now,
            interval=self._config.checkpoint_interval_ms / 1000,
            min_pause=self._config.checkpoint_min_pause_ms / 1000,
            last_triggered=self._last_triggered,
            last_ended=self._last_ended,
        )
        if due is not None and due <= now:
            self._open(Request(), now)
            return None
        return due

    def _open(self, request: Request, now: float, *, final: bool = False, finished: bool = False) -> None:
        assert self._workers is not None
        checkpoint_id = self._next_id
        self._next_id += 1
        self._last_triggered = now
        self._round = Round(
            checkpoint_id, request, final, finished, self._clock.now_ms(), now, self._overtakes_at(request, now, final)
        )
        self._tracker.begin(
            checkpoint_id,
            self._workers.names,
            now + self._config.checkpoint_timeout_ms / 1000,
            is_savepoint=request.kind == "savepoint",
        )
        self._workers.trigger(Barrier(checkpoint_id, stateless=self._storage is None, last=final))

    def _overtakes_at(self, request: Request, now: float, final: bool) -> float | None:
        """When barriers that have not come through are to overtake. A savepoint must fit another parallelism and topology, and
        behind the last checkpoint nobody would work on what is in flight: those wait."""
        timeout_ms = self._config.alignment_timeout_ms
        if timeout_ms is None or self._storage is None or final or request.kind == "savepoint":
            return None
        return now + timeout_ms / 1000

    def _overtake_if_due(self) -> None:
        current = self._round
        if current is None or current.overtakes_at is None or self._clock.monotonic() < current.overtakes_at:
            return
        current.overtakes_at = None
        assert self._workers is not None
        self._workers.overtake(current.checkpoint_id)

    def _expire(self) -> None:
        for aborted in self._tracker.expire(self._clock.monotonic()):
            self._abort(aborted.reason)

    # --------------------------------------------------------------- the reporter

    def ended(self, subtask: str) -> None:
        self._ended.add(subtask)
        self._woken.set()

    def not_recordable(self, error: UnrecordableChannelError) -> None:
        if error.edge not in self._not_recordable:
            self._not_recordable.add(error.edge)
            self._on_event(
                "checkpoint_stays_aligned", {"edge": error.edge, "type": error.type_name, "reason": str(error)}
            )

    def acknowledge(self, report: SubtaskReport, failure: Exception | None) -> Coroutine[Any, Any, None]:
        checkpoint_id = report.checkpoint_id
        # At once, and not when its turn comes: the records behind these will not come again, whatever becomes of the
        # checkpoint, and the next one must not be complete without them.
        self._prepared += [(checkpoint_id, sink, found) for sink, found in report.committables.items() if found]
        self._written.append((checkpoint_id, report.written))
        return self._acknowledge(report, failure)

    async def _acknowledge(self, report: SubtaskReport, failure: Exception | None) -> None:
        checkpoint_id = report.checkpoint_id
        current = self._round
        try:
            if failure is None and current is not None and current.checkpoint_id == checkpoint_id:
                await self._files.store(current, report)
        except (CheckpointError, StateError) as error:
            failure = error
        finally:
            await self._files.forget(report)
        if failure is not None:
            outcome = self._tracker.decline(checkpoint_id, report.subtask, f"{type(failure).__name__}: {failure}")
            if isinstance(outcome, Aborted):
                self._abort(outcome.reason)
            return
        if current is None or current is not self._round:
            return
        current.reports.append(report)
        if isinstance(self._tracker.acknowledge(checkpoint_id, report.subtask), Completed):
            await self._complete(current)

    # ------------------------------------------------------------ ends of a round

    async def _complete(self, current: Round) -> None:
        checkpoint_id = current.checkpoint_id
        ready = [entry for entry in self._prepared if entry[0] <= checkpoint_id]
        committables: dict[str, list[Committable]] = {}
        for _, sink, found in ready:
            committables.setdefault(sink, []).extend(found)
        manifest = assemble(
            self._facts,
            current.reports,
            current.states,
            current.in_flight,
            committables,
            checkpoint_id=checkpoint_id,
            kind=current.request.kind,
            name=current.request.name,
            triggered_at_ms=current.triggered_ms,
            completed_at_ms=self._clock.now_ms(),
            total_ms=(self._clock.monotonic() - current.started) * 1000,
            finished=current.finished,
            first=self.completed == 0 and self._facts.restored_from is None,
        )
        if self._storage is not None:
            try:
                await self._storage.write_manifest(manifest)
            except FencedError:
                raise
            except CheckpointError as error:
                self._abort(str(error))
                return
        self._prepared = [entry for entry in self._prepared if entry[0] > checkpoint_id]
        self.completed += 1
        self._failures_in_a_row = 0
        for sink, found in committables.items():
            await self._committer.commit(sink, found)
        now = self._clock.monotonic()
        for written_id, arrivals in self._written:
            if written_id <= checkpoint_id:
                for arrived, records in arrivals:
                    self._latency.add(now - arrived, records)
        self._written = [entry for entry in self._written if entry[0] > checkpoint_id]
        self._record(current, manifest, now)
        if self._workers is not None:
            self._workers.completed(checkpoint_id)
        self._end_round(current)
        if current.request.done is not None and not current.request.done.done():
            current.request.done.set_result(checkpoint_id)
        if current.final:
            self._over = True
        if self._storage is not None:
            await self._retain(checkpoint_id)
        self.first_completed.set()

    async def _retain(self, checkpoint_id: int) -> None:
        assert self._storage is not None
        restored = self._facts.restored_from
        in_use = {checkpoint_id} if restored is None else {checkpoint_id, restored}
        try:
            await apply_retention(self._storage, self._config.retain, in_use if self.completed < 2 else {checkpoint_id})
        except CheckpointError as error:
            self._on_event("retention_failed", {"reason": str(error)})

    def _record(self, current: Round, manifest: Manifest, now: float) -> None:
        duration_ms = (now - current.started) * 1000
        self._measures.complete(
            current.checkpoint_id,
            self._clock.now_ms(),
            duration_ms,
            size_bytes=manifest.state_bytes,
            in_flight_bytes=manifest.in_flight_bytes,
            unaligned=bool(manifest.in_flight),
            uploaded_bytes=current.uploaded_bytes,
            sync_ms=max((r.sync_ms for r in current.reports), default=0.0),
            alignment_ms=max((r.alignment_ms for r in current.reports), default=0.0),
        )
        self._on_event(
            "checkpoint_completed",
            {
                "checkpoint_id": current.checkpoint_id,
                "kind": current.request.kind,
                "duration_ms": round(duration_ms, 1),
                "size_bytes": manifest.state_bytes,
                "records": sum(e.records for splits in manifest.sources.values() for e in splits.values()),
                "in_flight_records": manifest.in_flight_records,
            },
        )

    def _abort(self, reason: str) -> None:
        current = self._round
        if current is None:
            return
        self._measures.fail(reason)
        self._on_event("checkpoint_failed", {"checkpoint_id": current.checkpoint_id, "reason": reason})
        if self._storage is not None:
            self._storage.release(current.stored)
        assert self._workers is not None
        self._workers.give_up(current.checkpoint_id)
        self._end_round(current)
        error = CheckpointError(f"checkpoint {current.checkpoint_id} was given up: {reason}")
        if current.request.done is not None and not current.request.done.done():
            current.request.done.set_exception(error)
        if current.final:
            self._final_failures += 1
            if self._final_failures >= _FINAL_TRIES:
                raise error
        elif current.request.kind == "checkpoint":  # a savepoint is asked for again by whoever wants it
            self._failures_in_a_row += 1
            limit = self._config.checkpoint_failure_limit
            if limit is not None and self._failures_in_a_row > limit:
                raise CheckpointError(
                    f"{self._failures_in_a_row} checkpoints in a row have failed, and checkpoint_failure_limit is {limit}; "
                    f"the last one: {error}"
                )

    def _end_round(self, current: Round) -> None:
        if self._round is current:
            self._round = None
            self._last_ended = self._clock.monotonic()
        self._woken.set()

    def _give_up(self, reason: str) -> None:
        """The attempt ends: nobody must wait for ever, and what is being stored is no longer wanted."""
        self._closed = True
        self._tracker.abort_all(reason)
        current, self._round = self._round, None
        if self._storage is not None and current is not None:
            self._storage.release(current.stored)
        waiting = [*self._requests, *([current.request] if current is not None else [])]
        for request in waiting:
            if request.done is not None and not request.done.done():
                request.done.set_exception(CheckpointError(f"the checkpoint was given up: {reason}"))
