"""From the arrival of a record to the write of its result, at a steady rate."""

from __future__ import annotations

import time
from array import array
from collections.abc import Sequence
from typing import Any, BinaryIO, Final

import msgspec
from tidegate.connectors.source import Fetch, Lag, Offset, SourceContext, Split
from tidegate.engine import KeyedStream, RunConfig, Topology
from tidegate.operators import agg, windows

from ..probe import ProbeSink
from ..scenario import BenchmarkError, Figures, Scenario, Setup, Wanted
from ..stopwatch import time_job

RATE_PER_S: Final = 20_000
N_KEYS: Final = 10_000
WARM_UP_S: Final = 2
"""Results of the first seconds do not count."""


class Tick(msgspec.Struct, gc=False):
    """A record that knows when it arrived.

    Attributes:
        key: one of `N_KEYS`.
        arrived_ns: when it was due, by the monotonic clock.
        time_ms: the same as event time.
    """

    key: int
    arrived_ns: int
    time_ms: int


class PacedSource:
    """Records that arrive by a timetable, whether anybody reads them or not: one who comes late finds them waiting, and
    they count as late from the moment at which they were due."""

    bounded = False
    finds_splits = False
    replayable = False
    type = Tick
    has_timestamps = True
    poll_interval_ms = 1

    def __init__(self, count: int) -> None:
        self.count = count

    async def discover(self, context: SourceContext, known: frozenset[str]) -> list[Split]:
        return [] if known else [Split("ticks")]

    def reader(self, context: SourceContext) -> PacedReader:
        return PacedReader(self.count)

    def describe(self) -> str:
        return f"{RATE_PER_S} ticks per second"


class PacedReader:
    """Gives out what is due."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._given = 0
        self._began_ns = 0
        self._began_ms = 0

    async def open(self, split: Split, offset: Offset | None) -> None:
        self._began_ns = time.monotonic_ns()
        self._began_ms = time.time_ns() // 1_000_000

    async def read(self, split_id: str, limit: int) -> Fetch[Tick]:
        due = (time.monotonic_ns() - self._began_ns) * RATE_PER_S // 1_000_000_000
        first, self._given = self._given, min(due, self._given + limit, self._count)
        ns, ms = self._began_ns, self._began_ms
        ticks = [
            Tick(i * 7919 % N_KEYS, ns + i * 1_000_000_000 // RATE_PER_S, ms + i * 1000 // RATE_PER_S)
            for i in range(first, self._given)
        ]
        return Fetch(ticks, self._given, timestamps=[tick.time_ms for tick in ticks], end=self._given == self._count)

    def lag(self, split_id: str) -> Lag | None:
        return None

    async def close(self) -> None:
        pass


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
    return figures | _percentiles(latencies[WARM_UP_S * RATE_PER_S :])


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
    return figures | _percentiles([latency for latency in latencies[WARM_UP_S * N_KEYS :] if latency > 0])


def _results(setup: Setup) -> BinaryIO:
    return (setup.work / "results.jsonl").open("ab", buffering=0)


def _ticks(setup: Setup) -> tuple[Topology, KeyedStream[int, Tick]]:
    topology = Topology("latency")
    return topology, topology.source("ticks", PacedSource(setup.events)).key_by(lambda tick: tick.key)


def _config(setup: Setup) -> RunConfig:
    return RunConfig(checkpoints=setup.work / "checkpoints", checkpoint_interval="1s", restore=None)


def _percentiles(latencies_ns: Sequence[int]) -> Figures:
    ordered = sorted(latencies_ns)
    if not ordered:
        raise BenchmarkError(f"latency: everything was over within {WARM_UP_S} s of warm-up: take more events")
    last = len(ordered) - 1
    shares = {"p50_ms": 0.5, "p99_ms": 0.99, "p999_ms": 0.999, "worst_ms": 1.0}
    return {name: ordered[int(share * last)] / 1e6 for name, share in shares.items()}


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
