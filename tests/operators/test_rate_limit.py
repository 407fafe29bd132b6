"""No more than so many records per second."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tidegate.connectors import memory
from tidegate.engine import JobStatus, RunConfig, Topology, restart, start
from tidegate.engine.errors import TopologyError
from tidegate.engine.executor import InlineExecutor
from tidegate.engine.testing import BARRIER, CRASH, AsyncOperatorHarness, ManualClock, ScriptedSource, run_script
from tidegate.operators.rate_limit import RateLimit
from tidegate.operators.time import MAX_WATERMARK


async def passed(h: AsyncOperatorHarness[Any], seconds: float) -> int:
    """How many records have gone out when the time has gone by."""
    await h.clock.run(seconds, 0.005)
    await h.collect()
    return len(h.values)


async def test_records_pass_at_the_rate_in_their_order() -> None:
    """One per interval, from the first on; nothing more is taken in meanwhile."""
    async with AsyncOperatorHarness(RateLimit[int](10, input_type=int)) as h:
        h.push([1, 2, 3], [10, 20, 30], ["a", "b", "c"])
        assert await passed(h, 0.01) == 1
        assert not h.operator.ready
        assert await passed(h, 0.08) == 1
        assert await passed(h, 0.02) == 2
        assert await passed(h, 0.1) == 3
        assert h.operator.ready
        assert (h.output, h.keys) == ([(1, 10), (2, 20), (3, 30)], ["a", "b", "c"])


async def test_many_records_per_second_go_out_in_small_batches() -> None:
    """The rate holds; time in which nothing came is not saved up."""
    async with AsyncOperatorHarness(RateLimit[int](1000, input_type=int)) as h:
        h.push(range(50))
        assert 20 <= await passed(h, 0.03) <= 32
        assert await passed(h, 0.1) == 50
        await h.clock.run(1.0, 0.1)
        h.push(range(50))
        assert 70 <= await passed(h, 0.03) <= 82


async def test_a_watermark_waits_for_the_records_before_it() -> None:
    """And none is lost between them."""
    async with AsyncOperatorHarness(RateLimit[int](10, input_type=int)) as h:
        h.push([1, 2], [10, 20]).watermark(20)
        await passed(h, 0.05)
        assert (h.values, h.watermarks) == ([1], [])
        await passed(h, 0.1)
        assert (h.values, h.watermarks) == ([1, 2], [20])
        h.watermark(MAX_WATERMARK)
        await h.collect()
        assert h.watermarks == [20, MAX_WATERMARK]


@pytest.mark.parametrize("backend", ["dict", "rocksdb"])
async def test_what_is_held_survives_a_restore(backend: Any) -> None:
    """Each record goes out once."""
    async with AsyncOperatorHarness(RateLimit[int](10, input_type=int), backend=backend) as h:
        h.push([1, 2, 3], [10, 20, 30], ["a", "b", "c"])
        await passed(h, 0.01)
        await h.crash_and_restore()
        assert not h.operator.ready
        await passed(h, 1.0)
        assert (h.output, h.keys) == ([(1, 10), (2, 20), (3, 30)], ["a", "b", "c"])
        assert h.operator.idle


def test_a_job_that_crashes_lets_each_record_pass_once(tmp_path: Any) -> None:
    """With a checkpoint in the middle; the records' type is asked for where it is not known."""
    source, out = ScriptedSource([*range(6), BARRIER, *range(6, 9), CRASH, *range(9, 12)]), memory.sink()
    topology = Topology("limited")
    numbers = topology.source("numbers", source)
    with pytest.raises(TopologyError, match="input_type="):
        numbers.rate_limit(5)
    numbers.rate_limit(500, name="limit", input_type=int).sink("out", out)
    config = RunConfig(
        checkpoints=tmp_path, checkpoint_interval="1h", state_backend="dict", restart=restart.fixed_delay(3, "0ms")
    )
    assert asyncio.run(run_script(topology, source, config, executor=InlineExecutor())) is JobStatus.FINISHED
    assert out.values == list(range(12))


async def test_the_loop_goes_on_while_records_wait() -> None:
    """By the engine's clock: a hundred seconds pass in no time."""
    clock, out = ManualClock(), memory.sink()
    topology = Topology("slow")
    topology.source("numbers", memory.source(range(101))).rate_limit(1, name="limit", input_type=int).sink("out", out)
    async with start(topology, RunConfig(state_backend="dict"), clock=clock, executor=InlineExecutor()) as job:
        await job.began.wait()
        started = clock.monotonic()
        while len(out.values) < 101 and clock.monotonic() < started + 110:
            await clock.run(1.0, 0.5)
        assert clock.monotonic() - started >= 99
        assert await job.wait() is JobStatus.FINISHED
    assert out.values == list(range(101))


@pytest.mark.parametrize("rate", [0, -1, float("nan")])
def test_a_rate_of_nothing_is_refused(rate: float) -> None:
    """It would never let anything pass."""
    with pytest.raises(ValueError, match="above 0"):
        RateLimit[int](rate, input_type=int)
