"""The scripted source itself: what the crash tests stand on."""

from __future__ import annotations

from typing import Any

import pytest
from tidegate.connectors import memory
from tidegate.engine import RunConfig, Topology, restart, start
from tidegate.engine.executor import InlineExecutor
from tidegate.engine.testing import BARRIER, CRASH, END, ManualClock, Pause, ScriptedSource, SourceSuite, run_script


class TestScriptedSource(SourceSuite):
    """The contract of sources, held by scripts."""

    def source(self) -> Any:
        return ScriptedSource([1, 2, 3, 4], [5, 6], fetch_sizes=[2, 1])

    def expected(self) -> Any:
        return {"0": [1, 2, 3, 4], "1": [5, 6]}


def _topology(source: Any, sink: Any) -> Topology:
    topology = Topology("scripted")
    topology.source("numbers", source).sink("out", sink)
    return topology


async def test_what_follows_the_end_is_never_read():
    """`END` is the end of the stream, and the oracle's records stop there too."""
    source, sink = ScriptedSource([1, END, 2], [3]), memory.sink()
    await run_script(_topology(source, sink), source)
    assert sorted(sink.values) == [1, 3] == sorted(source.records)


async def test_a_crash_happens_once():
    """Each `CRASH` ends one attempt; the one after it reads on."""
    source, sink, events = ScriptedSource([1, CRASH, CRASH, 2, CRASH]), memory.sink(), []
    config = RunConfig(restart=restart.fixed_delay(9, "0ms"))
    await run_script(_topology(source, sink), source, config, on_event=lambda name, _: events.append(name))
    assert events.count("job_restarting") == 3
    assert sink.values == [1, 2]


async def test_a_barrier_is_where_the_script_says(tmp_path):
    """The checkpoint holds the records before it and none behind."""
    counts: list[int] = []

    def on_event(name: str, facts: dict[str, Any]) -> None:
        if name == "checkpoint_completed":
            counts.append(facts["records"])

    source, sink = ScriptedSource([1, 2, BARRIER, 3, BARRIER, BARRIER, 4], fetch_sizes=[100]), memory.sink()
    config = RunConfig(checkpoints=tmp_path, checkpoint_interval="1h")
    await run_script(_topology(source, sink), source, config, on_event=on_event)
    assert counts == [2, 3, 3, 4]


async def test_a_pause_lasts_as_long_as_the_clock_says():
    """Time is the engine's: nothing comes until it has passed."""
    clock, out = ManualClock(), memory.channel()
    source = ScriptedSource([1, Pause(10), 2], bounded=False)
    config = RunConfig(state_backend="dict")
    async with start(_topology(source, out), config, clock=clock, executor=InlineExecutor()) as job:
        await job.began.wait()
        for _ in range(100):
            await clock.run(0.01)
            if source.at_pause:
                break
        assert source.at_pause == {"0"}
        await clock.run(9.9)  # the pause may have begun a step before it was seen
        assert [*out._values] == [1]
        await clock.run(2)  # a silent split is asked once a second
        assert [*out._values] == [1, 2]
        await job.cancel()


@pytest.mark.parametrize("make", [ScriptedSource, lambda: ScriptedSource([1], fetch_sizes=[0])])
def test_a_script_that_makes_no_sense_is_refused(make):
    """At least one split, and fetches of at least one record."""
    with pytest.raises(ValueError, match="ScriptedSource"):
        make()
