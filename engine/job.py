"""A job: a topology being run, through all its attempts."""

from __future__ import annotations

import asyncio
import enum
import os
from collections.abc import Callable
from random import Random
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar, overload

from ..connectors.sink import SinkFencedError
from ..operators.state import KeyedTableState, ListState, MapState, ReducingState, ValueState, WindowTableState
from .checkpoint.names import check_savepoint_name
from .clock import Clock, SystemClock
from .config import RunConfig
from .errors import CheckpointError, FencedError, JobError
from .executor import Executor, ThreadExecutor
from .live_state import LiveMaps, LiveValues, LiveWindows, live_state, not_running
from .metrics.measures import JobMeasures
from .plan import Plan, make_plan
from .restart import Failure, causes
from .runtime.pace import RecordBudget
from .topology import Topology
from .validation import validate
from .waiting import why_waiting
from .working_directory import WorkingDirectory

if TYPE_CHECKING:
    from obstore.store import ObjectStore

    from .checkpoint.coordinator import CheckpointCoordinator
    from .runtime.attempt import Attempt
    from .runtime.replaying import ReplayRange
    from .state.backend import OperatorStore

K = TypeVar("K")
V = TypeVar("V")

OnEvent = Callable[[str, dict[str, Any]], None]


class JobStatus(enum.Enum):
    """Where a job is in its life.

        CREATED → STARTING → RUNNING → FINISHED | STOPPED | FAILED | CANCELLED
                     ↑          ↓
                     ← RESTARTING   (a failure that the restart strategy takes)

    DRAINING comes between RUNNING and STOPPED.
    """

    CREATED = "created"
    STARTING = "starting"
    RUNNING = "running"
    RESTARTING = "restarting"
    DRAINING = "draining"
    FINISHED = "finished"
    STOPPED = "stopped"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def over(self) -> bool:
        """Whether the job has come to its end."""
        return self in _OVER


_OVER = frozenset({JobStatus.FINISHED, JobStatus.STOPPED, JobStatus.FAILED, JobStatus.CANCELLED})


class Job:
    """A topology being run. Made by `start`, used as an async context manager:

        async with start(topology, config) as job:
            await job.wait()

    Leaving the block while the job runs cancels it; call `stop` or `drain` before to end it in order. When
    the job fails, `wait` raises, and so does leaving the block if nobody waited. Takes no signal handlers and
    no threads but its executor's.
    """

    def __init__(
        self,
        topology: Topology,
        config: RunConfig,
        *,
        clock: Clock | None = None,
        executor: Executor | None = None,
        on_event: OnEvent | None = None,
        store: ObjectStore | None = None,
        random: Random | None = None,
        replay: ReplayRange | None = None,
    ) -> None:
        validate(topology)
        self.topology = topology
        self.config = config
        self.name = config.job or topology.name
        self._replay = replay
        self.plan: Plan = make_plan(topology, config.parallelism, config.max_parallelism)
        self.measures = JobMeasures(self.name)
        self.status = JobStatus.CREATED
        self.clock: Clock = clock or SystemClock()
        self._own_executor = executor is None
        # The threads beside those that store and fetch files are for everybody else.
        self._executor: Executor = executor or ThreadExecutor(config.upload_concurrency + 2)
        self._on_event = on_event
        self._attempt: Attempt | None = None
        self._group: asyncio.TaskGroup | None = None
        self._task: asyncio.Task[None] | None = None
        self.began = asyncio.Event()
        self.over = asyncio.Event()
        self._error: BaseException | None = None
        self._raised = False
        self._stop: tuple[str | None] | None = None
        self._cancelled = False
        self._lives = False
        self._budget = RecordBudget(config.stop_after_records, self.request_stop)
        self._store = store
        self._random = random or Random(f"{self.name}/{os.getpid()}")

    # ------------------------------------------------------------------ the user's

    async def __aenter__(self) -> Job:
        self._group = asyncio.TaskGroup()
        await self._group.__aenter__()
        self._task = self._group.create_task(self._live(), name=f"job {self.name}")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._group is not None
        if error is not None or not self.status.over:
            self.request_cancel()
        await self._group.__aexit__(None, None, None)
        if error is None and self._error is not None and not self._raised:
            raise self._error

    async def wait(self) -> JobStatus:
        """Until the job is over; how it ended.

        Raises:
            JobError: it failed.
            TidegateError: it could not start.
        """
        await self.over.wait()
        if self._error is not None:
            self._raised = True
            raise self._error
        return self.status

    async def drain(self) -> JobStatus:
        """Read no more, finish what is in flight, commit, end. A later start goes on from there."""
        self.request_stop(None)
        return await self.wait()

    async def stop(self, savepoint: str | None = None) -> JobStatus:
        """As `drain`; with a name the last checkpoint is a savepoint.

        Raises:
            CheckpointError: the last checkpoint cannot become a savepoint: there is no place for it, the job does not run, or
                it is ending already. The job goes on as it was.
            ConfigError: a savepoint cannot have this name.
        """
        self.request_stop(savepoint)
        return await self.wait()

    async def cancel(self) -> None:
        """End now. What is not committed is repeated by a later start, or lost without checkpoints."""
        self.request_cancel()
        await self.over.wait()

    async def checkpoint(self) -> int:
        """Take a checkpoint now; its id, once its output is committed.

        Raises:
            CheckpointError: there is no place for checkpoints, the job does not run, or it was given up.
        """
        return await self._coordinator().checkpoint("checkpoint", None)

    async def savepoint(self, name: str) -> int:
        """Take a savepoint now: a checkpoint in the portable format, which is never deleted by us. Its id.

        Raises:
            CheckpointError: as `checkpoint`; or the name is taken.
        """
        check_savepoint_name(name)
        return await self._coordinator().checkpoint("savepoint", name)

    @overload
    def state(self, operator_id: str, state: MapState[K, V]) -> LiveMaps[K, V]: ...
    @overload
    def state(self, operator_id: str, state: ListState[V]) -> LiveValues[list[V]]: ...
    @overload
    def state(self, operator_id: str, state: WindowTableState[V]) -> LiveWindows[V]: ...
    @overload
    def state(
        self, operator_id: str, state: ValueState[V] | ReducingState[V] | KeyedTableState[V]
    ) -> LiveValues[V]: ...
    @overload
    def state(self, operator_id: str, state: str) -> Any: ...
    def state(self, operator_id: str, state: Any) -> Any:
        """A state of a running operator, to be read on the job's event loop: `await job.state("totals", TOTAL).get("Oslo")`.

        A read sees what the operator's subtask has made of the last batch that it has worked through: newer than any
        checkpoint, never half of a batch. It gets copies, and changes nothing.

        Args:
            operator_id: the operator.
            state: its state, as the operator declares it; the types of what is read follow from that. By its name it is
                not typed: a `LiveValues`, `LiveMaps` or `LiveWindows`, as it is declared.

        Raises:
            StateError: there is no such operator or state, or it is declared otherwise. Reading it raises `JobError` while
                the job does not run.
        """
        return live_state(self.plan, operator_id, state, self._state_store)

    def _state_store(self, operator_id: str, subtask: int) -> OperatorStore:
        attempt = self._attempt
        store = None if attempt is None or attempt.worker is None else attempt.worker.stores.get((operator_id, subtask))
        if store is None:
            raise not_running(self.name, self.status.value)
        return store

    def why_waiting(self) -> list[str]:
        """What holds results back, in sentences: which split the watermark, which subtask is backpressured,
        what has not started."""
        return why_waiting(self.status.value, self._attempt, self.clock)

    # ----------------------------------------------------------------- its life

    def _coordinator(self) -> CheckpointCoordinator:
        if self.config.checkpoints is None:
            raise CheckpointError(f"job {self.name!r} has no place for checkpoints: set RunConfig(checkpoints=...)")
        if self._attempt is None or self._attempt.coordinator is None:
            raise CheckpointError(f"job {self.name!r} is {self.status.value}: it can be checkpointed while it runs")
        return self._attempt.coordinator

    def request_stop(self, savepoint: str | None = None) -> None:
        """Ask for what `stop` does and do not wait for it. Errors as `stop`."""
        if savepoint is not None and self._stop != (savepoint,):
            check_savepoint_name(savepoint)
            if not self._coordinator().takes_last_savepoint:
                raise CheckpointError(
                    f"job {self.name!r} is ending already, so its last checkpoint cannot become savepoint {savepoint!r}: "
                    "start it again from that checkpoint and stop it with the savepoint"
                )
        if self._stop is None and not self.status.over:
            self._stop = (savepoint,)
            self._forward_stop()

    def _forward_stop(self) -> None:
        if self._stop is not None and self._attempt is not None and self._attempt.coordinator is not None:
            self.status = JobStatus.DRAINING
            self._attempt.coordinator.drain(self._stop[0])
        elif self._stop is not None and self.status in (JobStatus.CREATED, JobStatus.RESTARTING):
            self._end_now()  # nothing runs that could be drained

    def request_cancel(self) -> None:
        """Ask for what `cancel` does and do not wait for it."""
        self._cancelled = True
        self._end_now()

    def _end_now(self) -> None:
        # An asyncio task that is cancelled before its first step never takes it: then `_live` looks for itself.
        if self._task is not None and self._lives and not self.over.is_set():
            self._task.cancel()

    def event(self, name: str, facts: dict[str, Any]) -> None:
        """Tell whoever listens."""
        if self._on_event is not None:
            self._on_event(name, facts)

    async def _live(self) -> None:
        self._lives = True
        try:
            if self._stop is not None or self._cancelled:
                raise asyncio.CancelledError
            await self._attempts()
        except asyncio.CancelledError:
            self.status = JobStatus.CANCELLED if self._cancelled else JobStatus.STOPPED
        except BaseException as error:
            self.status = JobStatus.FAILED
            self._error = error
        finally:
            self._attempt = None
            if self._own_executor:
                self._executor.close()
            self.event("job_ended", {"status": self.status.value})
            self.began.set()
            self.over.set()

    async def _attempts(self) -> None:
        # What runs a job is loaded with the first one: to import the engine and to write a topology is quick.
        from .runtime.attempt import Attempt
        from .runtime.recovery import open_storage

        failures: list[Failure] = []
        failed_at: float | None = None
        storage = open_storage(self.config, self.name, self._executor, self.clock, self._store)
        working: WorkingDirectory | None = None
        try:
            if storage is not None:
                await storage.lock()
            working = await self._executor.run(WorkingDirectory, self.config, self.name)
            if storage is not None:
                storage.keep_copies(working.copies)
            while True:
                self.status = JobStatus.STARTING
                attempt = Attempt(
                    self.plan,
                    self.config,
                    self.name,
                    storage,
                    working.path / f"attempt-{len(failures) + 1}",
                    number=len(failures) + 1,
                    clock=self.clock,
                    executor=self._executor,
                    measures=self.measures,
                    on_event=self.event,
                    budget=self._budget,
                    continues=bool(failures) and self.measures.checkpoints.completed > 0,
                    replay=self._replay,
                    on_reached=self.request_stop,
                )
                started = self.clock.monotonic()
                try:
                    await attempt.prepare()
                    self._attempt = attempt
                    self.status = JobStatus.RUNNING
                    self.began.set()
                    if failed_at is not None:
                        self.measures.recovered((self.clock.monotonic() - failed_at) * 1000)
                    self.event("job_running", {"attempt": attempt.attempt, "restored_from": attempt.restored_from})
                    self._forward_stop()
                    finished = await attempt.run()
                    self.status = JobStatus.FINISHED if finished else JobStatus.STOPPED
                    return
                except Exception as error:
                    if self._cancelled:  # a failure on the way down must not bring the job up again
                        raise asyncio.CancelledError from error
                    self._attempt = None
                    failed_at = self.clock.monotonic()
                    cause = root_cause(error)
                    failures.append(Failure.of(cause, failed_at - started))
                    # What cannot even start the first time is for the user to mend, not for time.
                    delay = None
                    if self.began.is_set():
                        delay = self.config.restart_strategy.decide(failures, self._random)
                    if delay is None or self._stop is not None:
                        if self.began.is_set() and isinstance(cause, CheckpointError):
                            raise JobError(str(cause)) from cause
                        raise cause from cause.__cause__
                    self.status = JobStatus.RESTARTING
                    self.event(
                        "job_restarting",
                        {"reason": f"{type(cause).__name__}: {cause}", "delay_s": round(delay, 3)},
                    )
                    await self.clock.sleep(delay)
                finally:
                    await asyncio.shield(attempt.clean_up())
        finally:
            try:
                if working is not None:
                    await asyncio.shield(self._executor.run(working.remove))
            finally:
                if storage is not None:
                    storage.unlock()


def start(
    topology: Topology,
    config: RunConfig | None = None,
    *,
    clock: Clock | None = None,
    executor: Executor | None = None,
    on_event: OnEvent | None = None,
) -> Job:
    """A job to run inside your program: `async with start(topology, config) as job: ...`.

    Args:
        topology: what to run; checked at once.
        config: how.
        clock: where time comes from; the system's when None.
        executor: where blocking work runs; a pool of the job's own when None.
        on_event: called with (name, facts) when something worth telling happens: `job_running`,
            `checkpoint_completed`, `checkpoint_failed`, `job_restarting`, `commit_retried`,
            `checkpoint_passed_over`, `state_restoring`, `state_restored`, `orphans_swept`, `retention_failed`,
            `job_ended`.

    Raises:
        TopologyError: the topology is wrong; lists everything found.
    """
    return Job(topology, config or RunConfig(), clock=clock, executor=executor, on_event=on_event)


def root_cause(error: BaseException) -> BaseException:
    """The error that ended an attempt: the first in a group that is not a mere consequence. Wherever a sink was fenced, that
    the job was."""
    for cause in causes(error):
        if isinstance(cause, SinkFencedError):
            fenced = FencedError(str(cause))
            fenced.__cause__ = cause
            return fenced
    while isinstance(error, BaseExceptionGroup):
        inner = [e for e in error.exceptions if not isinstance(e, asyncio.CancelledError)]
        error = (inner or list(error.exceptions))[0]
    return error
