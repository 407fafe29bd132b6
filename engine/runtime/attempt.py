"""One attempt of a job: from restoring to the last commit, or to the first failure."""

from __future__ import annotations

import asyncio
import os
import platform
import shutil
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, cast

from ...connectors.sink import OutputLostError, Sink, SinkError
from ...connectors.source import Source, SourceError
from .. import state
from ..checkpoint.assembly import JobFacts, StatefulOperator
from ..checkpoint.commit import CommittingSink, OnEvent
from ..checkpoint.coordinator import CheckpointCoordinator
from ..checkpoint.in_flight import receivers
from ..checkpoint.manifest import Manifest
from ..checkpoint.redistribution import assign_splits
from ..checkpoint.retention import sweep
from ..checkpoint.storage import CheckpointStorage
from ..clock import Clock
from ..config import RunConfig
from ..errors import CheckpointError, CommitError
from ..executor import Executor
from ..metrics.measures import JobMeasures
from ..plan import Plan
from ..state.backend import StateBackend
from ..topology import Node
from .contexts import ConnectorContext
from .deployment import Deployment, Surroundings
from .pace import RecordBudget
from .recovery import Restored, begin_again, deal_out_splits, restore, storage_at
from .replaying import ReplayRange, check_ends
from .worker import Worker

_MEASURE_INTERVAL_S = 0.25
_SWEEP_GRACE_MS = 3_600_000


class Attempt:
    """Everything that lives from one start of the job to its end or failure."""

    def __init__(
        self,
        plan: Plan,
        config: RunConfig,
        job: str,
        storage: CheckpointStorage | None,
        directory: Path,
        *,
        number: int,
        clock: Clock,
        executor: Executor,
        measures: JobMeasures,
        on_event: OnEvent,
        budget: RecordBudget,
        continues: bool,
        replay: ReplayRange | None = None,
        on_reached: Callable[[], None] = lambda: None,
    ) -> None:
        self._plan = plan
        self._config = config
        self._job = job
        self._storage = storage
        self._directory = directory
        self._clock = clock
        self._executor = executor
        self._measures = measures
        self._on_event = on_event
        self._budget = budget
        self._replay = replay
        self._on_reached = on_reached
        self._continues = continues
        self.attempt = number
        self.restored_from: int | None = None
        self.coordinator: CheckpointCoordinator | None = None
        self.worker: Worker | None = None

    async def prepare(self) -> None:
        """Restore: the checkpoint's output is committed, what is newer is gone, and every subtask is made.

        Raises:
            TidegateError: it cannot be started; nothing has been read or written by the topology.
        """
        first_id, last_seen = 1, 0
        if self._storage is not None:
            record = await self._storage.claim_attempt({"host": platform.node(), "pid": os.getpid()})
            self.attempt, last_seen = record.attempt, record.last_checkpoint_id
            first_id = await self._storage.next_checkpoint_id()
        self._measures.attempt = self.attempt
        reading, wanted = self._storage, self._config.restore
        if self._continues:
            wanted = "latest"
        elif self._config.restore_from is not None:
            job = self._job if self._replay is None else self._replay.job
            reading = storage_at(self._config.restore_from, self._config, job, self._executor, self._clock)
        sinks = self._sinks()
        restored = await self._restore(sinks, reading, wanted, last_seen if reading is self._storage else 0)
        manifest = restored.manifest
        self.restored_from = restored.checkpoint_id
        target = None if self._replay is None else self._replay.target
        splits = await deal_out_splits(self._plan, manifest, self._context, target)
        if self._replay is not None:
            check_ends(self._replay, splits)
        self.coordinator = CheckpointCoordinator(
            self._facts(),
            self._config,
            self._storage,
            sinks,
            first_checkpoint_id=first_id,
            clock=self._clock,
            executor=self._executor,
            measures=self._measures,
            on_event=self._on_event,
        )
        self.worker = Worker(
            Surroundings(
                self._plan,
                self._config,
                self._job,
                self._backend(),
                self._directory,
                self._clock,
                self._executor,
                self._measures,
                reporter=self.coordinator,
                budget=self._budget,
                replay=self._replay,
                on_reached=self._on_reached,
            )
        )
        self.coordinator.attach(self.worker)
        try:
            await self.worker.deploy(
                Deployment(self.attempt, splits, restored.snapshots, restored.in_flight, restored.record_types)
            )
        except BaseException:
            await asyncio.shield(self._executor.run(self.worker.close))
            raise
        await self._executor.run(_remove, self._directory / "restored")

    async def run(self) -> bool:
        """Until the streams have ended, or the job was drained; whether they had ended.

        Raises:
            BaseExceptionGroup: what failed.
        """
        assert self.worker is not None
        await self.worker.run(self._drive)
        return self.coordinator is not None and self.coordinator.finished

    async def clean_up(self) -> None:
        """Delete the working files."""
        await self._executor.run(_remove, self._directory)

    # ------------------------------------------------------------- in the task group

    async def _drive(self, spawn: Callable[[Coroutine[Any, Any, Any]], Any]) -> None:
        assert self.coordinator is not None
        beside = [spawn(self._measure()), spawn(self._sweep())]
        beside += [
            spawn(self._look_for_splits(chain.head, chain.parallelism))
            for chain in self._plan.chains
            if chain.head.kind == "source" and cast("Source[Any]", chain.head.what).finds_splits
            if self._replay is None or not (self._replay.ends or self._config.until_ms is not None)
        ]
        try:
            await self.coordinator.drive(spawn)
        finally:
            for task in beside:
                task.cancel()

    async def _measure(self) -> None:
        assert self.worker is not None
        while True:
            before = self._clock.monotonic()
            await self._clock.sleep(_MEASURE_INTERVAL_S)
            self._measures.event_loop_lag.add(max(0.0, self._clock.monotonic() - before - _MEASURE_INTERVAL_S))
            self.worker.update_measures()

    async def _sweep(self) -> None:
        """Once, delete what earlier attempts stored and no manifest names. After the first checkpoint of this attempt: by
        then an older one can make no checkpoint any more that would name it."""
        assert self.coordinator is not None
        if self._storage is None:
            return
        await self.coordinator.first_completed.wait()
        try:
            swept = await sweep(self._storage, max(_SWEEP_GRACE_MS, 2 * self._config.checkpoint_timeout_ms))
        except CheckpointError as error:
            self._on_event("retention_failed", {"reason": str(error)})
            return
        if swept:
            self._on_event("orphans_swept", {"contents": len(swept)})

    async def _look_for_splits(self, node: Node, parallelism: int) -> None:
        assert self.worker is not None
        source = cast("Source[Any]", node.what)
        readers = [s for s in self.worker.sources if s.operator_id == node.name]
        while not self.worker.released:
            await self._clock.sleep(self._config.discovery_interval_ms / 1000)
            known = frozenset(split_id for reader in readers for split_id in reader.splits)
            try:
                found = await source.discover(self._context(node), known)
            except SourceError as error:
                self._on_event("discovery_failed", {"source": node.name, "reason": str(error)})
                continue
            load = {
                number: sum(not progress.ended for progress in reader.splits.values())
                for number, reader in enumerate(readers)
            }
            for subtask, splits in enumerate(assign_splits(found, parallelism, load)):
                if splits:
                    readers[subtask].add_splits(splits)

    # ------------------------------------------------------------------- pieces

    def _sinks(self) -> dict[str, CommittingSink]:
        return {
            node.name: CommittingSink(cast("Sink[Any]", node.what), self._context(node))
            for node in self._plan.topology.nodes
            if node.kind == "sink"
        }

    async def _restore(
        self,
        sinks: dict[str, CommittingSink],
        reading: CheckpointStorage | None,
        wanted: int | str | None,
        last_seen_id: int,
    ) -> Restored:
        """The newest checkpoint that is whole and whose output is, or now becomes, visible."""
        problems: dict[int, list[str]] = {}
        while True:
            restored = await restore(
                reading,
                wanted,
                self._plan,
                self._config,
                self._directory / "restored",
                self._on_event,
                last_seen_id,
                problems,
                self._clock,
            )
            own = restored.manifest if reading is self._storage else None
            if self._storage is not None:
                await self._storage.begin(own)
            try:
                await self._recover_sinks(sinks, own)
            except OutputLostError as error:
                if own is None:
                    raise
                if own.first and not error.partly:
                    self._on_event("checkpoint_passed_over", {"reason": f"{own.title}: its output is lost: {error}"})
                    await self._recover_sinks(sinks, None)
                    return begin_again(own)
                if error.partly and not self._config.allow_repeats:
                    raise CommitError(
                        f"{own.title}: {error}; part of its output is visible, so going on from the checkpoint before it "
                        "would write that part again: to accept this, set allow_repeats"
                    ) from error
                problems.setdefault(own.checkpoint_id, []).append(f"its output is lost: {error}")
            except SinkError as error:
                if not problems or own is None:
                    raise
                passed_over = "; ".join(f"checkpoint {n}: {', '.join(why)}" for n, why in problems.items())
                raise CommitError(f"{own.title} cannot stand in for a newer one ({passed_over}): {error}") from error
            else:
                return restored

    async def _recover_sinks(self, sinks: dict[str, CommittingSink], manifest: Manifest | None) -> None:
        committables = (
            {} if manifest is None else {name: found for name, found in manifest.committables.items() if found}
        )
        if len(committables) > 1:
            # What is lost is found before any of it becomes visible: then nothing is written twice.
            for name, found in sinks.items():
                verify = getattr(found.sink, "verify", None)
                if verify is not None and name in committables:
                    await verify(found.context, committables[name])
        checkpoint_id = None if manifest is None else manifest.checkpoint_id
        for name, found in sinks.items():
            await found.sink.recover(found.context, checkpoint_id, committables.get(name, []))

    def _facts(self) -> JobFacts:
        topology = self._plan.topology
        return JobFacts(
            job=self._job,
            topology=topology.name,
            topology_version=topology.version,
            fingerprint=topology.fingerprint,
            attempt=self.attempt,
            max_parallelism=self._plan.max_parallelism,
            restored_from=self.restored_from,
            operators={
                node.name: StatefulOperator(node.word, chain.parallelism)
                for chain in self._plan.chains
                for node in chain.nodes
                if node.stateful
            },
            receivers=receivers(self._plan),
        )

    def _context(self, node: Node) -> ConnectorContext:
        return ConnectorContext(
            node.name,
            self._job,
            0,
            self._plan.chain_of(node).parallelism,
            self.attempt,
            self._clock,
            self._executor,
            self._measures.operator(node.name, 0, node.kind),
            self._config,
        )

    def _backend(self) -> StateBackend:
        return state.DictBackend() if self._config.state_backend == "dict" else state.RocksDBBackend()


def _remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
