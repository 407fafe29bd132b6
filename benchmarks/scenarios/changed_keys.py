"""A million keys changed between two checkpoints: how long nothing comes out."""

from __future__ import annotations

import asyncio
import time
from typing import Any, Final

import msgspec
from tidegate.connectors import generator
from tidegate.engine import RunConfig, Topology, start
from tidegate.operators import agg

from ..probe import ProbeSink
from ..scenario import Figures, Scenario, Setup, Wanted
from ..stopwatch import Stopwatch

_CHECKPOINTS: Final = 5


class Reading(msgspec.Struct, gc=False):
    """What a sensor says."""

    sensor: int
    value: int


def measure(setup: Setup) -> Figures:
    """Every key is touched, then a checkpoint is taken while more records come."""
    return asyncio.run(_measure(setup))


async def _measure(setup: Setup) -> Figures:
    n_keys = setup.events
    seen = wanted = 0
    enough = asyncio.Event()
    gaps: list[float] = []
    last = 0.0

    def reading(index: int) -> Reading:
        return Reading(index % n_keys, index)

    def look(values: list[Any]) -> None:
        nonlocal seen, last
        seen += len(values)
        now = time.monotonic()
        gaps.append((now - last) * 1000)
        last = now
        if seen >= wanted:
            enough.set()

    made = Topology("changed-keys")
    readings = made.source("readings", generator.records(reading, type=Reading))
    totals = readings.key_by("sensor").aggregate(n=agg.count(), total=agg.sum("value"), name="totals")
    totals.sink("out", ProbeSink(look))
    syncs, durations, worst, usual = [], [], [], []
    config = RunConfig(checkpoints=setup.work / "checkpoints", checkpoint_interval="1d", memory_budget="4GB")
    watch = Stopwatch()
    async with start(made, config) as job:
        for _ in range(_CHECKPOINTS):
            wanted = seen + n_keys
            enough.clear()
            await enough.wait()
            usual.append(max(gaps[1:], default=0.0))
            gaps.clear()
            await job.checkpoint()
            worst.append(max(gaps[1:], default=0.0))
            gaps.clear()
            syncs.append(job.measures.checkpoints.last_sync_ms)
            durations.append(job.measures.checkpoints.last_duration_ms)
        figures = watch.read()
        await job.cancel()
    return figures | {
        "sync_worst_ms": max(syncs),
        "gap_worst_ms": max(worst),
        "gap_without_worst_ms": max(usual),
        "checkpoint_s": sum(durations) / len(durations) / 1000,
        "records_per_s": seen / figures["run_s"],
    }


SCENARIO = Scenario(
    title="1,000,000 keys changed between two checkpoints: how long nothing comes out",
    sides={"job": measure},
    events=1_000_000,
    wanted=(Wanted("job.sync_worst_ms", "at_most", 50, "a checkpoint holds the subtask up for 50 ms at most"),),
    reads_bids=False,
    one_core=False,
    repeat=3,
    warm_up=False,
    note="Events are keys. A gap is the time between two batches of results, with a checkpoint in the making, and without.",
)
