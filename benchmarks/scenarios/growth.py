"""What a record costs when there are ten and a hundred times as many keys, windows at a time, records out of order, or
bytes of state."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import msgspec
from tidegate.connectors import files, formats, generator
from tidegate.engine import RunConfig, Topology, start
from tidegate.operators import Watermarks, agg, windows

from ..answers import compare, quoted
from ..loops import growth as loop
from ..probe import ProbeSink
from ..readings import Reading, Shape, readings_file
from ..scenario import Figures, Scenario, Setup, Side, Tell, Wanted
from ..stopwatch import Stopwatch, time_job

TIMES: Final = (1, 10, 100)


@dataclass(frozen=True)
class Point:
    """One job over one file.

    Attributes:
        shape: of the records.
        size_ms: length of the windows; None: a result per record instead, the count and sum of its key so far.
        slide_ms: how far apart they begin.
        disorder_ms: how far behind a record may be without being late.
        lateness_ms: how far behind that a late one still counts.
        highest: whether the highest value is wanted besides count and sum: it cannot be taken out of a window again.
    """

    shape: Shape
    size_ms: int | None = 10_000
    slide_ms: int = 10_000
    disorder_ms: int = 0
    lateness_ms: int = 0
    highest: bool = False

    @property
    def has_loop(self) -> bool:
        """Whether there is a loop for it: there is none for windows that fire again, or know more than counts and sums."""
        return not (self.lateness_ms or self.highest)


DIMENSIONS: Final[dict[str, Callable[[int], Point]]] = {
    "keys": lambda times: Point(Shape(1_000 * times), size_ms=None),
    "overlap": lambda times: Point(Shape(100), slide_ms=10_000 // times),
    "overlap-highest": lambda times: Point(Shape(100), slide_ms=10_000 // times, highest=True),
    "results": lambda times: Point(Shape(5_000), slide_ms=10_000 // times),
    "disorder": lambda times: Point(Shape(most_delay_ms=200 * times, delayed_per_mille=500), disorder_ms=200 * times),
    "late": lambda times: Point(
        Shape(most_delay_ms=5_000, delayed_per_mille=times), slide_ms=1_000, lateness_ms=10_000
    ),
    "late-overlap": lambda times: Point(
        Shape(most_delay_ms=5_000, delayed_per_mille=10), slide_ms=10_000 // times, lateness_ms=10_000
    ),
}
"""What grows → the point at so many times. In all but `results`, `late` and `late-overlap` there are few results."""

POINTS: Final = {f"{name}-{times}": of(times) for name, of in DIMENSIONS.items() for times in TIMES}
"""Side → its point."""

_STATE_KEYS: Final = 2_000
_PAYLOAD_BYTES: Final = 1_000
_SETTLING: Final = 5
"""Checkpoints after all keys have come, before it counts."""

_NOISE: Final = random.Random(7).randbytes(1_000_000 + _PAYLOAD_BYTES)
"""What payloads are cut from: it cannot be compressed."""


def topology(setup: Setup, side: str) -> Topology:
    """The job of a point."""
    point = POINTS[side]
    made = Topology(f"growth-{side}")
    readings = made.source(
        "readings",
        files.lines(_file(setup, point), formats.json(Reading)),
        event_time="time_ms",
        watermarks=Watermarks(out_of_orderness=f"{point.disorder_ms}ms"),
    ).key_by("key")
    totals: dict[str, Any] = {"n": agg.count(), "total": agg.sum("value")}
    if point.highest:
        totals["highest"] = agg.max("value")
    if point.size_ms is None:
        results: Any = readings.aggregate(**totals, name="totals")
    else:
        assigner = windows.sliding(f"{point.size_ms}ms", f"{point.slide_ms}ms")
        results = readings.window(assigner, allowed_lateness=f"{point.lateness_ms}ms").aggregate(
            **totals, name="totals"
        )
    results.sink("out", files.lines(setup.output(side), formats.json()))
    return made


def _engine(side: str) -> Side:
    def measure(setup: Setup) -> Figures:
        return _rated(setup, side, time_job(topology(setup, side), RunConfig()))

    return measure


def _loop(side: str) -> Side:
    def measure(setup: Setup) -> Figures:
        point, output = POINTS[side], setup.output(f"{side}-loop")
        output.mkdir()
        run = loop.running
        if point.size_ms is not None:
            bounds = {"size_ms": point.size_ms, "slide_ms": point.slide_ms, "disorder_ms": point.disorder_ms}
            run = partial(loop.windows, **bounds)
        watch = Stopwatch()
        run(_file(setup, point), output / "all.jsonl")
        return _rated(setup, f"{side}-loop", watch.read())

    return measure


def _rated(setup: Setup, side: str, figures: Figures) -> Figures:
    """The figures with rates: of records, and of results for each record."""
    n_results = sum(path.read_bytes().count(b"\n") for path in setup.output(side).glob("*.jsonl"))
    return _compared(setup, side, setup.events, figures) | {"results_per_event": n_results / setup.events}


def _compared(setup: Setup, side: str, events: int, figures: Figures) -> Figures:
    """The figures with rates, and the rate as a share of that at once. By CPU time: whoever else is at work on the machine
    is not in it."""
    cost = figures["cpu_s"] * 1e6 / events
    dimension, _, times = side.removesuffix("-loop").rpartition("-")
    first = setup.work / f"{dimension}{'-loop' if side.endswith('-loop') else ''}.once"
    if times == "1":
        first.write_text(str(cost), encoding="ascii")
    return figures | {
        "events_per_s": events / figures["run_s"],
        "cpu_s_per_million": cost,
        "share_of_once": float(first.read_text(encoding="ascii")) / cost,
    }


class Value(msgspec.Struct, gc=False):
    """A thousand bytes of a key."""

    key: int
    number: int
    payload: bytes


def _newest(_: Value, newest: Value) -> Value:
    return newest


def _state(times: int) -> Side:
    """The newest value of each key, with a checkpoint every second. All keys come once and are in checkpoints before it
    counts; then the first 2,000 of them come."""
    n_keys = _STATE_KEYS * times

    def value(number: int) -> Value:
        at = number * 7919 % 1_000_000
        key = number if number < n_keys else number % _STATE_KEYS
        return Value(key, number, _NOISE[at : at + _PAYLOAD_BYTES])

    def measure(setup: Setup) -> Figures:
        return asyncio.run(_time_state(setup, times, n_keys, value))

    return measure


async def _time_state(setup: Setup, times: int, n_keys: int, value: Callable[[int], Value]) -> Figures:
    is_filled, is_over = asyncio.Event(), asyncio.Event()
    seen, last = 0, 0
    facts: Figures = {"checkpoints": 0}

    def look(values: list[Any]) -> None:
        nonlocal seen
        seen += len(values)
        if seen >= n_keys:
            is_filled.set()
        if last and seen >= last:
            is_over.set()

    def note(event: str, told: dict[str, Any]) -> None:
        if event == "checkpoint_completed":
            facts["checkpoints"] += 1
            facts["state_mb"] = told["size_bytes"] / 1e6

    made = Topology(f"growth-state-{times}")
    values = made.source("values", generator.records(value, type=Value))
    values.key_by("key").reduce(_newest, name="newest").sink("out", ProbeSink(look))
    config = RunConfig(checkpoints=setup.work / f"checkpoints-{times}", checkpoint_interval="1s", memory_budget="1GB")
    async with start(made, config, on_event=note) as job:
        await is_filled.wait()
        for _ in range(_SETTLING):  # the files of the first one are put together behind it
            await job.checkpoint()
        facts["checkpoints"] = 0
        watch, first = Stopwatch(), seen
        last = seen + setup.events
        await is_over.wait()
        figures, events = watch.read(), seen - first
        await job.cancel()
    return _compared(setup, f"state-{times}", events, figures) | facts


def _file(setup: Setup, point: Point) -> Path:
    return readings_file(setup.bids.parent, setup.events, point.shape)


def _prepare(setup: Setup, tell: Tell) -> None:
    for side, point in POINTS.items():
        tell(f"growth: making or finding {setup.events} records for {side}")
        _file(setup, point)


def check(setup: Setup, side: str) -> None:
    """Compare the results of a point with what DuckDB says. Where windows fire again, their last results count."""
    point = POINTS.get(side.removesuffix("-loop"))
    if point is None:
        return
    readings = (
        f"read_json('{quoted(_file(setup, point))}', format='newline_delimited', "
        "columns={key: 'BIGINT', value: 'BIGINT', time_ms: 'BIGINT'})"
    )
    who, output = f"growth, {side}", setup.output(side)
    if point.size_ms is None:
        columns = "key: 'BIGINT', n: 'BIGINT', total: 'BIGINT'"
        answer = (
            "SELECT key, count(*) OVER so_far AS n, (sum(value) OVER so_far)::BIGINT AS total "
            f"FROM (SELECT *, row_number() OVER () AS line FROM {readings}) "
            "WINDOW so_far AS (PARTITION BY key ORDER BY line)"
        )
        compare(who, output, columns, answer)
        return
    columns = "key: 'BIGINT', start_ms: 'BIGINT', end_ms: 'BIGINT', n: 'BIGINT', total: 'BIGINT'"
    highest = ", max(value) AS highest" if point.highest else ""
    columns += ", highest: 'BIGINT'" if point.highest else ""
    start = f"time_ms // {point.slide_ms} * {point.slide_ms} - {point.slide_ms} * back"
    answer = (
        f"SELECT key, {start} AS start_ms, start_ms + {point.size_ms} AS end_ms, count(*) AS n, "
        f"sum(value)::BIGINT AS total{highest} "
        f"FROM {readings}, range({point.size_ms // point.slide_ms}) windows(back) GROUP BY ALL"
    )
    # A window that fires again has taken one more in.
    newest = "SELECT * FROM written QUALIFY n = max(n) OVER (PARTITION BY key, start_ms)"
    compare(who, output, columns, answer, newest if point.lateness_ms else "SELECT * FROM written")


def _sides() -> dict[str, Side]:
    sides: dict[str, Side] = {}
    for side, point in POINTS.items():
        sides[side] = _engine(side)
        if point.has_loop:
            sides[f"{side}-loop"] = _loop(side)
    return sides | {f"state-{times}": _state(times) for times in TIMES}


def _flat(dimension: str, times: int) -> Wanted:
    """Where hardly more results come out, a record costs little more."""
    share = 0.8 if times == 10 else 0.6
    text = f"{times} × {dimension}: {share:.1f} of the rate at once"
    return Wanted(f"{dimension}-{times}.share_of_once", "at_least", share, text)


SCENARIO = Scenario(
    title="what a record costs with 10 and 100 times the keys, overlap, disorder and state",
    sides=_sides(),
    events=1_000_000,
    check=check,
    wanted=tuple(
        _flat(dimension, times)
        for dimension in ("overlap", "overlap-highest", "disorder", "state")
        for times in (10, 100)
    ),
    reads_bids=False,
    prepare=_prepare,
    repeat=3,
    warm_up=False,
    note="Shares are of records per CPU second. Results grow with the overlap: divide by results_per_event.",
)
