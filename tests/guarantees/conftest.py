"""One topology of each kind of operator, and what it must give: the oracles know nothing of batches, state or
checkpoints."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tidegate.connectors import files, formats
from tidegate.engine import Stream, Topology
from tidegate.operators import ProcessFunction, ValueState, Watermarks, agg, windows
from tidegate.operators.time import MAX_WATERMARK, MIN_WATERMARK


class Reading(msgspec.Struct, frozen=True):
    """A record of the tests: `value` was seen for `key` at `at`."""

    key: str
    at: int
    value: int


class Totals(ProcessFunction[Reading, tuple[str, int, int]]):
    """Gives out a key's total at every round 100 ms in which it had records."""

    TOTAL = ValueState("total", int)

    def states(self) -> Any:
        return [self.TOTAL]

    def open(self, context: Any) -> None:
        self.total = context.state(self.TOTAL)

    def process(self, value: Reading, context: Any) -> None:
        self.total.set((self.total.get() or 0) + value.value)
        context.timers.set_event((value.at // 100 + 1) * 100)

    def on_timer(self, timestamp_ms: int, context: Any) -> Any:
        yield (context.key, timestamp_ms, self.total.get())


async def _asked(reading: Reading) -> tuple[str, int]:
    return (reading.key, reading.value * 2)


def _flat(result: Any) -> tuple[str, int, int, int, int]:
    return (result.key, result.start_ms, result.end_ms, result.n, result.total)


def _windowed(stream: Stream[Reading], assigner: Any, lateness: str) -> Stream[Any]:
    windowed = stream.key_by(lambda r: r.key, name="by-key").window(assigner, allowed_lateness=lateness)
    return windowed.aggregate(n=agg.count(), total=agg.sum("value"), name="window").map(_flat, name="flat")


def _build(
    kind: str,
    source: Any,
    sink: Any,
    *,
    out_of_orderness: str = "50ms",
    allowed_lateness: str = "0ms",
    idle_timeout: str | None = "30s",
) -> Topology:
    topology = Topology("guarantee")
    watermarks = Watermarks(out_of_orderness=out_of_orderness, idle_timeout=idle_timeout)
    stream = topology.source("readings", source, event_time="at", watermarks=watermarks)
    out: Stream[Any]
    if kind == "stateless":
        out = stream.filter(lambda r: r.value % 3 != 0, name="thirds").map(lambda r: (r.key, r.value), name="pair")
    elif kind == "keyed":
        keyed = stream.key_by(lambda r: r.key, name="by-key").aggregate(
            n=agg.count(), total=agg.sum("value"), name="count"
        )
        out = keyed.map(lambda r: (r.key, r.n, r.total), name="flat")
    elif kind == "tumbling":
        out = _windowed(stream, windows.tumbling("100ms"), allowed_lateness)
    elif kind == "sliding":
        out = _windowed(stream, windows.sliding("100ms", "40ms"), allowed_lateness)
    elif kind == "session":
        out = _windowed(stream, windows.session("60ms"), allowed_lateness)
    elif kind == "process":
        out = stream.key_by(lambda r: r.key, name="by-key").process(Totals(), name="totals")
    else:
        out = stream.map_async(_asked, name="ask", input_type=Reading, capacity=3)
    out.sink("out", sink)
    return topology


def _expected(
    kind: str, readings: Sequence[Reading], *, out_of_orderness: int = 50, allowed_lateness: int = 0
) -> list[Any]:
    """What one split with these records must give, in no order. Sessions: without late records only."""
    if kind == "stateless":
        return sorted((r.key, r.value) for r in readings if r.value % 3)
    if kind == "map_async":
        return sorted((r.key, r.value * 2) for r in readings)
    if kind == "keyed":
        return sorted(_running(readings))
    if kind == "process":
        return sorted(_timed(readings, out_of_orderness))
    if kind == "session":
        return sorted(_sessions(readings, 60))
    size, slide = (100, 100) if kind == "tumbling" else (100, 40)
    return sorted(_fired(readings, size, slide, out_of_orderness, allowed_lateness))


def _running(readings: Sequence[Reading]) -> list[Any]:
    counts: dict[str, int] = {}
    totals: dict[str, int] = {}
    out = []
    for r in readings:
        counts[r.key] = counts.get(r.key, 0) + 1
        totals[r.key] = totals.get(r.key, 0) + r.value
        out.append((r.key, counts[r.key], totals[r.key]))
    return out


def _watermarks(readings: Sequence[Reading], out_of_orderness: int) -> list[int]:
    """The watermark before each record, and the final one."""
    marks, highest = [], MIN_WATERMARK
    for r in readings:
        marks.append(highest)
        highest = max(highest, r.at - out_of_orderness - 1)
    return [*marks, MAX_WATERMARK]


def _timed(readings: Sequence[Reading], out_of_orderness: int) -> list[Any]:
    totals: dict[str, int] = {}
    timers: set[tuple[int, str]] = set()
    out = []
    for watermark, r in zip(_watermarks(readings, out_of_orderness), [*readings, None], strict=True):
        due = sorted(timer for timer in timers if timer[0] <= watermark)
        timers -= set(due)
        out += [(key, at, totals[key]) for at, key in due]
        if r is not None:
            totals[r.key] = totals.get(r.key, 0) + r.value
            at = (r.at // 100 + 1) * 100
            if at <= watermark:
                out.append((r.key, at, totals[r.key]))
            else:
                timers.add((at, r.key))
    return out


def _sessions(readings: Sequence[Reading], gap: int) -> list[Any]:
    out: list[list[Any]] = []
    for r in sorted(readings, key=lambda r: (r.key, r.at)):
        if out and out[-1][0] == r.key and r.at < out[-1][2]:
            last = out[-1]
            last[2:] = [r.at + gap, last[3] + 1, last[4] + r.value]
        else:
            out.append([r.key, r.at, r.at + gap, 1, r.value])
    return [tuple(session) for session in out]


def _fired(readings: Sequence[Reading], size: int, slide: int, out_of_orderness: int, lateness: int) -> list[Any]:
    """Window by window: fires when complete, then again for every record within the allowed lateness."""
    contents: dict[tuple[str, int], list[int]] = {}
    fired: set[tuple[str, int]] = set()
    out: list[Any] = []

    def fire(window: tuple[str, int]) -> None:
        values = contents[window]
        fired.add(window)
        out.append((window[0], window[1], window[1] + size, len(values), sum(values)))

    for watermark, r in zip(_watermarks(readings, out_of_orderness), [*readings, None], strict=True):
        for window in [w for w in contents if w not in fired and w[1] + size - 1 <= watermark]:
            fire(window)
        if r is None:
            continue
        start = r.at // slide * slide
        while start > r.at - size:
            if start + size - 1 + lateness > watermark:
                contents.setdefault((r.key, start), []).append(r.value)
                if start + size - 1 <= watermark:
                    fire((r.key, start))
            start -= slide
    return out


@pytest.fixture
def reading() -> type[Reading]:
    """The type of the records."""
    return Reading


@pytest.fixture
def build() -> Callable[..., Topology]:
    """Makes the topology of a kind: `build("tumbling", source, sink)`."""
    return _build


@pytest.fixture
def expected() -> Callable[..., list[Any]]:
    """What the topology of a kind must give for readings: `expected("tumbling", readings)`."""
    return _expected


@pytest.fixture
def readings() -> list[Reading]:
    """Eight readings of two keys, out of order by less than 50 ms, over five windows."""
    facts = [("a", 10), ("b", 40), ("a", 25), ("a", 130), ("b", 95), ("b", 210), ("a", 330), ("a", 420)]
    return [Reading(key, at, value) for value, (key, at) in enumerate(facts, 1)]


@pytest.fixture
def file_sink() -> Callable[[Path], Any]:
    """An exactly-once sink of JSON lines in a folder."""
    return lambda folder: files.lines(folder, formats.json())


def _visible(folder: Path) -> list[Any]:
    lines = [line for part in sorted(folder.glob("part-*")) for line in part.read_bytes().splitlines()]
    return sorted(tuple(msgspec.json.decode(line)) for line in lines)


@pytest.fixture
def visible() -> Callable[[Path], list[Any]]:
    """The records that a reader of a sink's folder sees, sorted."""
    return _visible
