"""How splits are read: in event time, with idle ones left out, at a limited rate."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tidegate.connectors import memory
from tidegate.engine import Job, JobStatus, RunConfig, Topology, restart, start
from tidegate.engine.executor import InlineExecutor
from tidegate.engine.testing import BARRIER, CRASH, ManualClock, Pause, ScriptedSource, run_script
from tidegate.operators import Watermarks, agg, windows


def _windows(source: Any, sink: Any, idle_timeout: str | None = "5s", **settings: Any) -> Topology:
    topology = Topology("splits")
    stream = topology.source(
        "times", source, event_time=lambda t: t, watermarks=Watermarks(idle_timeout=idle_timeout), **settings
    )
    counted = stream.key_by(lambda t: "all").window(windows.tumbling("1s")).aggregate(n=agg.count(), name="count")
    counted.map(lambda w: (w.start_ms, w.n)).sink("out", sink)
    return topology


@asynccontextmanager
async def _begun(topology: Topology, clock: ManualClock, **settings: Any) -> AsyncIterator[Job]:
    """The job once it runs. No thread is in play, so time moves for nobody but the engine."""
    config = RunConfig(state_backend="dict", **settings)
    async with start(topology, config, clock=clock, executor=InlineExecutor()) as job:
        await job.began.wait()
        yield job


async def _settle(turns: int = 60) -> None:
    for _ in range(turns):
        await asyncio.sleep(0)


async def _until(clock: ManualClock, channel: Any, values: int, most_s: float = 60) -> list[Any]:
    """Move time on until so many values have come out."""
    found: list[Any] = []
    passed = 0.0
    while len(found) < values and passed < most_s:
        await clock.run(0.5, 0.1)
        await _settle()
        passed += 0.5
        found += [channel._values.popleft() for _ in range(len(channel._values))]
    return found


async def test_a_silent_split_holds_windows_back_and_is_named():
    """Without an idle timeout nothing closes, and the job says which split it waits for."""
    clock, out = ManualClock(0), memory.channel()
    source = ScriptedSource([500, 1500, 2500], [700, Pause()], bounded=False)
    async with _begun(_windows(source, out, None), clock) as job:
        assert await _until(clock, out, 1, 20) == []
        assert any("split 1 holds the watermark at" in reason for reason in job.why_waiting())
        await job.cancel()


async def test_an_idle_split_no_longer_holds_windows_back():
    """After the idle timeout the other split's records close windows."""
    clock, out = ManualClock(0), memory.channel()
    source = ScriptedSource([500, 1500, Pause(10), 2500, 3500], [700, Pause()], bounded=False)
    async with _begun(_windows(source, out), clock) as job:
        assert await _until(clock, out, 2) == [(0, 2), (1000, 1)]
        await job.cancel()


async def test_when_all_splits_are_idle_time_itself_closes_windows():
    """The last window does not wait for a record that may never come."""
    clock, out = ManualClock(0), memory.channel()
    source = ScriptedSource([500, 1500], bounded=False)
    async with _begun(_windows(source, out), clock) as job:
        assert await _until(clock, out, 2) == [(0, 1), (1000, 1)]
        await job.cancel()


class _FindsMore(ScriptedSource[int]):
    """A source that may have more splits at any time."""

    finds_splits = True


async def test_a_subtask_without_splits_holds_no_windows_back():
    """More subtasks than splits: those that have nothing to read do not stop the time of the others, whatever the idle
    timeout."""
    clock, out = ManualClock(0), memory.channel()
    source = _FindsMore([500, 1500, 2500], bounded=False)
    async with _begun(_windows(source, out, None), clock, parallelism=3) as job:
        assert await _until(clock, out, 2) == [(0, 1), (1000, 1)]
        await job.cancel()


async def test_time_itself_closes_windows_beside_a_subtask_without_splits():
    """What has never had a record does not hold back what moves on with the clock."""
    clock, out = ManualClock(0), memory.channel()
    async with _begun(_windows(_FindsMore([500, 1500], bounded=False), out), clock, parallelism=3) as job:
        assert await _until(clock, out, 2) == [(0, 1), (1000, 1)]
        await job.cancel()


async def test_a_rate_limit_is_kept():
    """A hundred records at ten per second take about ten seconds of the engine's clock."""
    clock, sink = ManualClock(0), memory.sink()
    topology = _windows(memory.source([*range(100)]), sink, rate_limit=10)
    async with _begun(topology, clock) as job:
        while not job.status.over and clock.monotonic() < 60:
            clock.advance(0.05)
            await _settle(20)
        assert await job.wait() is JobStatus.FINISHED
    assert 9.5 <= clock.monotonic() <= 10.5
    assert sink.values == [(0, 100)]


async def test_a_split_that_waits_for_more_holds_no_other_up():
    """After a small batch its own split lingers; the others are read meanwhile."""
    clock, out = ManualClock(0), memory.channel()
    source = ScriptedSource([1, 2, Pause(), 3], [4, 5, Pause(), 6], [7, Pause(), 8], bounded=False)
    topology = Topology("lingering")
    topology.source("numbers", source).sink("out", out)
    async with _begun(topology, clock, linger="1h") as job:
        await _settle()
        assert sorted(out._values) == [1, 2, 4, 5, 7]
        await job.cancel()


async def test_stop_after_records_drains_the_job():
    """The sources end once so many records have been read, and what was read is committed."""
    sink = memory.sink()
    topology = Topology("some")
    topology.source("numbers", memory.source([*range(1000)])).sink("out", sink)
    async with start(topology, RunConfig(stop_after_records=10, max_batch=5)) as job:
        assert await job.wait() is JobStatus.STOPPED
    assert sink.values == [*range(len(sink.values))]
    assert 10 <= len(sink.values) <= 20


async def test_what_a_crash_cut_short_is_not_counted():
    """A failed read gives back what it had asked for: the job ends after as many records as it was told to."""
    sink = memory.sink()
    source = ScriptedSource([*range(10), CRASH, *range(10, 1000)], fetch_sizes=[10])
    topology = Topology("some")
    topology.source("numbers", source).sink("out", sink)
    config = RunConfig(stop_after_records=30, restart=restart.fixed_delay(1, "0ms"), state_backend="dict")
    async with start(topology, config, executor=InlineExecutor()) as job:
        assert await job.wait() is JobStatus.STOPPED
    # Without checkpoints it began anew: ten of the thirty were read twice.
    assert sink.values == [*range(20)]


async def test_until_ends_a_split_at_its_first_record_behind_it():
    """Records at or after the time are not read, whatever order they come in."""
    sink = memory.sink()
    topology = Topology("until")
    stream = topology.source(
        "times",
        memory.source([10, 30, 20, 60, 40, 90]),
        event_time=lambda t: t,
        watermarks=Watermarks(out_of_orderness="30ms"),
    )
    stream.sink("out", sink)
    async with start(topology, RunConfig(until_ms=50)) as job:
        assert await job.wait() is JobStatus.FINISHED
    assert sink.values == [10, 30, 20, 40]


class TellingSource(ScriptedSource[int]):
    """A scripted source whose readers write down what they are told of checkpoints."""

    def __init__(self, *scripts: Any) -> None:
        super().__init__(*scripts)
        self.told: list[dict[str, Any]] = []

    def reader(self, context: Any) -> Any:
        reader = super().reader(context)

        async def checkpointed(offsets: Any) -> None:
            self.told.append(dict(offsets))

        reader.checkpointed = checkpointed  # type: ignore[attr-defined]
        return reader


async def test_a_reader_is_told_the_offsets_of_each_complete_checkpoint(tmp_path: Path):
    """Once per checkpoint, the last one included."""
    source = TellingSource([1, 2, BARRIER, 3, BARRIER, 4])
    topology = Topology("telling")
    topology.source("numbers", source).sink("out", memory.sink())
    await run_script(topology, source, RunConfig(checkpoints=tmp_path, checkpoint_interval="1h"))
    assert source.told == [{"0": 3}, {"0": 5}, {"0": 6}]
