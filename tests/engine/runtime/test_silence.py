"""Subtasks without anything to read hold nobody back, whenever they come to say so."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tidegate.connectors import memory
from tidegate.engine import RunConfig, Topology, start
from tidegate.engine.executor import InlineExecutor
from tidegate.engine.plan import Chained, make_plan
from tidegate.engine.runtime.silence import passes_silence_on, silent_inputs
from tidegate.engine.testing import ScriptedSource
from tidegate.operators import Watermarks, agg, windows


async def _same(value: int) -> int:
    return value


def _topology(source: Any, beside: Any, out: Any, late: Any, *, through_calls: bool) -> Topology:
    """Counts in windows of a second, and writes the records as they come to a sink beside, in the chain of the source."""
    topology = Topology("silence")
    stream = topology.source("times", source, event_time=lambda t: t, watermarks=Watermarks())
    stream.sink("beside", beside)
    called = stream.map_async(_same, name="call", input_type=int) if through_calls else stream
    windowed = called.key_by(lambda t: "all", name="by-all").window(windows.tumbling("1s"))
    counted = windowed.aggregate(n=agg.count(), name="count")
    counted.map(lambda w: (w.start_ms, w.n), name="flat").sink("out", out)
    counted.side_output("late").sink("late", late)
    return topology


def _chains() -> dict[str, Chained]:
    topology = _topology(memory.source([1]), *(memory.sink() for _ in range(3)), through_calls=True)
    return {chain.head.name: chain for chain in make_plan(topology, 3, 128).chains}


def test_a_channel_is_silent_when_its_sender_is():
    """By a hash every subtask has a channel from each sender, by forward the one from its own."""
    chains = _chains()
    silent = {(chains["times"], 1), (chains["times"], 2), (chains["call"], 1)}
    assert [silent_inputs(chains["call"], n, silent) for n in range(3)] == [[False], [True], [True]]
    assert silent_inputs(chains["count"], 0, silent) == [False, True, False]


def test_calls_in_flight_at_a_checkpoint_are_heard_first():
    """Their results are still to come, whether anything new does or not."""
    chains = _chains()
    assert passes_silence_on(chains["call"], [True], restored=False)
    assert not passes_silence_on(chains["call"], [True], restored=True)
    assert passes_silence_on(chains["count"], [True, True, True], restored=True)
    assert not passes_silence_on(chains["count"], [True, False, True], restored=False)


class _OpensAfter:
    """A sink whose writers, but the first, open when they are let."""

    guarantee = "at_least_once"

    def __init__(self, let: asyncio.Event) -> None:
        self._let = let

    def writer(self, context: Any) -> Any:
        return _Writer(self._let if context.subtask else None)

    async def commit(self, context: Any, committables: Any) -> None: ...
    async def recover(self, context: Any, checkpoint_id: Any, committables: Any) -> None: ...


class _Writer:
    def __init__(self, let: asyncio.Event | None) -> None:
        self._let = let

    async def open(self) -> None:
        if self._let is not None:
            await self._let.wait()

    async def write(self, batch: Any) -> None: ...
    async def prepare_commit(self, checkpoint_id: int) -> Any:
        return []

    async def close(self) -> None: ...


@pytest.mark.parametrize("through_calls", [False, True])
async def test_what_is_late_does_not_wait_for_subtasks_without_a_split(through_calls):
    """One split, three subtasks: two of them begin long after its last record, which is late all the same."""
    let = asyncio.Event()
    out, late = memory.channel(), memory.channel()
    source = ScriptedSource([500, 10_000, 200], fetch_sizes=[1], bounded=False)
    topology = _topology(source, _OpensAfter(let), out, late, through_calls=through_calls)
    config = RunConfig(state_backend="dict", parallelism=3)
    async with start(topology, config, executor=InlineExecutor()) as job:
        async with asyncio.timeout(20):
            assert await anext(aiter(late)) == 200
            assert await anext(aiter(out)) == (0, 1)
        let.set()
        await job.cancel()
