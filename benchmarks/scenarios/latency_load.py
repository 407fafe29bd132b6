"""From the arrival of a record to the write of its result, at shares of the highest rate that the machine can take."""

from __future__ import annotations

import time
from array import array
from collections.abc import Callable
from itertools import pairwise
from typing import Any, Final

from tidegate.engine import RunConfig, Topology
from tidegate.operators import agg

from ..paced import PacedSource, percentiles
from ..probe import ProbeSink
from ..scenario import BenchmarkError, Figures, Scenario, Setup, Wanted
from ..stopwatch import time_job

SHARES: Final = {"load-10": 10, "load-50": 50, "load-90": 90}
"""Sides, and the share of the highest rate in per cent."""

N_KEYS: Final = 10_000
LASTS_S: Final = 20
WARM_UP_S: Final = 2
_ALL_AT_ONCE_PER_S: Final = 1_000_000_000


def _run(setup: Setup, count: int, rate_per_s: int) -> tuple[Figures, array[int]]:
    """The job: a running aggregate with a checkpoint every second, each record's result written at once. What it took,
    and the nanoseconds of each record."""
    latencies, used = array("q"), array("q", [time.thread_time_ns()])

    def look(values: list[Any]) -> None:
        used.append(time.thread_time_ns())
        now = time.monotonic_ns()
        latencies.extend([now - value.arrived_ns for value in values])

    topology = Topology("latency-load")
    ticks = topology.source("ticks", PacedSource(count, rate_per_s, N_KEYS)).key_by(lambda tick: tick.key)
    results = ticks.aggregate(n=agg.count(), arrived_ns=agg.max("arrived_ns"), name="totals")
    # Each side has checkpoints of its own.
    config = RunConfig(checkpoints=setup.work / f"checkpoints-{rate_per_s}", checkpoint_interval="1s", restore=None)
    with (setup.work / "results.jsonl").open("wb", buffering=0) as file:
        results.sink("out", ProbeSink(look, file))
        figures = time_job(topology, config)
    if len(latencies) != count:
        raise BenchmarkError(f"latency-load: {count} records gave {len(latencies)} results")
    # The first step is the start.
    steps = sorted([after - before for before, after in pairwise(used[1:])]) or [0]
    figures["step_cpu_p99_ms"] = steps[int(0.99 * (len(steps) - 1))] / 1e6
    figures["step_cpu_worst_ms"] = steps[-1] / 1e6
    return figures, latencies


def maximum(setup: Setup) -> Figures:
    """All records are due at once: how many the job takes in a second."""
    figures, _ = _run(setup, setup.events, _ALL_AT_ONCE_PER_S)
    rate = setup.events / figures["run_s"]
    (setup.work / "maximum").write_text(str(rate), encoding="ascii")
    return figures | {"events_per_s": rate}


def at_share(percent: int) -> Callable[[Setup], Figures]:
    """The side of a share of the rate that `maximum` has found in the same repetition."""

    def measure(setup: Setup) -> Figures:
        rate = round(float((setup.work / "maximum").read_text(encoding="ascii")) * percent / 100)
        figures, latencies = _run(setup, rate * LASTS_S, rate)
        counted = latencies[WARM_UP_S * rate :]
        return figures | percentiles("latency-load", counted) | {"events_per_s": rate}

    return measure


SCENARIO = Scenario(
    title="arrival to sink write at 10 %, 50 % and 90 % of the highest rate, a checkpoint every second",
    sides={"maximum": maximum} | {side: at_share(percent) for side, percent in SHARES.items()},
    events=4_000_000,
    wanted=(
        Wanted("load-10.p99_ms", "at_most", 20.0, "at 10 % p99 within 20 ms"),
        Wanted("load-50.p99_ms", "at_most", 50.0, "at 50 % p99 within 50 ms"),
    ),
    reads_bids=False,
    repeat=3,
    warm_up=False,
    note="The highest rate is measured first in each repetition, with everything due at once. Records are due by a "
    "timetable, so a pause counts for every record that waits through it. `step_cpu` is processor time between two writes.",
)
