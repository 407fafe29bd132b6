"""A slow sink does not stop checkpoints: what is in flight becomes part of them, and comes out once after a crash."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tidegate.engine import (
    CheckpointError,
    JobStatus,
    ReplayOf,
    RunConfig,
    Topology,
    TopologyError,
    restart,
    start,
    start_replay,
)
from tidegate.engine.checkpoint.manifest import Manifest, decode
from tidegate.engine.errors import StateTypeError
from tidegate.engine.executor import InlineExecutor
from tidegate.engine.testing.clock import ManualClock
from tidegate.engine.testing.scripted import ScriptedSource
from tidegate.operators import BroadcastState, Operator, Watermarks, agg, windows


class Reading(msgspec.Struct, frozen=True):
    """`value` was seen for `key` at `at`."""

    key: str
    at: int
    value: int


class SlowSink:
    """An exactly-once sink in which every write takes a while."""

    guarantee = "exactly_once"

    def __init__(self) -> None:
        self.write_s = 0.0
        self.clock = ManualClock()
        self.shown: Callable[[Any], Any] = lambda value: value
        self.visible: list[Any] = []
        self.writes = 0
        self._taken: set[str] = set()

    def writer(self, context: Any) -> SlowWriter:
        return SlowWriter(self, f"{context.attempt}-{context.subtask}")

    async def commit(self, context: Any, committables: Any) -> None:
        for found in committables:
            if found["name"] not in self._taken:
                self._taken.add(found["name"])
                self.visible += found["records"]

    async def recover(self, context: Any, checkpoint_id: int | None, committables: Any) -> None:
        await self.commit(context, committables)

    def describe(self) -> str:
        return "slow"


class SlowWriter:
    """Keeps what it was given in the committable."""

    def __init__(self, sink: SlowSink, name: str) -> None:
        self._sink = sink
        self._name = name
        self._records: list[Any] = []

    async def open(self) -> None:
        pass

    async def write(self, batch: Any) -> None:
        self._sink.writes += 1
        if self._sink.write_s:
            await self._sink.clock.sleep(self._sink.write_s)
        self._records += map(self._sink.shown, batch.values)

    async def prepare_commit(self, checkpoint_id: int) -> list[Any]:
        records, self._records = self._records, []
        return [{"name": f"{self._name}-{checkpoint_id}", "records": records}] if records else []

    async def close(self) -> None:
        pass


class Behind(Operator[Reading, list[Any]]):
    """Says of each record whether it stands behind the watermark, of which it remembers nothing."""

    keyed = True
    needs_event_time = True

    def open(self, context: Any) -> None:
        self.context = context

    def process(self, batch: Any) -> Any:
        watermark_ms = self.context.watermark_ms
        return batch.with_values([[r.key, r.value, r.at <= watermark_ms] for r in batch.values])


class Copies(Operator[Reading, list[Any]]):
    """Gets every record in every subtask, and gives out how often each of them has had it: the first time."""

    SEEN: Any = BroadcastState("seen", Any, int)

    def states(self) -> Any:
        return (self.SEEN,)

    def open(self, context: Any) -> None:
        self.seen = context.state(self.SEEN).entries
        self.subtask = context.subtask

    def process(self, batch: Any) -> Any:
        return batch.with_values([[self.subtask, r.key, r.value, self._times(r)] for r in batch.values])

    def _times(self, reading: Reading) -> int:
        key = (reading.key, reading.value)
        self.seen[key] = self.seen.get(key, 0) + 1
        return self.seen[key]


async def _asked(reading: Reading) -> list[Any]:
    return [reading.key, reading.value]


def _readings(split: int, count: int, late: bool = False) -> list[Reading]:
    behind = range(5, count, 7) if late else ()
    return [Reading("abc"[n % 3] + str(split), 1000 + 10 * n - (300 if n in behind else 0), n) for n in range(count)]


COUNT = 30
KINDS = ("shuffle", "hops", "union", "windows", "async", "late", "broadcast")


def _build(kind: str, sink: Any, count: int = COUNT) -> Topology:
    topology = Topology("unaligned")

    def source(name: str, *splits: int) -> Any:
        scripts = [_readings(split, count, kind == "late") for split in splits]
        watermarks = Watermarks(out_of_orderness="20ms", idle_timeout=None)
        return topology.source(
            name, ScriptedSource(*scripts, fetch_sizes=[1], type=Reading), event_time="at", watermarks=watermarks
        )

    if kind == "late":
        source("readings", 0).key_by(lambda r: r.key, name="by-key").apply(Behind(), name="tell").filter(
            lambda told: True, name="all"
        ).sink("out", sink, parallelism=1)
        return topology
    stream = source("readings", 1, 2)
    if kind == "union":
        stream = stream.union(source("others", 3))
    if kind == "async":
        out = stream.map_async(_asked, name="ask", input_type=Reading, capacity=3)
    elif kind == "broadcast":
        out = stream.broadcast().apply(Copies(), name="copies")
    elif kind == "windows":
        windowed = stream.key_by(lambda r: r.key, name="by-key").window(windows.tumbling("20ms"))
        out = windowed.aggregate(n=agg.count(), total=agg.sum("value"), name="window")
    else:
        keyed = stream.key_by(lambda r: r.key, name="by-key")
        out = keyed.aggregate(n=agg.count(), total=agg.sum("value"), name="count").map(
            lambda r: [r.key, r.n, r.total], name="flat"
        )
        if kind == "hops":
            again = out.key_by(lambda r: r[0][0], name="by-letter").aggregate(n=agg.count(), name="letters")
            out = again.map(lambda r: [r.key, r.n], name="flat-again")
    out.sink("out", sink, parallelism=1)
    return topology


class Stage:
    """A job over a slow sink in time that the test moves."""

    def __init__(self, folder: Path, kind: str, **config: Any) -> None:
        self.folder = folder
        self.sink = SlowSink()
        self.events: list[tuple[str, dict[str, Any]]] = []
        self.build: Callable[[], Topology] = lambda: _build(kind, self.sink)
        self.config: dict[str, Any] = {
            "checkpoints": folder,
            "checkpoint_interval": "1h",
            "alignment_timeout": "5s",
            "restart": restart.never(),
            "state_backend": "dict",
            "parallelism": 2,
            "retain": 100,
            **config,
        }

    @asynccontextmanager
    async def running(self, **config: Any) -> AsyncIterator[Any]:
        self.sink.clock = ManualClock()
        job = start(
            self.build(),
            RunConfig(**{**self.config, **config}),
            clock=self.sink.clock,
            executor=InlineExecutor(),
            on_event=lambda name, facts: self.events.append((name, facts)),
        )
        async with job:
            yield job

    async def settle(self, turns: int = 400) -> None:
        """Let everybody run for as long as time stands still."""
        for _ in range(turns):
            await asyncio.sleep(0)

    async def pass_time(self, seconds: float, step: float = 0.5) -> None:
        """Move time on, letting everybody run after each step."""
        for _ in range(round(seconds / step)):
            self.sink.clock.advance(step)
            await self.settle(60)

    async def until(self, done: Any, limit_s: float = 1000.0) -> float:
        """Move time on until something is done; how long it took."""
        began = self.sink.clock.monotonic()
        while not done.done():
            assert self.sink.clock.monotonic() - began < limit_s, "it takes too long"
            await self.pass_time(0.5)
        done.exception()  # seen, so that the loop does not report it
        return self.sink.clock.monotonic() - began

    async def dies_behind_a_slow_sink(self) -> None:
        """A first run, until a checkpoint is complete while a write takes ten seconds."""
        self.sink.write_s = 10.0
        async with self.running() as job:
            await self.settle()
            await self.until(asyncio.ensure_future(job.checkpoint()))
            await job.cancel()

    async def to_its_end(self, **config: Any) -> None:
        """A new process, whose sink is fast."""
        self.sink.write_s = 0.0
        async with self.running(**config) as job:
            waiting = asyncio.ensure_future(job.wait())
            await self.until(waiting)
            assert waiting.result() is JobStatus.FINISHED

    @property
    def manifests(self) -> list[Manifest]:
        return [decode(path.read_bytes()) for path in sorted(self.folder.rglob("manifest.json"))]

    def told(self, name: str) -> list[dict[str, Any]]:
        return [facts for event, facts in self.events if event == name]


async def _expected(folder: Path, kind: str) -> Counter[str]:
    """What comes out where nothing goes wrong."""
    stage = Stage(folder / "expected", kind)
    await stage.to_its_end()
    return Counter(map(repr, stage.sink.visible))


@pytest.fixture
def expected(tmp_path):
    """What each kind gives where nothing goes wrong."""
    return lambda kind: _expected(tmp_path, kind)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
async def test_a_slow_sink_does_not_stop_checkpoints(kind, tmp_path, expected):
    """While all channels are full a checkpoint takes the alignment timeout and a write or two. After a crash what was in
    flight comes out once."""
    stage = Stage(tmp_path / "state", kind)
    stage.sink.write_s = 10.0
    async with stage.running() as job:
        await stage.settle()
        for _ in range(2):
            took = await stage.until(asyncio.ensure_future(job.checkpoint()))
            assert took <= 5 + 2 * 10
        await job.cancel()
    first, second = stage.manifests
    assert first.in_flight_records >= 8
    assert second.in_flight_records >= 8
    assert stage.sink.writes < 10
    await stage.to_its_end()
    assert Counter(map(repr, stage.sink.visible)) == await expected(kind)


@pytest.mark.slow
async def test_copies_of_a_broadcast_map_may_be_at_different_records(tmp_path, expected):
    """Each subtask goes on with its own, and with what was on its way to it alone."""
    stage = Stage(tmp_path / "state", "broadcast", alignment_timeout="0ms")
    await stage.dies_behind_a_slow_sink()
    (manifest,) = stage.manifests
    assert sum(found.records for found in manifest.in_flight["copies"].subtasks) > 0
    await stage.to_its_end()
    assert Counter(map(repr, stage.sink.visible)) == await expected("broadcast")
    assert {told[-1] for told in stage.sink.visible} == {1}


@pytest.mark.slow
async def test_aligned_checkpoints_wait_for_the_sink(tmp_path, expected):
    """Without an alignment timeout nothing overtakes: the checkpoint takes as long as everything before it."""
    stage = Stage(tmp_path / "state", "shuffle", alignment_timeout=None)
    stage.sink.write_s = 10.0
    async with stage.running() as job:
        await stage.settle()
        assert await stage.until(asyncio.ensure_future(job.checkpoint())) > 80
        await job.cancel()
    assert [manifest.in_flight for manifest in stage.manifests] == [{}]
    await stage.to_its_end()
    assert Counter(map(repr, stage.sink.visible)) == await expected("shuffle")


@pytest.mark.slow
async def test_savepoints_and_the_last_checkpoint_wait(tmp_path, expected):
    """A savepoint has nothing in flight, so that it fits any parallelism; the end of a job leaves nothing to work on. One that
    is asked for while an unaligned checkpoint is under way waits for that first."""
    stage = Stage(tmp_path / "state", "shuffle", alignment_timeout="0ms")
    stage.sink.write_s = 1.0
    async with stage.running() as job:
        await stage.settle()
        taking = [asyncio.ensure_future(job.checkpoint()), asyncio.ensure_future(job.savepoint("before"))]
        await stage.settle()
        stopping = asyncio.ensure_future(job.stop("at-the-end"))
        await stage.until(stopping)
        assert taking[0].exception() is None
        assert stopping.result() is JobStatus.STOPPED
    manifests = {manifest.name: manifest for manifest in stage.manifests}
    assert manifests[None].in_flight_records > 0
    assert manifests["at-the-end"].in_flight == {}
    await stage.to_its_end(parallelism=3)
    assert Counter(map(repr, stage.sink.visible)) == await expected("shuffle")


@pytest.mark.slow
async def test_a_checkpoint_that_is_given_up_while_it_is_recorded_does_no_harm(tmp_path, expected):
    """The barrier of one source does not come: the checkpoint times out, and the next one is clean."""
    stage = Stage(tmp_path / "state", "union", alignment_timeout="0ms", checkpoint_timeout="30s")
    stage.sink.write_s = 10.0
    async with stage.running() as job:
        await stage.settle()
        sources = job._attempt.worker.sources
        stuck = next(source for source in sources if source.operator_id == "others")
        held, stuck.trigger = stuck.trigger, lambda barrier: None
        failing = asyncio.ensure_future(job.checkpoint())
        await stage.until(failing)
        assert "timed out waiting for" in str(failing.exception())
        stuck.trigger = held
        took = await stage.until(asyncio.ensure_future(job.checkpoint()))
        assert took <= 20
        await job.cancel()
    assert [manifest.checkpoint_id for manifest in stage.manifests] == [2]
    assert stage.manifests[0].in_flight_records > 0
    await stage.to_its_end()
    assert Counter(map(repr, stage.sink.visible)) == await expected("union")


@pytest.mark.slow
async def test_however_many_checkpoints_overtake_memory_stays_bounded(tmp_path):
    """A sink that stands still gets no more than what its channels hold, and what one walk of each sender left."""
    stage = Stage(tmp_path / "state", "shuffle", alignment_timeout="0ms", channel_capacity=2, checkpoint_timeout="1s")
    stage.sink.write_s = 100.0
    async with stage.running() as job:
        await stage.settle()
        for _ in range(10):
            with suppress(CheckpointError):
                await stage.until(asyncio.ensure_future(job.checkpoint()))
        gates = [subtask.gate for subtask in job._attempt.worker.subtasks]
        assert max(max(gate._batches) for gate in gates) <= 3
        await job.cancel()


@pytest.mark.slow
async def test_another_parallelism_is_refused_with_the_remedy(tmp_path, expected):
    """Before anything is read or shown; going on as it was, and a savepoint, help."""
    stage = Stage(tmp_path / "state", "shuffle", alignment_timeout="0ms")
    await stage.dies_behind_a_slow_sink()
    visible = list(stage.sink.visible)
    message = (
        r"checkpoint 1 is unaligned, with \d+ records in flight to 'count': its parallelism was 2 and is now 3; start once "
        r"with everything as it was and stop with a savepoint"
    )
    with pytest.raises(TopologyError, match=message):
        async with stage.running(parallelism=3) as job:
            await job.wait()
    with pytest.raises(TopologyError, match=r"'count': max_parallelism was 128 and is now 64"):
        async with stage.running(max_parallelism=64) as job:
            await job.wait()
    assert stage.sink.visible == visible
    stage.sink.write_s = 0.1
    async with stage.running() as job:
        await stage.settle()
        stopping = asyncio.ensure_future(job.stop("before-rescale"))
        await stage.until(stopping)
    await stage.to_its_end(parallelism=3)
    assert Counter(map(repr, stage.sink.visible)) == await expected("shuffle")


class Opaque:
    """A value that cannot be put into a file."""

    def __init__(self, n: int) -> None:
        self.n = n


@pytest.mark.slow
async def test_records_that_cannot_be_recorded_stay_aligned(tmp_path):
    """The checkpoint waits for them; the job says so once."""
    stage = Stage(tmp_path / "state", "shuffle", alignment_timeout="0ms")

    def build() -> Topology:
        topology = Topology("opaque")
        numbers = topology.source("numbers", ScriptedSource([*range(12)], [*range(12)], fetch_sizes=[1]))
        numbers.map(Opaque, name="wrap").sink("out", stage.sink, parallelism=1)
        return topology

    stage.build = build
    stage.sink.shown = lambda value: value.n
    stage.sink.write_s = 1.0
    async with stage.running() as job:
        await stage.settle(20)
        for _ in range(2):
            await stage.until(asyncio.ensure_future(job.checkpoint()))
        await job.cancel()
    (told,) = stage.told("checkpoint_stays_aligned")
    assert (told["edge"], told["type"]) == ("the way from 'wrap' to 'out'", f"{__name__}.Opaque")
    assert not any(manifest.in_flight for manifest in stage.manifests)
    await stage.to_its_end()
    assert sorted(stage.sink.visible) == sorted([*range(12), *range(12)])


@pytest.mark.slow
async def test_renamed_operators_find_what_was_on_its_way_to_them(tmp_path, expected):
    """Both ends of an edge may have other names now."""
    stage = Stage(tmp_path / "state", "windows", alignment_timeout="0ms")
    await stage.dies_behind_a_slow_sink()
    (manifest,) = stage.manifests
    assert sorted(manifest.in_flight) == ["out", "window"]
    names = {"window": "panes", "by-key": "keyed", "out": "output"}

    def renamed() -> Topology:
        topology = _build("windows", stage.sink)
        for node in topology.nodes:
            node.name = names.get(node.name, node.name)
        return topology

    stage.build = renamed
    with pytest.raises(TopologyError, match="records in flight to 'out': it is not in the topology any more"):
        async with stage.running(rename={"window": "panes"}) as job:
            await job.wait()
    await stage.to_its_end(rename=names)
    assert Counter(map(repr, stage.sink.visible)) == await expected("windows")


@pytest.mark.slow
async def test_a_replay_from_an_unaligned_checkpoint_begins_with_what_was_in_flight(tmp_path, expected):
    """It writes all that the job had not written by then."""
    stage = Stage(tmp_path / "state", "shuffle", alignment_timeout="0ms")
    await stage.dies_behind_a_slow_sink()
    written = Counter(map(repr, stage.sink.visible))
    again = SlowSink()
    config = RunConfig(**stage.config)
    async with await start_replay(
        stage.build(), config, ReplayOf(start=1), {"out": again}, executor=InlineExecutor()
    ) as replayed:
        assert await replayed.wait() is JobStatus.FINISHED
    assert written + Counter(map(repr, again.visible)) == await expected("shuffle")


class Order(msgspec.Struct):
    """A record whose class changes between two starts."""

    total: int


class OrderNow(msgspec.Struct):
    """What `Order` has become."""

    total: str


OrderNow.__qualname__ = "Order"


@pytest.mark.slow
async def test_records_whose_class_has_changed_are_refused(tmp_path, monkeypatch):
    """Before anything is read; a class that fits is taken as it is."""
    stage = Stage(tmp_path / "state", "shuffle", alignment_timeout="0ms")

    def build() -> Topology:
        topology = Topology("orders")
        numbers = topology.source("numbers", ScriptedSource([*range(12)], [*range(12)], fetch_sizes=[1]))
        numbers.map(globals()["Order"], name="wrap").sink("out", stage.sink, parallelism=1)
        return topology

    stage.build = build
    stage.sink.shown = lambda order: order.total
    await stage.dies_behind_a_slow_sink()
    assert stage.manifests[0].in_flight_records > 0
    monkeypatch.setitem(globals(), "Order", OrderNow)
    with pytest.raises(
        StateTypeError, match=r"on the way from 'wrap' to 'out' are of type .*Order, which has changed: .*total` was"
    ):
        async with stage.running() as job:
            await job.wait()
    monkeypatch.undo()
    await stage.to_its_end()
    assert sorted(stage.sink.visible) == sorted([*range(12), *range(12)])
