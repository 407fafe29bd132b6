"""Replay: the records after a checkpoint once more, with the same or new code, into other sinks.

Nothing of the job changes: its checkpoints are read only, the replay goes by another name, so that no sink takes it for the
job, and sources tell nobody how far they have read.
"""

from __future__ import annotations

import asyncio
import dataclasses
import sys
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TextIO

from ..connectors.sink import Committable, Guarantee, Sink, SinkContext, SinkWriter
from ..connectors.source import Offset
from ..operators.batch import Batch
from .checkpoint.manifest import Manifest, SplitEntry
from .clock import Clock, SystemClock
from .config import RunConfig
from .errors import CheckpointError, ConfigError
from .executor import Executor, ThreadExecutor
from .job import Job, JobStatus, OnEvent
from .restart import never
from .run import run_job, shown_events
from .runtime.replaying import ReplayRange
from .runtime.split_end import SplitEnd, ordinal
from .savepoint.rename import renamed
from .topology import Node, Topology

if TYPE_CHECKING:
    from .checkpoint.storage import CheckpointStorage

SUFFIX: Final = ".replay"
"""What the name of a replay has more than the job's."""


@dataclass(frozen=True, kw_only=True)
class ReplayOf:
    """Which part of a job is replayed.

    Attributes:
        start: the checkpoint to start from: an id, the name of a savepoint, `"latest"`; None starts from nothing.
        to: end where this checkpoint was taken: every split at its offset in it, exactly. An id, a name or `"latest"`.
        to_offsets: source → split id → offset: end these splits there, exactly. With `to` they win over it.
        until_ms: end every split before its first record with an event time at or after this. Windows that reach beyond do
            not fire.
        count: end after this many records altogether.
    """

    start: int | str | None = "latest"
    to: int | str | None = None
    to_offsets: Mapping[str, Mapping[str, Offset]] = field(default_factory=dict)
    until_ms: int | None = None
    count: int | None = None


@dataclass(frozen=True)
class PlannedReplay:
    """A replay whose checkpoints have been found.

    Attributes:
        job: the job that is replayed.
        start: the checkpoint it starts from; None for a start from nothing.
        to: the checkpoint it ends at; None where none was named.
        config: the settings of its run.
        range: what the runtime is told.
    """

    job: str
    start: Manifest | None
    to: Manifest | None
    config: RunConfig
    range: ReplayRange

    def job_of(
        self,
        topology: Topology,
        sinks: Mapping[str, Sink[Any] | None],
        *,
        clock: Clock | None = None,
        executor: Executor | None = None,
        on_event: OnEvent | None = None,
    ) -> Job:
        """The job that does it, as `start` makes one.

        Args:
            topology: the same code or new; is not changed.
            sinks: where each sink writes instead; None discards.
            clock, executor, on_event: as for `start`.

        Raises:
            ConfigError: a sink is not named, or there is none of a name; a source cannot be read again.
        """
        check_replayable(topology, self)
        return Job(
            with_sinks(topology, sinks),
            self.config,
            clock=clock,
            executor=executor,
            on_event=on_event,
            replay=self.range,
        )


def replay(
    topology: Topology,
    config: RunConfig,
    of: ReplayOf,
    sinks: Mapping[str, Sink[Any] | None],
    *,
    live: bool | None = None,
    json: bool = False,
    stream: TextIO | None = None,
    on_event: OnEvent | None = None,
) -> JobStatus:
    """Replay a part of a job; how it ended. Owns the process meanwhile, as `run` does; inside a program use `start_replay`.

    Args:
        topology: the same code or new; is not changed.
        config: the settings of the job: `checkpoints` says where its checkpoints are. They are not changed, and none is taken.
        of: which part.
        sinks: name → the sink to write to instead, or None to discard. Every sink must be named.
        live, json, stream, on_event: as for `run`.

    Raises:
        ConfigError: a sink is not named, a source cannot be read again, or the part cannot be.
        TidegateError: there is no such checkpoint, the topology does not fit it, or the replay failed.
        Interrupted: a second signal cancelled it.
    """
    out = sys.stdout if stream is None else stream
    executor = ThreadExecutor()
    try:
        planned = asyncio.run(plan_replay(topology, config, of, executor=executor))
    finally:
        executor.close()
    job = planned.job_of(topology, sinks, on_event=shown_events(json, out, on_event))
    return run_job(job, live, json, out)


async def start_replay(
    topology: Topology,
    config: RunConfig,
    of: ReplayOf,
    sinks: Mapping[str, Sink[Any] | None],
    *,
    clock: Clock | None = None,
    executor: Executor | None = None,
    on_event: OnEvent | None = None,
) -> Job:
    """A replay to run inside your program: `async with await start_replay(...) as job: await job.wait()`.

    Arguments and errors as `replay` and `start`.
    """
    planned = await plan_replay(topology, config, of, clock=clock, executor=executor)
    return planned.job_of(topology, sinks, clock=clock, executor=executor, on_event=on_event)


async def plan_replay(
    topology: Topology,
    config: RunConfig,
    of: ReplayOf,
    *,
    clock: Clock | None = None,
    executor: Executor | None = None,
) -> PlannedReplay:
    """Find the checkpoints of a replay, and where its splits end.

    Raises:
        ConfigError: there is no place to read checkpoints from, or the ends do not fit the topology.
        CheckpointError: there is no such checkpoint, it is damaged, or the end comes before the start.
    """
    from .runtime.recovery import storage_at

    if config.checkpoints is None:
        raise ConfigError("a replay needs the checkpoints of the job: set checkpoints (--checkpoints DIR)")
    job = config.job or topology.name
    used = ThreadExecutor() if executor is None else executor
    try:
        storage = storage_at(config.checkpoints, config, job, used, clock or SystemClock())
        start = None if of.start is None else _as_named_now(await _manifest(storage, of.start), topology, config)
        to = None if of.to is None else _as_named_now(await _manifest(storage, of.to), topology, config)
    finally:
        if executor is None:
            used.close()
    if start is not None and to is not None and to.checkpoint_id <= start.checkpoint_id:
        raise CheckpointError(
            f"a replay ends behind its start: {to.title} (id {to.checkpoint_id}) was taken before {start.title} "
            f"(id {start.checkpoint_id}), or is the same"
        )
    settings = dataclasses.replace(
        config,
        checkpoints=None,
        restore_from=None if start is None else config.checkpoints,
        restore=None if start is None else start.name or start.checkpoint_id,
        restart=never(),
        job=job + SUFFIX,
        metrics_port=None,  # the job itself may run, and serve on it
        until_ms=of.until_ms if of.until_ms is not None else config.until_ms,
        stop_after_records=of.count if of.count is not None else config.stop_after_records,
    )
    return PlannedReplay(job, start, to, settings, ReplayRange(job, to, _ends(topology, start, to, of)))


async def _manifest(storage: CheckpointStorage, wanted: int | str) -> Manifest:
    if wanted != "latest":
        return await storage.read(wanted)
    whole = [info.manifest for info in await storage.list() if info.manifest is not None]
    if not whole:
        raise CheckpointError(f"{storage.address}: no checkpoint has been completed yet")
    return whole[-1]


def _as_named_now(manifest: Manifest, topology: Topology, config: RunConfig) -> Manifest:
    # What is wrong with the names is said when the checkpoint is restored.
    names = [node.name for node in topology.nodes]
    return renamed(manifest, config.rename, topology.fingerprint, names, ())[0]


def _ends(
    topology: Topology, start: Manifest | None, to: Manifest | None, of: ReplayOf
) -> dict[str, dict[str, SplitEnd]]:
    sources = {node.name: node for node in topology.nodes if node.kind == "source"}
    ends: dict[str, dict[str, SplitEnd]] = {}
    if to is not None:
        if unknown := [name for name in sources if name not in to.sources]:
            raise ConfigError(
                f"{to.title} knows nothing of source {unknown[0]!r}, so it does not say where to end it; it knows "
                f"{', '.join(to.sources) or 'none'}"
            )
        for name in sources:
            read = {} if start is None else start.sources.get(name, {})
            # What the target does not know any more is not read at all.
            for split_id, entry in to.sources[name].items():
                if split_id in read and read[split_id].records > entry.records:
                    raise CheckpointError(
                        f"{to.title} does not come after {start.title if start else 'the start'}: split {split_id!r} of "
                        f"source {name!r} had been read further there; the job went back in between"
                    )
            ends[name] = {split_id: _end_at(entry) for split_id, entry in {**read, **to.sources[name]}.items()}
    for name, offsets in of.to_offsets.items():
        if name not in sources:
            raise ConfigError(f"to_offsets: there is no source {name!r}; the topology has {', '.join(sources)}")
        for split_id, offset in offsets.items():
            _check_end(name, split_id, offset, start, to)
            ends.setdefault(name, {})[split_id] = SplitEnd(offset)
    if of.to_offsets and to is None and of.until_ms is None and of.count is None:
        endless = [name for name, node in sources.items() if name not in ends and _endless(node)]
        if endless:
            raise ConfigError(f"to_offsets: source {endless[0]!r} has no end: name the offsets of its splits too")
    return ends


def _end_at(entry: SplitEntry) -> SplitEnd:
    return SplitEnd(entry.offset, entry.records, entry.ended, entry.watermark_ms, entry.idle)


def _check_end(name: str, split_id: str, offset: Offset, start: Manifest | None, to: Manifest | None) -> None:
    if to is not None and split_id not in to.sources.get(name, {}):
        there = ", ".join(to.sources.get(name, {})) or "none"
        raise ConfigError(f"to_offsets: {to.title} knows no split {split_id!r} of source {name!r}; it knows {there}")
    end = ordinal(offset)
    if end is None:
        raise ConfigError(
            f"to_offsets: {offset!r} of split {split_id!r} of source {name!r} does not say how far it is: write the offset "
            "as `tidegate checkpoints show` does, or end at a checkpoint"
        )
    entry = None if start is None else start.sources.get(name, {}).get(split_id)
    begin = None if entry is None else ordinal(entry.offset)
    if begin is not None and end < begin:
        raise ConfigError(
            f"to_offsets: split {split_id!r} of source {name!r} starts at {begin}, behind its end at {end}: start from an "
            "older checkpoint"
        )


def _endless(node: Node) -> bool:
    return not getattr(node.what, "bounded", False)


def check_replayable(topology: Topology, planned: PlannedReplay) -> None:
    """Whether the sources can be read again.

    Raises:
        ConfigError: one cannot; names it.
    """
    for node in topology.nodes:
        source: Any = node.what
        if node.kind == "source" and not getattr(source, "replayable", True):
            raise ConfigError(
                f"source {node.name!r} cannot be read again ({source.describe()}), so job {planned.job!r} cannot be "
                "replayed: it would take new records, away from the job"
            )


def with_sinks(topology: Topology, sinks: Mapping[str, Sink[Any] | None]) -> Topology:
    """The same topology with other sinks; the given one is not changed.

    Raises:
        ConfigError: a sink is not named, or there is none of a name.
    """
    names = [node.name for node in topology.nodes if node.kind == "sink"]
    if unknown := [name for name in sinks if name not in names]:
        raise ConfigError(f"there is no sink {unknown[0]!r}; the topology has {', '.join(names)}")
    if missing := [name for name in names if name not in sinks]:
        raise ConfigError(
            f"a replay writes nothing to the topology's own sinks: say where else {', '.join(missing)} should write"
        )
    made = copy(topology)
    made.nodes = []
    twins: dict[Node, Node] = {}
    for node in topology.nodes:  # a node is added after its inputs
        what = node.what if node.kind != "sink" else sinks[node.name] or DiscardingSink()
        inputs = [dataclasses.replace(edge, upstream=twins[edge.upstream]) for edge in node.inputs]
        twins[node] = made.add(dataclasses.replace(node, what=what, inputs=inputs))
    return made


class DiscardingSink:
    """A sink that takes everything and keeps nothing."""

    guarantee: Guarantee = "exactly_once"

    def writer(self, context: SinkContext) -> SinkWriter[Any]:
        return _DiscardingWriter()

    async def commit(self, context: SinkContext, committables: Sequence[Committable]) -> None:
        """There is nothing to make visible."""

    async def recover(
        self, context: SinkContext, checkpoint_id: int | None, committables: Sequence[Committable]
    ) -> None:
        """There is nothing to clear away."""

    def describe(self) -> str:
        return "discard"


class _DiscardingWriter:
    async def open(self) -> None: ...
    async def write(self, batch: Batch[Any]) -> None: ...
    async def prepare_commit(self, checkpoint_id: int) -> list[Committable]:
        return []

    async def close(self) -> None: ...
