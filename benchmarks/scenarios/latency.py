"""From the arrival of a record to the write of its result, at a steady rate."""

from __future__ import annotations

import time
from array import array
from typing import Any, BinaryIO, Final

from tidegate.engine import KeyedStream, RunConfig, Topology
from tidegate.operators import agg, windows

from ..paced import PacedSource, Tick, percentiles
from ..probe import ProbeSink
from ..scenario import Figures, Scenario, Setup, Wanted
from ..stopwatch import time_job

RATE_PER_S: Final = 20_000
N_KEYS: Final = 10_000
WARM_UP_S: Final = 2
"""Results of the first seconds do not count."""


def per_record(setup: Setup) -> Figures:
    """A running aggregate: every record has a result, and the time between the two counts."""
    latencies = array("q")

    def look(values: list[Any]) -> None:
        now = time.monotonic_ns()
        latencies.extend([now - value.arrived_ns for value in values])

    with _results(setup) as file:
        topology, ticks = _ticks(setup)
        results = ticks.aggregate(n=agg.count(), arrived_ns=agg.max("arrived_ns"), name="totals")
        results.sink("out", ProbeSink(look, file))
        figures = time_job(topology, _config(setup))
    return figures | percentiles("latency", latencies[WARM_UP_S * RATE_PER_S :])


def per_window(setup: Setup) -> Figures:
    """One-second windows: the time from the moment at which a window is complete to the write of each of its results."""
    latencies = array("q")
    skew_ns = time.time_ns() - time.monotonic_ns()

    def look(values: list[Any]) -> None:
        now = time.monotonic_ns() + skew_ns
        latencies.extend([now - value.end_ms * 1_000_000 for value in values])

    with _results(setup) as file:
        topology, ticks = _ticks(setup)
        results = ticks.window(windows.tumbling("1s")).aggregate(n=agg.count(), name="totals")
        results.sink("out", ProbeSink(look, file))
        figures = time_job(topology, _config(setup))
    # The last windows are complete because the stream ends, ahead of their time.
    return figures | percentiles("latency", [latency for latency in latencies[WARM_UP_S * N_KEYS :] if latency > 0])


def _results(setup: Setup) -> BinaryIO:
    return (setup.work / "results.jsonl").open("ab", buffering=0)


def _ticks(setup: Setup) -> tuple[Topology, KeyedStream[int, Tick]]:
    topology = Topology("latency")
    return topology, topology.source("ticks", PacedSource(setup.events, RATE_PER_S, N_KEYS)).key_by(
        lambda tick: tick.key
    )


def _config(setup: Setup) -> RunConfig:
    return RunConfig(checkpoints=setup.work / "checkpoints", checkpoint_interval="1s", restore=None)


SCENARIO = Scenario(
    title="20,000 records per second: arrival to sink write, a checkpoint every second",
    sides={"per-record": per_record, "per-window": per_window},
    events=400_000,
    wanted=(Wanted("per-record.p99_ms", "at_most", 20.0, "p99 of a record's result within 20 ms"),),
    reads_bids=False,
    repeat=3,
    warm_up=False,
    note="Records are due by a timetable, so a pause counts for every record that waits through it. Per window: 10,000 "
    "results at once, each counted from the end of its window.",
)
