"""What a job says when asked why nothing comes out."""

import asyncio

from tidegate.connectors import memory
from tidegate.engine import RunConfig, Topology, start
from tidegate.engine.testing import Pause, ScriptedSource
from tidegate.operators import Watermarks, agg, windows


def _job(source):
    """Windows of a second over numbers that are their own event time."""
    topology = Topology("waiting")
    (
        topology.source("numbers", source, event_time=lambda n: n, watermarks=Watermarks(idle_timeout=None))
        .key_by(lambda n: "all")
        .window(windows.tumbling("1s"))
        .aggregate(n=agg.count())
        .sink("out", memory.sink())
    )
    return start(topology, RunConfig())


async def _until_both_pause(source):
    while len(source.at_pause) < 2:  # noqa: ASYNC110  # it is the engine that changes it, and has no event for it
        await asyncio.sleep(0)


async def test_the_split_that_holds_the_watermark_back_is_named():
    """Split 1 stands at 1970-01-01T00:00:00.500; split 0 is far ahead and holds nobody back."""
    source = ScriptedSource([100, 90_000, Pause()], [501, Pause()], bounded=False)
    async with _job(source) as job:
        await _until_both_pause(source)
        (reason,) = [reason for reason in job.why_waiting() if "holds the watermark" in reason]
        assert reason.startswith("numbers[0]: split 1 holds the watermark at 1970-01-01T00:00:00.500Z")
        await job.cancel()


async def test_a_split_that_has_given_nothing_is_named():
    """It may be the reason why no window ever fires."""
    source = ScriptedSource([100, Pause()], [Pause(), 5], bounded=False)
    async with _job(source) as job:
        await _until_both_pause(source)
        assert "numbers[0]: split 1 has given no record yet" in job.why_waiting()
        await job.cancel()


async def test_a_job_that_does_not_run_says_so():
    """Before its start and after its end there is nothing else to say."""
    source = ScriptedSource([1, 2, 3])
    job = _job(source)
    assert job.why_waiting() == ["the job is created"]
    async with job:
        await job.wait()
    assert job.why_waiting() == ["the job is finished"]
