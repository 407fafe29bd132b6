"""Topologies of each kind of operator, with what their sources give, for the simulator."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from random import Random
from typing import Any

import msgspec
import pytest
from tidegate.connectors import memory
from tidegate.engine import Stream, Topology
from tidegate.operators import (
    BroadcastState,
    Change,
    MapState,
    Operator,
    ProcessFunction,
    Watermarks,
    agg,
    patterns,
    windows,
)

_LAST_MS = 1_000_000
"""Later than any record."""


class Reading(msgspec.Struct, frozen=True):
    """`value` was seen for `key` at `at`."""

    key: str
    at: int
    value: int


def _pair(left: Reading | None, right: Reading | None) -> tuple[int | None, int | None]:
    return (left and left.value, right and right.value)


class Totals(ProcessFunction[Reading, tuple[str, int, int]]):
    """Gives out the total of each round 100 ms of a key."""

    TOTALS = MapState("totals", int, int)

    def states(self) -> Any:
        return [self.TOTALS]

    def open(self, context: Any) -> None:
        self.totals = context.state(self.TOTALS)

    def process(self, value: Reading, context: Any) -> None:
        end = (value.at // 100 + 1) * 100
        self.totals.put(end, (self.totals.get(end) or 0) + value.value)
        context.timers.set_event(end)

    def on_timer(self, timestamp_ms: int, context: Any) -> Any:
        yield (context.key, timestamp_ms, self.totals.get(timestamp_ms))
        self.totals.remove(timestamp_ms)


class Behind(Operator[Reading, tuple[str, int, int, bool]]):
    """Says of each record whether it stands behind the watermark; remembers nothing, so it is told anew after a restore."""

    kind = "behind"
    keyed = True
    needs_event_time = True

    def open(self, context: Any) -> None:
        self.context = context

    def process(self, batch: Any) -> Any:
        watermark_ms = self.context.watermark_ms
        return batch.with_values([(r.key, r.at, r.value, r.at <= watermark_ms) for r in batch.values])


class Copies(Operator[Reading, tuple[str, int, int]]):
    """Gets every record in every subtask, each of which gives out its share of them with how often it has had it: once."""

    SEEN: Any = BroadcastState("seen", Any, int)

    kind = "copies"

    def states(self) -> Any:
        return (self.SEEN,)

    def open(self, context: Any) -> None:
        self.context = context
        self.seen = context.state(self.SEEN).entries

    def process(self, batch: Any) -> Any:
        for r in batch.values:
            self.seen[r.key, r.value] = self.seen.get((r.key, r.value), 0) + 1
        share = [i for i, r in enumerate(batch.values) if r.value % self.context.parallelism == self.context.subtask]
        told = batch.take(share)
        return told.with_values([(r.key, r.value, self.seen[r.key, r.value]) for r in told.values])


class Left(ProcessFunction[Change[Any], tuple[Any, str, int]]):
    """Gives out what is left of each key when all changes have been made. On the way it depends on which of two streams came
    first; what is left does not."""

    COUNTS = MapState("counts", str, int)

    def states(self) -> Any:
        return [self.COUNTS]

    def open(self, context: Any) -> None:
        self.counts = context.state(self.COUNTS)

    def process(self, value: Change[Any], context: Any) -> None:
        row = repr(value.value)
        self.counts.put(row, (self.counts.get(row) or 0) + (1 if value.adds else -1))
        context.timers.set_event(_LAST_MS)

    def on_timer(self, timestamp_ms: int, context: Any) -> Any:
        for row, count in sorted(self.counts.items()):
            if count:
                yield (context.key, row, count)


async def _asked(reading: Reading) -> tuple[str, int]:
    await asyncio.sleep(reading.value % 7 / 100)
    return (reading.key, reading.value * 2)


def _flat(result: Any) -> tuple[str, int, int, int, int]:
    return (result.key, result.start_ms, result.end_ms, result.n, result.total)


def _readings(seed: int, keys: str, count: int, late: int = 0) -> list[Reading]:
    """Out of order by less than 40 ms, but for `late` of them."""
    random = Random(seed)
    behind = set(random.sample(range(count // 3, count), late))
    times = [10 * n + random.randrange(40) - (500 if n in behind else 0) for n in range(count)]
    return [Reading(random.choice(keys), max(0, at), n) for n, at in enumerate(times)]


def _windowed(stream: Stream[Reading], assigner: Any, lateness: str = "0ms") -> Stream[Any]:
    windowed = stream.key_by(lambda r: r.key, name="by-key").window(assigner, allowed_lateness=lateness)
    return windowed.aggregate(n=agg.count(), total=agg.sum("value"), name="window")


def _source(topology: Topology, *splits: list[Reading], name: str = "readings") -> Stream[Reading]:
    # Dealt out in turn, as `memory.source` does.
    records = [r for group in zip(*splits, strict=True) for r in group]
    return topology.source(
        name,
        memory.source(records, splits=len(splits), type=Reading),
        event_time="at",
        watermarks=Watermarks(out_of_orderness="50ms", idle_timeout="30s"),
    )


_RISE = (
    patterns.begin("low", Reading)
    .where(lambda r: r.value % 3 == 0)
    .followed_by("more")
    .where(lambda r, match: r.value % 3 == 1)
    .one_or_more()
    .followed_by("high")
    .where(lambda r, match: r.value % 3 == 2 and r.value > match["low"][0].value)
    .within("90ms")
)


def _steps(match: Any) -> tuple[str, int, list[tuple[str, list[int]]]]:
    return (match.key, match.start_ms, [(step, [r.value for r in match[step]]) for step in sorted(match.events)])


def _regular_joins(topology: Topology) -> None:
    """Two streams with records that are late, but not too late for the sessions."""
    left = _source(topology, _readings(7, "abc", 40, late=8), name="left").key_by("key", name="by-left")
    right = _source(topology, _readings(8, "abd", 40, late=8), name="right").key_by("key", name="by-right")
    left.regular_join(right, select=_pair, name="all").sink("all-out", memory.sink())
    newest = right.to_changes(name="newest")
    changing = left.regular_join(newest, how="outer", select=_pair, name="newest-of-right")
    changing.process(Left(), name="left-over").sink("left-over-out", memory.sink())
    gap = windows.session("20ms")
    together = left.join(right, gap, how="outer", allowed_lateness="2s", select=_pair, name="together")
    together.sink("together-out", memory.sink())


def _ranking(topology: Topology) -> None:
    """The three best of the newest records of some keys, joined as a table with another one."""
    newest = _source(topology, _readings(1, "abc", 40), _readings(2, "def", 40)).key_by("key", name="by-key")
    changes = newest.to_changes(deleted=lambda r: r.value % 7 == 0, name="newest")
    best = changes.key_by(lambda c: c.value.key < "e", key_type=bool, name="by-half").top_n(2, "value", name="best")
    table = best.key_by(lambda c: c.value.key, key_type=str, name="by-key-again").latest()
    others = _source(topology, _readings(9, "abef", 40), name="others").key_by("key", name="others-by-key").latest()
    joined = table.join(others, how="outer", select=_pair, name="both")
    joined.process(Left(), name="left-over").sink("left-over-out", memory.sink())
    totals = best.aggregate(n=agg.count(), total=agg.sum("value"), name="totals")
    totals.process(Left(), name="totals-left").sink("totals-out", memory.sink())


def _build(kind: str) -> Topology:
    topology = Topology(f"simulated-{kind}")
    if kind in ("late", "mostly-late"):
        stream = _source(topology, _readings(4, "ab", 60, late=8 if kind == "late" else 20))
        late = _windowed(stream, windows.tumbling("100ms"), "150ms")
        late.map(_flat, name="flat").sink("out", memory.sink())
        late.side_output("late").map(lambda r: (r.key, r.at, r.value), name="behind").sink("late", memory.sink())
        return topology
    if kind in ("behind", "mostly-behind"):
        stream = _source(topology, _readings(4, "abcd", 60, late=30 if kind == "mostly-behind" else 8))
        stream.key_by(lambda r: r.key, name="by-key").apply(Behind(), name="tell").sink("out", memory.sink())
        return topology
    if kind == "join":
        left = _source(topology, _readings(5, "abc", 40), name="left").key_by("key", name="by-left")
        right = _source(topology, _readings(6, "abd", 40), name="right").key_by("key", name="by-right")
        near = left.interval_join(right, lower="-50ms", upper="30ms", how="outer", select=_pair, name="near")
        near.sink("near-out", memory.sink())
        together = left.join(right, windows.sliding("100ms", "50ms"), how="left", select=_pair, name="together")
        together.sink("together-out", memory.sink())
        as_of = left.temporal_join(right.latest(), how="left", select=_pair, name="as-of")
        as_of.sink("as-of-out", memory.sink())
        return topology
    if kind == "regular":
        _regular_joins(topology)
        return topology
    if kind == "ranking":
        _ranking(topology)
        return topology
    # A key stands in one split only, so that the order of its records is one.
    stream = _source(topology, _readings(1, "abc", 40), _readings(2, "def", 40))
    out: Stream[Any]
    if kind == "stateless":
        out = stream.filter(lambda r: r.value % 3 != 0, name="thirds").map(lambda r: (r.key, r.value), name="pair")
    elif kind == "running":
        keyed = stream.key_by(lambda r: r.key, name="by-key")
        out = keyed.aggregate(n=agg.count(), total=agg.sum("value"), name="count").map(
            lambda r: (r.key, r.n, r.total), name="flat"
        )
    elif kind == "windows":
        out = _windowed(stream, windows.sliding("100ms", "40ms")).map(_flat, name="flat")
    elif kind == "sessions":
        out = _windowed(stream, windows.session("35ms")).map(_flat, name="flat")
    elif kind == "over":
        keyed = stream.key_by("key", name="by-key")
        in_time = keyed.over("60ms").aggregate(n=agg.count(), total=agg.sum("value"), name="in-time")
        in_time.map(lambda r: (r.key, r.value.value, r.n, r.total), name="flat-time").sink("in-time-out", memory.sink())
        fewer = keyed.dedupe("35ms", name="first").union(keyed.dedupe("50ms", keep="last", name="last"))
        fewer.map(lambda r: (r.key, r.value), name="fewer").sink("fewer-out", memory.sink())
        last = keyed.over(last=4).aggregate(high=agg.max("value"), total=agg.sum("value"), name="last-four")
        out = last.map(lambda r: (r.key, r.value.value, r.high, r.total), name="flat")
    elif kind == "pattern":
        found = stream.key_by("key", name="by-key").match(_RISE, name="rise", select=_steps)
        found.side_output("timed_out").map(_steps, name="tried").sink("tried-out", memory.sink())
        out = found
    elif kind == "timers":
        out = stream.key_by(lambda r: r.key, name="by-key").process(Totals(), name="totals")
    elif kind == "broadcast":
        out = stream.broadcast().apply(Copies(), name="copies")
    else:
        out = stream.map_async(_asked, name="ask", capacity=5)
    out.sink("out", memory.sink())
    return topology


@pytest.fixture
def build() -> Callable[[str], Topology]:
    """Makes the topology of a kind."""
    return _build
