"""What a new version of a topology writes, compared with what the old one wrote."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ...connectors.sink import Sink
from ...connectors.source import ConnectorError, Source
from ..clock import Clock, SystemClock
from ..config import RunConfig
from ..errors import ConfigError
from ..executor import Executor, ThreadExecutor
from ..metrics.measures import JobMeasures
from ..replay import PlannedReplay, ReplayOf, plan_replay
from ..runtime.contexts import ConnectorContext
from ..topology import Node, Topology
from .difference import Difference, OutputDifference
from .entries import Entry, EntryMaker
from .outputs import CapturingSink, Take, read_all, read_json_lines
from .sorting import Sorter

Tell = Callable[[str], None]

_TELL_S = 0.5


@dataclass(frozen=True)
class ReplayDifference:
    """What differs between two versions of a topology.

    Attributes:
        job: the job that was replayed.
        start: where the replay began, in words: `checkpoint 2`.
        end: where it ended, in words.
        outputs: one for each sink that was compared.
        only_old: sinks that only the old version has.
        only_new: sinks that only the new version has.
    """

    job: str
    start: str
    end: str
    outputs: tuple[OutputDifference, ...]
    only_old: tuple[str, ...] = ()
    only_new: tuple[str, ...] = ()

    @property
    def same(self) -> bool:
        """Whether the new version writes all that the old one wrote, and nothing else in the same sinks."""
        return all(output.same for output in self.outputs) and not self.only_old


async def diff_replay(
    topology: Topology,
    config: RunConfig,
    of: ReplayOf,
    *,
    against: Topology | None = None,
    old: Mapping[str, str | Path] | None = None,
    keys: Sequence[str] | Mapping[str, Sequence[str]] | None = None,
    tolerance: float = 0.0,
    examples: int = 10,
    leave_out: Collection[str] = (),
    tell: Tell = lambda text: None,
    clock: Clock | None = None,
    executor: Executor | None = None,
) -> ReplayDifference:
    """Replay a part of a job with new code and compare what it writes with what the old code wrote.

    What the old code wrote is, for each sink: what `against` writes when it is replayed over the same part; else the file or
    folder that `old` names; else what the sink itself has committed between the two checkpoints (file sinks exactly once), for
    which the replay must end at a checkpoint. Nothing is written but in a temporary folder.

    Args:
        topology: the new code.
        config: the settings of the job; `checkpoints` says where its checkpoints are.
        of: which part. Where it names no end and committed output is compared, it ends at the latest checkpoint.
        against: the old code.
        old: sink → a file or folder of what it wrote: as the sink writes it where it is a file sink, else JSON lines.
        keys: the fields that tell records apart, of all sinks or of each. Without: `key`, `start_ms` and `end_ms` for records
            that have them, else the whole record, so that a changed one counts as missing and added.
        tolerance: numbers of records with one key are equal when no further apart than this, relative to the larger one where
            that is above 1. Records that are their own key are compared exactly.
        examples: how many of each kind are kept.
        leave_out: sinks that are not compared.
        tell: called from time to time with what is being done.
        clock, executor: as for `start`.

    Raises:
        ConfigError: it is not known what a sink wrote, or a record has no key.
        TidegateError: as `replay`.
    """
    used = ThreadExecutor() if executor is None else executor
    scratch = Path(await used.run(tempfile.mkdtemp, "", "tidegate-diff-"))
    try:
        comparison = _Comparison(
            topology, against, dict(old or {}), keys, tolerance, examples, leave_out, tell, scratch
        )
        return await comparison.run(config, of, clock or SystemClock(), used)
    finally:
        await asyncio.shield(used.run(_remove, scratch))
        if executor is None:
            used.close()


class _Comparison:
    def __init__(
        self,
        topology: Topology,
        against: Topology | None,
        old: dict[str, str | Path],
        keys: Sequence[str] | Mapping[str, Sequence[str]] | None,
        tolerance: float,
        examples: int,
        leave_out: Collection[str],
        tell: Tell,
        scratch: Path,
    ) -> None:
        self._topology = topology
        self._against = against
        self._old = old
        self._keys = keys
        self._tolerance = tolerance
        self._examples = examples
        self._tell = tell
        self._scratch = scratch
        new_sinks = _sinks(topology)
        old_sinks = new_sinks if against is None else _sinks(against)
        named = {*leave_out, *old, *(keys if isinstance(keys, Mapping) else ())}
        if unknown := sorted(named - new_sinks.keys() - old_sinks.keys()):
            raise ConfigError(f"there is no sink {unknown[0]!r}; the topology has {', '.join(new_sinks)}")
        self._compared = [name for name in new_sinks if name in old_sinks and name not in leave_out]
        self._only_old = tuple(name for name in old_sinks if name not in new_sinks and name not in leave_out)
        self._only_new = tuple(name for name in new_sinks if name not in old_sinks and name not in leave_out)
        self._new_sinks = new_sinks
        if not self._compared:
            raise ConfigError("there is no sink to compare")

    async def run(self, config: RunConfig, of: ReplayOf, clock: Clock, executor: Executor) -> ReplayDifference:
        committed = [name for name in self._compared if self._against is None and name not in self._old]
        if committed:
            of = self._ending_at_a_checkpoint(committed, of)
        planned = await plan_replay(self._topology, config, of, clock=clock, executor=executor)
        if committed and planned.to is not None and planned.to.in_flight:
            raise ConfigError(
                f"{planned.to.title} is unaligned: what comes of the {planned.to.in_flight_records} records that were in "
                f"flight there was not written by then, so sink {committed[0]!r} cannot be compared; end at an aligned "
                "checkpoint or a savepoint (to), or give the old code (against)"
            )
        sides = {name: (self._side(name, "old"), self._side(name, "new")) for name in self._compared}
        context = _contexts(planned, clock, executor)
        if self._against is not None:
            takes = {name: CapturingSink(old.take) for name, (old, _) in sides.items()}
            await self._replay("the old version", self._against, planned, takes, clock, executor)
        else:
            for name, (old, _) in sides.items():
                self._tell(f"reading what {name} wrote")
                await self._read_old(name, planned, old.take, context(name), executor)
        shadows = {name: self._shadow(name) for name in self._compared}
        sinks = {name: shadow or CapturingSink(sides[name][1].take) for name, shadow in shadows.items()}
        await self._replay("the new version", self._topology, planned, sinks, clock, executor)
        for name, shadow in shadows.items():
            if shadow is not None:
                await read_all(_written(shadow, None, None), context(name), sides[name][1].take)
        outputs = []
        for name, (old, new) in sides.items():
            self._tell(f"comparing {name}: {old.count} records with {new.count}")
            outputs.append(await executor.run(self._compare, name, old, new))
        start = "the beginning" if planned.start is None else planned.start.title
        end = _end_of(planned, of)
        return ReplayDifference(planned.job, start, end, tuple(outputs), self._only_old, self._only_new)

    def _ending_at_a_checkpoint(self, committed: Sequence[str], of: ReplayOf) -> ReplayOf:
        for name in committed:
            sink: Any = self._new_sinks[name].what
            if not callable(getattr(sink, "written", None)):
                raise ConfigError(
                    f"sink {name!r} ({sink.describe()}) cannot tell what it wrote: give the old code "
                    "(against) or a file with the old output (old), or leave the sink out"
                )
        if of.to_offsets or of.until_ms is not None or of.count is not None:
            raise ConfigError(
                f"what sink {committed[0]!r} wrote is known from checkpoint to checkpoint: end at one (to), or give the old "
                "code (against)"
            )
        return of if of.to is not None else replace(of, to="latest")

    def _side(self, name: str, which: str) -> _Side:
        folder = self._scratch / f"{name}-{which}"
        folder.mkdir()
        key = self._keys.get(name) if isinstance(self._keys, Mapping) else self._keys
        return _Side(name, key, folder)

    def _shadow(self, name: str) -> Sink[Any] | None:
        """The same sink in a folder of ours, so that both sides have been through its format; None where it has to be
        captured, or the old side was."""
        what: Any = self._new_sinks[name].what
        if self._against is not None or not _moves(what):
            return None
        moved: Sink[Any] = what.at(self._scratch / f"{name}-shadow")
        return moved

    async def _read_old(
        self, name: str, planned: PlannedReplay, take: Take, context: ConnectorContext, executor: Executor
    ) -> None:
        what: Any = self._new_sinks[name].what
        path = self._old.get(name)
        try:
            if path is None:
                assert planned.to is not None
                after = 0 if planned.start is None else planned.start.checkpoint_id
                await read_all(_written(what, after, planned.to.checkpoint_id), context, take)
            elif not await executor.run(Path(path).exists):
                raise ConfigError(f"{path}: there is no such file or folder")
            elif _moves(what):
                await read_all(_written(what.at(path), None, None), context, take)
            else:
                await executor.run(read_json_lines, Path(path), take)
        except ConnectorError as error:
            raise ConfigError(f"what sink {name!r} wrote cannot be read: {error}") from error

    async def _replay(
        self,
        title: str,
        topology: Topology,
        planned: PlannedReplay,
        sinks: Mapping[str, Sink[Any]],
        clock: Clock,
        executor: Executor,
    ) -> None:
        everywhere = {name: sinks.get(name) for name in _sinks(topology)}
        job = planned.job_of(topology, everywhere, clock=clock, executor=executor)
        with ExitStack() as told:
            told.callback(self._tell, f"{title}: replayed")
            async with job:
                while not await clock.wait(job.over, _TELL_S):
                    read = sum(o.records_in for o in job.measures.operators.values() if o.kind == "source")
                    self._tell(f"{title}: {read} records read")
                await job.wait()

    def _compare(self, name: str, old: _Side, new: _Side) -> OutputDifference:
        folder = self._scratch / f"{name}-left"
        folder.mkdir()
        difference = Difference(name, folder, tolerance=self._tolerance, examples=self._examples)
        return difference.of(old.sorter.sorted(), new.sorter.sorted())


class _Side:
    """The records of one sink on one side, on their way into a sorter."""

    def __init__(self, sink: str, key: Sequence[str] | None, folder: Path) -> None:
        self._maker = EntryMaker(sink, key)
        self.sorter = Sorter[Entry](folder, Entry)

    @property
    def count(self) -> int:
        return self._maker.count

    def take(self, values: Sequence[Any]) -> None:
        self.sorter.add(self._maker.entries(values))


def _sinks(topology: Topology) -> dict[str, Node]:
    return {node.name: node for node in topology.nodes if node.kind == "sink"}


def _moves(sink: Any) -> bool:
    return callable(getattr(sink, "at", None)) and callable(getattr(sink, "written", None))


def _written(sink: Any, after: int | None, until: int | None) -> Source[Any]:
    source: Source[Any] = sink.written(after, until)
    return source


def _contexts(planned: PlannedReplay, clock: Clock, executor: Executor) -> Callable[[str], ConnectorContext]:
    measures = JobMeasures(planned.job)

    def context(name: str) -> ConnectorContext:
        counted = measures.operator(name, 0, "sink")
        return ConnectorContext(name, planned.job, 0, 1, 0, clock, executor, counted, planned.config)

    return context


def _end_of(planned: PlannedReplay, of: ReplayOf) -> str:
    ends = [] if planned.to is None else [planned.to.title]
    ends += ["the given offsets"] if of.to_offsets else []
    ends += [f"event time {of.until_ms}"] if of.until_ms is not None else []
    ends += [f"{of.count} records"] if of.count is not None else []
    return " or ".join(ends) or "the end of the input"


def _remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
