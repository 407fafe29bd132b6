"""Reading the state of a running job."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tidegate.connectors import memory
from tidegate.engine import Job, JobError, RunConfig, StateError, Topology, restart, start
from tidegate.engine.executor import InlineExecutor
from tidegate.engine.testing import CRASH, ManualClock, Pause, ScriptedSource
from tidegate.operators import ListState, MapState, ProcessFunction, ReducingState, ValueState, agg, windows


class Seen(msgspec.Struct):
    n: int
    last: int


class Everything(ProcessFunction[int, int]):
    """Keeps numbers by their rest in every shape there is."""

    SEEN: Any = ValueState("seen", Seen)
    ALL: Any = ListState("all", int)
    SUM: Any = ReducingState("sum", int, lambda a, b: a + b)
    EACH: Any = MapState("each", int, int)
    FRESH: Any = ValueState("fresh", int, ttl="10s")

    def states(self) -> Any:
        return [self.SEEN, self.ALL, self.SUM, self.EACH, self.FRESH]

    def open(self, context: Any) -> None:
        self.seen, self.all, self.sum = (context.state(s) for s in (self.SEEN, self.ALL, self.SUM))
        self.each, self.fresh = context.state(self.EACH), context.state(self.FRESH)

    def process(self, value: int, context: Any) -> Any:
        seen = self.seen.get() or Seen(0, 0)
        self.seen.set(Seen(seen.n + 1, value))
        self.all.add(value)
        self.sum.add(value)
        self.each.put(value, (self.each.get(value) or 0) + 1)
        self.fresh.set(value)
        yield value


def numbers(source: Any, sink: Any = None) -> Topology:
    """Numbers by their rest of division by seven."""
    topology = Topology("numbers")
    keyed = topology.source("in", source).key_by(lambda n: n % 7, name="by-rest", key_type=int)
    keyed.process(Everything(), name="keep").sink("out", sink or memory.sink())
    return topology


async def settle(turns: int = 200) -> None:
    """Let the job do all it can; no time passes."""
    for _ in range(turns):
        await asyncio.sleep(0)


@asynccontextmanager
async def running(topology: Topology, clock: ManualClock | None = None, **how: Any) -> AsyncIterator[Job]:
    """The job, once all that the source gives by itself is through."""
    config = RunConfig(**({"state_backend": "dict", "linger": "0ms"} | how))  # type: ignore[arg-type]  # settings by name
    async with start(topology, config, clock=clock or ManualClock(0), executor=InlineExecutor()) as job:
        await job.began.wait()
        await settle()
        yield job
        await job.cancel()


@pytest.mark.slow
@settings(max_examples=40)
@given(values=st.lists(st.integers(-20, 20), max_size=60), parallelism=st.integers(1, 4),
       backend=st.sampled_from(["dict", "rocksdb"]), fetch=st.integers(1, 9))  # fmt: skip
def test_what_is_read_is_what_the_records_so_far_make(
    values: list[int], parallelism: int, backend: str, fetch: int
) -> None:
    """Every shape, by key and as a whole, whatever the number of subtasks and the backend."""

    async def check() -> None:
        source = ScriptedSource([*values, Pause()], fetch_sizes=[fetch], bounded=False)
        async with running(numbers(source), parallelism=parallelism, state_backend=backend) as job:
            by_rest: dict[int, list[int]] = {}
            for value in values:
                by_rest.setdefault(value % 7, []).append(value)
            seen, every = job.state("keep", Everything.SEEN), job.state("keep", Everything.ALL)
            total, each = job.state("keep", Everything.SUM), job.state("keep", Everything.EACH)
            for rest in range(7):
                there = by_rest.get(rest)
                assert await seen.get(rest) == (Seen(len(there), there[-1]) if there else None)
                assert await every.get(rest) == there
                assert await total.get(rest) == (sum(there) if there else None)
                assert await each.get(rest) == dict(Counter(there or []))
                assert await each.get_entry(rest, rest) == ((there or []).count(rest) or None)
            assert {key: value async for key, value in every.items()} == by_rest
            assert {key: value async for key, value in total.items()} == {k: sum(v) for k, v in by_rest.items()}
            counts = {(rest, value): n for rest, there in by_rest.items() for value, n in Counter(there).items()}
            assert sorted([entry async for entry in each.items()]) == sorted(counts.items())

    asyncio.run(check())


async def test_reads_see_more_as_the_job_goes_on() -> None:
    """Never half of a batch: the number of records and the last of them belong together."""
    source = ScriptedSource(
        [*range(0, 700, 7), Pause(), *range(700, 1400, 7), Pause()], fetch_sizes=[10], bounded=False
    )
    how = RunConfig(state_backend="dict", linger="0ms")
    async with start(numbers(source), how, clock=ManualClock(0), executor=InlineExecutor()) as job:
        await job.began.wait()
        seen = job.state("keep", Everything.SEEN)
        found = set()
        for _ in range(400):
            value = await seen.get(0)
            if value is not None:
                found.add((value.n, value.last))
            await asyncio.sleep(0)
        source.release()
        await settle(400)
        assert (await seen.get(0)) == Seen(200, 1393)
        assert len(found) > 3
        assert all(n % 10 == 0 and last == 7 * (n - 1) for n, last in found)
        await job.cancel()


async def test_a_reader_cannot_change_what_it_reads() -> None:
    """It gets copies."""
    async with running(numbers(ScriptedSource([7, Pause()], bounded=False))) as job:
        every, seen = job.state("keep", Everything.ALL), job.state("keep", Everything.SEEN)
        values = await every.get(0)
        assert values == [7]
        values.append(8)
        value = await seen.get(0)
        assert value is not None
        value.n = 99
        assert await every.get(0) == [7]
        assert await seen.get(0) == Seen(1, 7)


async def test_entries_that_have_expired_are_not_there() -> None:
    """And reading them starts no time anew."""
    clock = ManualClock(0)
    async with running(numbers(ScriptedSource([7, 8, Pause()], bounded=False)), clock) as job:
        fresh = job.state("keep", Everything.FRESH)
        assert await fresh.get(0) == 7
        assert {key: value async for key, value in fresh.items()} == {0: 7, 1: 8}
        await clock.run(11, 1)
        assert await fresh.get(0) is None
        assert [entry async for entry in fresh.items()] == []


async def test_windows_are_read_by_window_and_key() -> None:
    """The accumulators of an aggregate are its state."""
    topology = Topology("windowed")
    source = ScriptedSource([1, 2, 3, 11, Pause()], bounded=False)
    stream = topology.source("in", source, event_time=lambda n: n).key_by(lambda n: n % 2, name="by", key_type=int)
    stream.window(windows.tumbling("10ms")).aggregate(name="count", n=agg.count()).sink("out", memory.sink())
    async with running(topology) as job:
        state = job.state("count", "panes")
        counts = {place: value.n async for place, value in state.items()}
        assert counts[20, 1] == 1
        assert (await state.get(1, 20)).n == 1
        assert await state.get(0, 20) is None


async def test_reads_go_on_after_a_restore_at_another_parallelism(tmp_path: Path) -> None:
    """A key is found where its key group is now."""
    values, sink = list(range(50)), memory.sink()
    source = ScriptedSource([*values, Pause(), 1000], bounded=False)
    async with running(numbers(source, sink), checkpoints=tmp_path, parallelism=1, state_backend="rocksdb") as job:
        await job.stop()
    async with running(numbers(source, sink), checkpoints=tmp_path, parallelism=3, state_backend="rocksdb") as job:
        total = job.state("keep", Everything.SUM)
        values.append(1000)
        assert [await total.get(rest) for rest in range(7)] == [
            sum(value for value in values if value % 7 == rest) for rest in range(7)
        ]
        assert sum([value async for _, value in total.items()]) == sum(values)


@pytest.mark.slow
async def test_what_is_on_disk_is_read_too(tmp_path: Path) -> None:
    """State far beyond its memory, before and after checkpoints; entries that have changed since count as they are now."""
    first, second = [*range(0, 70_000, 7)], [*range(0, 35_000, 7)]
    source = ScriptedSource([*first, Pause(), *second, Pause()], bounded=False)
    topology = Topology("large")
    keyed = topology.source("in", source).key_by(lambda n: n, name="by-number", key_type=int)
    keyed.process(Everything(), name="keep").sink("out", memory.sink())
    how: dict[str, Any] = {"checkpoints": tmp_path, "state_backend": "rocksdb", "memory_budget": "1MiB"}
    async with running(topology, **how) as job:
        seen, total = job.state("keep", Everything.SEEN), job.state("keep", Everything.SUM)
        each = job.state("keep", Everything.EACH)
        await settle(3000)
        await job.checkpoint()
        assert [await total.get(n) for n in first[::500]] == first[::500]
        source.release()
        await settle(3000)
        counted = Counter(first) + Counter(second)
        assert {key: value.n async for key, value in seen.items()} == counted
        assert {key: value async for key, value in total.items()} == {n: n * times for n, times in counted.items()}
        assert sorted([entry async for entry in each.items()]) == sorted(
            ((n, n), times) for n, times in counted.items()
        )
        await job.checkpoint()
        assert [await total.get(n) for n in first[::500]] == [n * counted[n] for n in first[::500]]
        assert await total.get(-1) is None


async def test_a_job_that_restarts_cannot_be_read_meanwhile() -> None:
    """Afterwards it can, and says what it has restored."""
    clock, source = ManualClock(0), ScriptedSource([7, 14, CRASH, 21, Pause()], bounded=False)
    async with running(numbers(source), clock, restart=restart.fixed_delay(1, "5s")) as job:
        total = job.state("keep", Everything.SUM)
        with pytest.raises(JobError, match="is restarting"):
            await total.get(0)
        await clock.run(6, 1)
        await settle()
        assert await total.get(0) == 42


async def test_maps_are_read_while_the_job_goes_on() -> None:
    """A map is never seen in the middle of a batch, and what is there all the while comes once."""
    rests = [*range(7)]
    source = ScriptedSource([*rests, Pause(), *(rests * 50), Pause()], fetch_sizes=[7], bounded=False)
    how = RunConfig(state_backend="rocksdb", linger="0ms", max_batch=7)
    async with start(numbers(source), how, clock=ManualClock(0), executor=InlineExecutor()) as job:
        await job.began.wait()
        await settle(400)
        assert source.at_pause
        source.release()
        found = []
        async for (key, map_key), count in job.state("keep", Everything.EACH).items():
            assert key == map_key
            found.append((key, count))
            await settle(30)
        assert sorted(key for key, _ in found) == rests
        assert len({count for _, count in found}) > 2
        await job.cancel()


async def test_maps_of_a_job_that_restarts_are_to_be_read_again() -> None:
    """They are others by then."""
    clock, source = ManualClock(0), ScriptedSource([0, 1, 2, Pause(1), CRASH, 3, Pause()], bounded=False)
    async with running(numbers(source), clock, restart=restart.fixed_delay(1, "0s")) as job:
        entries = job.state("keep", Everything.EACH).items()
        await anext(entries)
        await clock.run(6, 1)
        await settle()
        with pytest.raises(JobError, match="has restarted while its state was read: read it again"):
            await anext(entries)


@pytest.mark.parametrize(
    ("operator", "state", "message"),
    [
        ("keeps", "sum", "there is no operator 'keeps'; those with state are: keep"),
        ("by-rest", "sum", "operator 'by-rest' keeps no state"),
        ("keep", "summ", "operator 'keep' has no state 'summ'; it has: seen, all, sum, each, fresh"),
        ("keep", ValueState("sum", int), "is declared as ReducingState of int, not as ValueState of int"),
        ("keep", ValueState("seen", str), "is declared as ValueState of Seen, not as ValueState of str"),
    ],
)
async def test_what_is_not_there_is_named(operator: str, state: Any, message: str) -> None:
    """With what there is instead, before anything is read."""
    job = start(numbers(memory.source([1])), RunConfig(state_backend="dict"))
    with pytest.raises(StateError, match=message):
        job.state(operator, state)


async def test_a_key_of_another_type_is_an_error() -> None:
    """It could not be the key of any record."""
    async with running(numbers(ScriptedSource([7, Pause()], bounded=False)), state_backend="rocksdb") as job:
        with pytest.raises(StateError, match="is not of the key type"):
            await job.state("keep", Everything.SUM).get("zero")
        with pytest.raises(StateError, match="floats"):
            await job.state("keep", Everything.SUM).get(0.5)


async def test_the_state_of_a_job_that_does_not_run_cannot_be_read() -> None:
    """Before it has begun, and when it is over."""
    job = start(numbers(memory.source([1])), RunConfig(state_backend="dict"))
    total = job.state("keep", Everything.SUM)
    with pytest.raises(JobError, match="is created: its state can be read while it runs"):
        await total.get(1)
    async with job:
        await job.wait()
    with pytest.raises(JobError, match="is finished"):
        await total.get(1)
    with pytest.raises(JobError, match="is finished"):
        [entry async for entry in total.items()]
