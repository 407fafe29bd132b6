"""The streams outside: what the sources of a topology read and its sinks write, in place of the real connectors."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from ....connectors.sink import Committable, Guarantee, OutputLostError, SinkContext, SinkError, SinkFencedError
from ....connectors.source import Fetch, Lag, Offset, SourceContext, SourceError, Split
from ....operators.batch import Batch
from .process import Process
from .world import World, canonical

POLL_MS: Final = 20


@dataclass
class Topic:
    """What a source reads: the same for every process.

    Attributes:
        splits: the records of each split, each with its event time where the source brings such.
        arrivals: when each record is there to be read, seconds of virtual time.
    """

    splits: Sequence[Sequence[Any]]
    timestamps: Sequence[Sequence[int]] | None
    arrivals: Sequence[Sequence[float]]


class SimulatedSource:
    """Stands for a source of the topology."""

    replayable = True
    finds_splits = False
    poll_interval_ms = POLL_MS

    def __init__(self, process: Process, name: str, topic: Topic, like: Any) -> None:
        self.process = process
        self.name = name
        self.topic = topic
        self.bounded = bool(like.bounded)
        self.type = like.type
        self.has_timestamps = bool(like.has_timestamps)

    async def discover(self, context: SourceContext, known: frozenset[str]) -> list[Split]:
        ids = [str(number) for number in range(len(self.topic.splits))]
        return [Split(split_id) for split_id in ids if split_id not in known]

    def reader(self, context: SourceContext) -> SimulatedReader:
        return SimulatedReader(self, context)

    def describe(self) -> str:
        return f"simulated({self.name})"


class SimulatedReader:
    """Reads some of what is there, after a while, in pieces of any size."""

    def __init__(self, source: SimulatedSource, context: SourceContext) -> None:
        self._source = source
        self._context = context
        self._next: dict[str, int] = {}

    async def open(self, split: Split, offset: Offset | None) -> None:
        self._next[split.id] = offset or 0

    async def read(self, split_id: str, limit: int) -> Fetch[Any]:
        source, topic = self._source, self._source.topic
        process, world = source.process, source.process.world
        await _call(process, f"{source.name} read {split_id} from {self._next[split_id]}")
        if world.happens(world.weather.source_away):
            raise SourceError(f"{source.name}: the world is away")
        start, split = self._next[split_id], int(split_id)
        arrivals = topic.arrivals[split]
        stop = start + (world.dice.randint(1, limit) if world.dice.random() < 0.5 else 1)
        while stop > start and (stop > len(arrivals) or arrivals[stop - 1] > world.time.now):
            stop -= 1
        self._next[split_id] = stop
        return Fetch(
            list(topic.splits[split][start:stop]),
            stop,
            timestamps=None if topic.timestamps is None else list(topic.timestamps[split][start:stop]),
            positions=range(start, stop),
            end=stop == len(arrivals),
        )

    def lag(self, split_id: str) -> Lag | None:
        return Lag(records=len(self._source.topic.splits[int(split_id)]) - self._next[split_id])

    async def close(self) -> None:
        """There is nothing to give back."""


@dataclass
class Transaction:
    """Records of one writer between two barriers."""

    records: list[Any] = field(default_factory=list)
    prepared_at: float | None = None


class Ledger:
    """The outside of one sink: transactions, and what readers see.

    A transaction lives from its first record to its commit or its end by `recover`; that of an older attempt than the newest
    that has recovered takes nothing more and cannot be committed.
    """

    def __init__(self, world: World, name: str) -> None:
        self.name = name
        self._seen: Counter[str] = Counter()
        self._world = world
        self._open: dict[str, Transaction] = {}
        self._committed: dict[str, int] = {}
        self._newest_attempt = 0

    def write(self, name: str, attempt: int, values: Sequence[Any]) -> None:
        self._refuse_old(attempt)
        self._open.setdefault(name, Transaction()).records.extend(values)

    def prepare(self, name: str, attempt: int) -> None:
        self._refuse_old(attempt)
        self._open[name].prepared_at = self._world.time.now

    def verify(self, committables: Sequence[Committable]) -> None:
        self._forget()
        names = [committable["name"] for committable in committables]
        lost = [name for name in names if name not in self._open and name not in self._committed]
        if lost:
            raise OutputLostError(
                f"{self.name}: {', '.join(lost)} are not there any more", partly=len(lost) < len(names)
            )

    def commit(self, committables: Sequence[Committable], attempt: int) -> None:
        self._refuse_old(attempt)
        self.verify(committables)
        for committable in committables:
            transaction = self._open.pop(committable["name"], None)
            if transaction is not None:
                self._committed[committable["name"]] = committable["checkpoint_id"]
                self._show(transaction.records, committable["name"])

    def recover(self, checkpoint_id: int | None, committables: Sequence[Committable], attempt: int) -> None:
        self._refuse_old(attempt)
        self._newest_attempt = attempt
        newer = [name for name, n in self._committed.items() if n > (checkpoint_id or 0)]
        if newer:
            raise SinkError(
                f"{self.name}: {', '.join(newer)} are visible and newer than checkpoint {checkpoint_id}",
                retriable=False,
            )
        self.commit(committables, attempt)
        self._open.clear()

    def _refuse_old(self, attempt: int) -> None:
        if attempt < self._newest_attempt:
            raise SinkFencedError(f"{self.name}: attempt {self._newest_attempt} has taken over")

    def _forget(self) -> None:
        after_s = self._world.weather.forgets_after_s
        if after_s is not None:
            limit = self._world.time.now - after_s
            for name, found in list(self._open.items()):
                if found.prepared_at is not None and found.prepared_at < limit:
                    self._world.tell(None, f"{self.name} forgets {name}")
                    del self._open[name]

    def _show(self, records: Sequence[Any], name: str) -> None:
        expected = self._world.expected
        for record in records:
            text = canonical(record)
            self._seen[text] += 1
            if expected is not None and self._seen[text] > expected[self.name][text]:
                wrong = "twice" if expected[self.name][text] else "that a run without trouble does not give"
                self._world.violate(f"sink {self.name!r} shows a record {wrong}: {text} (in {name})")

    @property
    def seen(self) -> Counter[str]:
        """What readers see."""
        return self._seen


class SimulatedSink:
    """Stands for a sink of the topology: a broker with transactions."""

    guarantee: Guarantee = "exactly_once"

    def __init__(self, process: Process, ledger: Ledger) -> None:
        self._process = process
        self._ledger = ledger

    def writer(self, context: SinkContext) -> SimulatedWriter:
        return SimulatedWriter(self._process, self._ledger, context)

    async def verify(self, context: SinkContext, committables: Sequence[Committable]) -> None:
        await _call(self._process, f"{self._ledger.name} verify")
        self._ledger.verify(committables)

    async def commit(self, context: SinkContext, committables: Sequence[Committable]) -> None:
        world, names = self._process.world, " ".join(committable["name"] for committable in committables)
        await self._reach(f"commit {names}")
        self._ledger.commit(committables, context.attempt)
        await self._done(f"commit {names}")
        if world.happens(world.weather.commit_unanswered):
            raise SinkError(f"{self._ledger.name}: no answer")

    async def recover(
        self, context: SinkContext, checkpoint_id: int | None, committables: Sequence[Committable]
    ) -> None:
        await self._reach(f"recover {checkpoint_id}")
        self._ledger.recover(checkpoint_id, committables, context.attempt)
        await self._done(f"recover {checkpoint_id}")

    def describe(self) -> str:
        return f"simulated({self._ledger.name})"

    async def _reach(self, what: str) -> None:
        world = self._process.world
        await _call(self._process, f"{self._ledger.name} {what}")
        if world.happens(world.weather.sink_away):
            raise SinkError(f"{self._ledger.name}: the world is away")

    async def _done(self, what: str) -> None:
        self._process.reach(f"{self._ledger.name} {what}: done")


class SimulatedWriter:
    """Writes into one transaction after the other."""

    def __init__(self, process: Process, ledger: Ledger, context: SinkContext) -> None:
        self._process = process
        self._ledger = ledger
        self._context = context
        self._begun = 0
        self._written = False

    @property
    def _name(self) -> str:
        return f"{self._context.attempt}-{self._context.subtask}-{self._begun}"

    async def open(self) -> None:
        """There is nothing to open."""

    async def write(self, batch: Batch[Any]) -> None:
        world = self._process.world
        await _call(self._process, f"{self._ledger.name} write {len(batch)} into {self._name}", world.write_delay())
        if world.happens(world.weather.sink_away):
            raise SinkError(f"{self._ledger.name}: the world is away")
        self._ledger.write(self._name, self._context.attempt, batch.values)
        self._written = True

    async def prepare_commit(self, checkpoint_id: int) -> list[Committable]:
        if not self._written:
            return []
        name = self._name
        await _call(self._process, f"{self._ledger.name} prepare {name}")
        self._ledger.prepare(name, self._context.attempt)
        self._begun += 1
        self._written = False
        return [{"name": name, "checkpoint_id": checkpoint_id}]

    async def close(self) -> None:
        """What is open stays so until the next attempt does away with it."""


async def _call(process: Process, what: str, besides_s: float = 0.0) -> None:
    """A call to the world: here the process may die, or wait."""
    process.reach(what)
    await process.clock.sleep(process.world.call_delay() + besides_s)
    if process.dead:
        process.reach(what)
