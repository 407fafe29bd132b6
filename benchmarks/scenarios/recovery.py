"""How long it takes from nothing to the first new result, with a large state to restore."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from typing import Any

import msgspec
from tidegate.connectors import generator
from tidegate.engine import RunConfig, Topology, start
from tidegate.operators import agg

from ..probe import Look, ProbeSink
from ..scenario import BenchmarkError, Figures, Scenario, Setup, Wanted
from ..stopwatch import Stopwatch, print_result


class Reading(msgspec.Struct, gc=False):
    """What a sensor says."""

    sensor: int
    value: int


def topology(setup: Setup, look: Look) -> Topology:
    """Count and sum per sensor; every sensor has had one reading after `events` of them, and more follow without end."""
    n_sensors = setup.events

    def reading(index: int) -> Reading:
        return Reading(index % n_sensors, index)

    made = Topology("recovery")
    readings = made.source("readings", generator.records(reading, type=Reading))
    totals = readings.key_by("sensor").aggregate(n=agg.count(), total=agg.sum("value"), name="totals")
    totals.sink("out", ProbeSink(look))
    return made


def config(setup: Setup) -> RunConfig:
    """Checkpoints are taken when they are asked for."""
    return RunConfig(checkpoints=setup.work / "checkpoints", checkpoint_interval="1d")


def build(setup: Setup) -> Figures:
    """Fill the state, take a checkpoint, read on, and die."""
    return asyncio.run(_build(setup))


async def _build(setup: Setup) -> Figures:
    is_filled, goes_on = asyncio.Event(), asyncio.Event()
    seen = 0

    def look(values: list[Any]) -> None:
        nonlocal seen
        seen += len(values)
        if seen >= setup.events:
            if is_filled.is_set():
                goes_on.set()
            is_filled.set()

    watch = Stopwatch()
    async with start(topology(setup, look), config(setup)) as job:
        await is_filled.wait()
        figures = watch.read()
        watch.start()
        await job.checkpoint()
        figures["checkpoint_s"] = watch.read()["run_s"]
        goes_on.clear()
        await goes_on.wait()
        print_result(figures)
        os.kill(os.getpid(), signal.SIGKILL)
        await job.wait()
    return figures


def restore(setup: Setup) -> Figures:
    """Start again, until results for a tenth of the keys are written; the first of them is what counts."""
    return asyncio.run(_restore(setup))


async def _restore(setup: Setup) -> Figures:
    enough = asyncio.Event()
    first: list[Any] = []
    first_ns = seen = 0

    def look(values: list[Any]) -> None:
        nonlocal first_ns, seen
        if not first:
            first_ns = time.monotonic_ns()
            first.extend(values)
        seen += len(values)
        if seen >= setup.events // 10:
            enough.set()

    watch = Stopwatch()
    began_ns = time.monotonic_ns()
    async with start(topology(setup, look), config(setup)) as job:
        await enough.wait()
        figures = watch.read()
        await job.cancel()
    wrong = [value for value in first if value.n < 2]
    if wrong:
        raise BenchmarkError(f"recovery: the state was not restored: {wrong[0]}, and every sensor had a reading before")
    figures["from_start_s"] = (first_ns - began_ns) / 1e9
    figures["from_process_s"] = (first_ns - setup.spawned_ns) / 1e9
    return figures


SCENARIO = Scenario(
    title="kill -9 with 1,000,000 keys of state: time to the first new result",
    sides={"build": build, "restore": restore},
    events=1_000_000,
    wanted=(
        Wanted("restore.from_start_s", "at_most", 2.0, "from start() to the first new result within 2 s"),
        Wanted("restore.from_process_s", "at_most", 2.0, "from the start of the process within 2 s"),
    ),
    killed=frozenset({"build"}),
    reads_bids=False,
    warm_up=False,
    note="Events are keys. The files of the checkpoint are likely in the page cache, as after a crash of the process "
    "alone. State is read when its key comes: `run_s` is the time to results for a tenth of the keys.",
)
