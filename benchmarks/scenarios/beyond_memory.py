"""State ten times as large as its memory, against the same in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from random import Random
from typing import Any, Final

import msgspec
from tidegate.connectors import generator
from tidegate.engine import RunConfig, Topology, start
from tidegate.operators import agg

from ..probe import ProbeSink
from ..scenario import BenchmarkError, Figures, Scenario, Setup, Wanted
from ..stopwatch import Stopwatch

ChooseKey = Callable[[Random, int], int]
"""Chooses one of so many keys by chance."""

_STRIDE: Final = 7_368_787
"""A prime: keys that are close are far apart in the database."""
_RECORDS_PER_KEY: Final = 4
_ENTRY_BYTES: Final = 150
"""About what a key and its accumulator take in memory."""


class Reading(msgspec.Struct, gc=False):
    """What a sensor says."""

    sensor: int
    value: int


def side(choose: ChooseKey, share: float | None) -> Callable[[Setup], Figures]:
    """A running count and sum per sensor: all of them have had a reading before the clock runs.

    Args:
        choose: the sensor of a record.
        share: memory for this share of the state; None for all of it.
    """
    return lambda setup: asyncio.run(_measure(setup, choose, share))


async def _measure(setup: Setup, choose: ChooseKey, share: float | None) -> Figures:
    n_keys = setup.events
    count = n_keys * (1 + _RECORDS_PER_KEY)
    seen = 0
    is_full, is_over = asyncio.Event(), asyncio.Event()

    def reading(random: Random, index: int) -> Reading:
        return Reading((index if index < n_keys else choose(random, n_keys)) * _STRIDE % n_keys, index)

    def look(values: list[Any]) -> None:
        nonlocal seen
        seen += len(values)
        if seen >= n_keys:
            is_full.set()
        if seen >= count:
            is_over.set()

    made = Topology("beyond-memory")
    readings = made.source("readings", generator.records(reading, type=Reading))
    totals = readings.key_by("sensor").aggregate(n=agg.count(), total=agg.sum("value"), name="totals")
    totals.sink("out", ProbeSink(look))
    budget = 16 << 30 if share is None else int(n_keys * _ENTRY_BYTES * share)
    async with start(made, RunConfig(memory_budget=budget)) as job:
        await is_full.wait()
        seen_before = seen
        watch = Stopwatch()
        await is_over.wait()
        figures: Figures = watch.read() | {"events": float(seen - seen_before)}
        memory = job.measures.operator("totals", 0).state_memory_bytes
        await job.cancel()
    if share is None and not 0.8 < memory / (n_keys * _ENTRY_BYTES) < 1.5:
        raise BenchmarkError(f"an entry takes {memory / n_keys:.0f} bytes, not about {_ENTRY_BYTES}")
    return figures | {"state_memory_mb": memory / 1e6}


def beyond_memory(title: str, choose: ChooseKey, least: float) -> Scenario:
    """A tenth of the state fits into memory, against all of it."""
    return Scenario(
        title=title,
        sides={"a-tenth": side(choose, 0.1), "in-memory": side(choose, None)},
        events=1_000_000,
        reference="in-memory",
        wanted=(Wanted("ratio", "at_least", least, f"at least {least:.2f} of the rate in memory"),),
        reads_bids=False,
        one_core=False,
        repeat=3,
        warm_up=False,
        note="Events are keys; four records per key are timed, after one for each that fills the state.",
    )
