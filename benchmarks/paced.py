"""Records that arrive by a timetable, and how long they took."""

from __future__ import annotations

import time
from collections.abc import Sequence

import msgspec
from tidegate.connectors.source import Fetch, Lag, Offset, SourceContext, Split

from .scenario import BenchmarkError, Figures


class Tick(msgspec.Struct, gc=False):
    """A record that knows when it arrived.

    Attributes:
        key: one of those that the source has.
        arrived_ns: when it was due, by the monotonic clock.
        time_ms: the same as event time.
    """

    key: int
    arrived_ns: int
    time_ms: int


class PacedSource:
    """Records that arrive by a timetable, whether anybody reads them or not: one who comes late finds them waiting, and
    they count as late from the moment at which they were due.

    Args:
        count: how many.
        rate_per_s: how many are due in a second.
        n_keys: how many keys they have, in turn but in no order.
    """

    bounded = False
    finds_splits = False
    replayable = False
    type = Tick
    has_timestamps = True
    poll_interval_ms = 1

    def __init__(self, count: int, rate_per_s: int, n_keys: int) -> None:
        self.count = count
        self.rate_per_s = rate_per_s
        self.n_keys = n_keys

    async def discover(self, context: SourceContext, known: frozenset[str]) -> list[Split]:
        return [] if known else [Split("ticks")]

    def reader(self, context: SourceContext) -> PacedReader:
        return PacedReader(self)

    def describe(self) -> str:
        return f"{self.rate_per_s} ticks per second"


class PacedReader:
    """Gives out what is due."""

    def __init__(self, source: PacedSource) -> None:
        self._source = source
        self._given = 0
        self._began_ns = 0
        self._began_ms = 0

    async def open(self, split: Split, offset: Offset | None) -> None:
        self._began_ns = time.monotonic_ns()
        self._began_ms = time.time_ns() // 1_000_000

    async def read(self, split_id: str, limit: int) -> Fetch[Tick]:
        count, rate, n_keys = self._source.count, self._source.rate_per_s, self._source.n_keys
        due = (time.monotonic_ns() - self._began_ns) * rate // 1_000_000_000
        first, self._given = self._given, min(due, self._given + limit, count)
        ns, ms = self._began_ns, self._began_ms
        ticks = [
            Tick(i * 7919 % n_keys, ns + i * 1_000_000_000 // rate, ms + i * 1000 // rate)
            for i in range(first, self._given)
        ]
        return Fetch(ticks, self._given, timestamps=[tick.time_ms for tick in ticks], end=self._given == count)

    def lag(self, split_id: str) -> Lag | None:
        return None

    async def close(self) -> None:
        pass


def percentiles(name: str, latencies_ns: Sequence[int]) -> Figures:
    """The middle, the tail and the worst of what was measured, in milliseconds.

    Args:
        name: the scenario's.
        latencies_ns: what was measured.

    Raises:
        BenchmarkError: nothing was.

    >>> percentiles("latency", [2_000_000, 1_000_000, 4_000_000])["p50_ms"]
    2.0
    """
    ordered = sorted(latencies_ns)
    if not ordered:
        raise BenchmarkError(f"{name}: everything was over within the warm-up: take more events")
    last = len(ordered) - 1
    shares = {"p50_ms": 0.5, "p99_ms": 0.99, "p999_ms": 0.999, "worst_ms": 1.0}
    return {figure: ordered[int(share * last)] / 1e6 for figure, share in shares.items()}
