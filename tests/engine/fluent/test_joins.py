"""Joins in whole topologies: with parallelism, checkpoints and crashes, and what is refused when they are built."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import msgspec
import pytest
from tidegate.connectors import memory
from tidegate.engine import JobStatus, RunConfig, Topology, TopologyError, restart, run, start
from tidegate.engine.executor import InlineExecutor
from tidegate.engine.testing import BARRIER, CRASH, Pause, ScriptedSource, run_script
from tidegate.operators import Change, Joined, Watermarks, agg, windows


class Order(msgspec.Struct, frozen=True, tag=True):
    """A record of the left."""

    key: str
    at: int
    value: int


class Payment(msgspec.Struct, frozen=True, tag=True):
    """A record of the right."""

    key: str
    at: int
    value: int


ORDERS = [Order("abcd"[n % 4], 10 * n + (n * 7) % 30, n) for n in range(24)]
PAYMENTS = [Payment("abde"[n % 4], 12 * n + (n * 11) % 25, n) for n in range(20)]


def _shown(left: Order | None, right: Payment | None) -> tuple[Any, Any]:
    return (left and left.value, right and right.value)


def _in_window(how: str) -> list[Any]:
    found: list[Any] = []
    for end in range(100, 400, 100):
        left, right = ([r for r in side if end - 100 <= r.at < end] for side in (ORDERS, PAYMENTS))
        found += _paired(left, right, lambda a, b: a.key == b.key)
    return found


def _paired(left: Any, right: Any, fits: Any) -> list[Any]:
    found = [_shown(a, b) for a in left for b in right if fits(a, b)]
    found += [_shown(a, None) for a in left if not any(fits(a, b) for b in right)]
    return found + [_shown(None, b) for b in right if not any(fits(a, b) for a in left)]


def _as_of() -> list[Any]:
    found = []
    for order in ORDERS:
        known = [p for p in PAYMENTS if p.key == order.key and p.at <= order.at]
        found.append(_shown(order, max(known, key=lambda p: (p.at, p.value)) if known else None))
    return found


async def _rate(key: str) -> int | None:
    await asyncio.sleep(0)
    return {"a": 1, "b": 2}.get(key)


KINDS: dict[str, tuple[Any, list[Any]]] = {
    "window": (lambda a, b: a.join(b, windows.tumbling("100ms"), how="outer", select=_shown), _in_window("outer")),
    "interval": (
        lambda a, b: a.interval_join(b, lower="-20ms", upper="35ms", how="outer", select=_shown),
        _paired(ORDERS, PAYMENTS, lambda a, b: a.key == b.key and -20 <= b.at - a.at <= 35),
    ),
    "regular": (
        lambda a, b: a.regular_join(b, select=_shown),
        [_shown(a, b) for a in ORDERS for b in PAYMENTS if a.key == b.key],
    ),
    "temporal": (lambda a, b: a.temporal_join(b.latest(), how="left", select=_shown), _as_of()),
    "lookup": (
        lambda a, b: a.lookup_join(_rate, how="left", select=lambda o, rate: (o.value, rate), cache_size=2),
        [(o.value, {"a": 1, "b": 2}.get(o.key)) for o in ORDERS],
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("backend", "parallelism"), [("dict", 2), ("rocksdb", 2)])
def test_joins_give_the_same_through_crashes_and_checkpoints(kind, backend, parallelism, tmp_path):
    """Two subtasks, restored twice on the way, give what all pairs of all records give."""
    make, expected = KINDS[kind]
    scripts: list[list[Any]] = [[*ORDERS], [*PAYMENTS]]
    for script, places in zip(scripts, ((14, 5), (11, 3)), strict=True):
        for place in places:
            script[place:place] = [BARRIER, CRASH]
    source = ScriptedSource(*scripts, fetch_sizes=[3, 1, 4])
    topology, sink = Topology("joined"), memory.sink()
    slow = Watermarks(out_of_orderness="100ms")
    records = topology.source("records", source, event_time="at", watermarks=slow)
    left = records.of_type(Order, name="orders").key_by("key", name="by-order")
    right = records.of_type(Payment, name="payments").key_by("key", name="by-payment")
    make(left, right).sink("out", sink)
    if kind == "lookup":
        right.sink("payments-out", memory.sink())
    config = RunConfig(
        checkpoints=tmp_path,
        checkpoint_interval="1h",
        state_backend=backend,
        parallelism=parallelism,
        restart=restart.fixed_delay(5, "0ms"),
    )
    assert asyncio.run(run_script(topology, source, config, executor=InlineExecutor())) is JobStatus.FINISHED
    assert sorted(sink.values, key=repr) == sorted(expected, key=repr)


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["dict", "rocksdb"])
def test_joins_go_on_at_another_parallelism(backend, tmp_path):
    """Stopped and started twice: what waits, and who is still without a partner, is where its key goes."""
    scripts: list[list[Any]] = [[*ORDERS], [*PAYMENTS]]
    for script in scripts:
        for place in (12, 5):
            script.insert(place, Pause())
    sinks = {kind: memory.sink() for kind in ("window", "session", "interval", "regular", "temporal")}
    widths = (2, 1, 3)
    for life, parallelism in enumerate(widths, 1):
        source = ScriptedSource(*scripts, fetch_sizes=[2])
        topology = Topology("rescaled")
        slow = Watermarks(out_of_orderness="100ms", idle_timeout=None)
        records = topology.source("records", source, event_time="at", watermarks=slow)
        left = records.of_type(Order, name="orders").key_by("key", name="by-order")
        right = records.of_type(Payment, name="payments").key_by("key", name="by-payment")
        for kind in ("window", "interval", "regular", "temporal"):
            KINDS[kind][0](left, right).sink(kind, sinks[kind])
        # One session per key: all pairs, and the keys that are on one side only.
        left.join(right, windows.session("150ms"), how="outer", select=_shown).sink("session", sinks["session"])
        config = RunConfig(checkpoints=tmp_path, state_backend=backend, parallelism=parallelism, max_parallelism=8)
        asyncio.run(_until_paused(topology, source, config, last=life == len(widths)))
    expected = {kind: KINDS[kind][1] for kind in ("window", "interval", "regular", "temporal")}
    expected["session"] = _paired(ORDERS, PAYMENTS, lambda a, b: a.key == b.key)
    for kind, sink in sinks.items():
        assert sorted(sink.values, key=repr) == sorted(expected[kind], key=repr), kind


def _numbers(topology: Topology, name: str = "numbers", values: Any = (1, 2, 3, 11, 12)) -> Any:
    source = memory.source(list(values), type=int)
    return topology.source(name, source, event_time=lambda n: n).key_by(lambda n: n % 2, name=f"by-{name}")


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (
            lambda s: s.join(s, windows.tumbling("10ms"), select=lambda a, b: (a, b)),
            [(1, 1), (1, 3), (2, 2), (3, 1), (3, 3), (11, 11), (12, 12)],
        ),
        (
            lambda s: s.join(s, windows.session("3ms"), select=lambda a, b: (a, b)),
            [(1, 1), (1, 3), (2, 2), (3, 1), (3, 3), (11, 11), (12, 12)],
        ),
        (
            lambda s: s.interval_join(s, lower="1ms", upper="8ms", select=lambda a, b: (a, b)),
            [(1, 3), (3, 11)],
        ),
        (
            lambda s: s.regular_join(s, select=lambda a, b: (a, b)),
            sorted((a, b) for a in (1, 2, 3, 11, 12) for b in (1, 2, 3, 11, 12) if a % 2 == b % 2),
        ),
    ],
)
def test_a_stream_may_be_joined_with_itself(make, expected):
    """Each record is on both sides."""
    topology, sink = Topology("self"), memory.sink()
    make(_numbers(topology)).sink("out", sink)
    run(topology, RunConfig(parallelism=2), live=False)
    assert sorted(sink.values) == expected


def test_a_join_keeps_the_key_and_knows_what_it_gives():
    """So that a join may follow, without a word about types."""
    topology, sink = Topology("again"), memory.sink()
    pairs = _numbers(topology).join(_numbers(topology, "others"), windows.tumbling("10ms"), how="left", name="pairs")
    assert pairs.record_type == Joined[int, int | None]
    again = pairs.interval_join(_numbers(topology, "thirds"), lower="-9ms", upper="0ms")
    again.map(lambda j: (j.left.left, j.left.right, j.right)).sink("out", sink)
    run(topology, live=False)
    assert (1, 3, 1) in sink.values
    assert len(sink.values) == 4 * 2 + 1 * 1 + 1 + 1


def test_late_records_are_a_stream_like_any_other():
    """Those of both sides."""
    topology, sink, late = Topology("late"), memory.sink(), memory.sink()
    numbers = _numbers(topology, values=[1, 25, 3])
    joined = numbers.interval_join(numbers, lower="0ms", upper="0ms")
    joined.sink("out", sink)
    joined.side_output("late").sink("late", late)
    run(topology, live=False)
    assert (len(sink.values), late.values) == (2, [3, 3])


def test_the_changes_of_joined_tables_lead_to_the_joined_table():
    """At any parallelism; and they make a table that can be joined again."""
    topology, sink, again = Topology("tables"), memory.sink(), memory.sink()
    orders = topology.source("orders", memory.source(ORDERS, type=Order)).key_by("key", name="by-order").latest()
    paid = topology.source("payments", memory.source(PAYMENTS, type=Payment)).key_by("key", name="by-payment").latest()
    changes = orders.join(paid, how="outer", name="both", select=lambda a, b: ((a or b).key, *_shown(a, b)))
    changes.sink("out", sink)
    changes.latest(lambda row: row[0], row_type=str).join(orders, how="left", name="again").sink("again-out", again)
    run(topology, RunConfig(parallelism=2), live=False)
    table: dict[str, Any] = {}
    for change in sink.values:
        assert isinstance(change, Change)
        if change.adds:
            table[change.value[0]] = change.value
        else:
            assert table.pop(change.value[0]) == change.value
    newest_order = {order.key: order.value for order in ORDERS}
    newest_payment = {payment.key: payment.value for payment in PAYMENTS}
    assert table == {key: (key, newest_order.get(key), newest_payment.get(key)) for key in "abcde"}
    rows: Counter[Any] = Counter()
    for change in again.values:
        rows[change.value.left] += 1 if change.adds else -1
    assert rows == dict.fromkeys("abcde", 1)


def test_what_a_regular_join_takes_back_is_taken_back_behind_it():
    """Its changes may be aggregated and joined again; so may those of an update stream on either side."""
    topology, totals, again = Topology("regular"), memory.sink(), memory.sink()
    orders = topology.source("orders", memory.source(ORDERS, type=Order)).key_by("key", name="by-order")
    payments = topology.source("payments", memory.source(PAYMENTS, type=Payment)).key_by("key", name="by-payment")
    pairs = orders.regular_join(payments, how="left", name="pairs")
    assert pairs.record_type == Change[Joined[Order, Payment | None]]
    counted = pairs.aggregate(n=agg.count(), paid=agg.count().where(lambda j: j.right is not None), name="counted")
    counted.sink("totals", totals)
    newest = payments.to_changes(name="newest")
    pairs.regular_join(newest, name="again").aggregate(n=agg.count(), name="of-newest").sink("again-out", again)
    run(topology, RunConfig(parallelism=2), live=False)
    counts = {key: (sum(o.key == key for o in ORDERS), sum(p.key == key for p in PAYMENTS)) for key in "abcd"}
    last = {change.value.key: (change.value.n, change.value.paid) for change in totals.values if change.adds}
    assert last == {key: (n * max(m, 1), n * m) for key, (n, m) in counts.items()}
    assert {c.value.key: c.value.n for c in again.values if c.adds} == {k: n * m for k, (n, m) in counts.items() if m}


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["dict", "rocksdb"])
def test_a_record_meets_the_rows_of_a_table_also_after_a_rescale(backend, tmp_path):
    """One that is dealt out by key, and one of which every subtask has a copy; what was deleted is not met."""
    rows = [("a", "Anna"), ("b", "Ben"), ("c", "Cleo"), ("b", None), ("c", "Cora")]
    scripts = [[*rows, Pause()], [Pause(), *list("abcabcabcabc")]]
    sink = memory.sink()
    for parallelism in (2, 3):
        source = ScriptedSource(*scripts, fetch_sizes=[1])
        topology = Topology("enriched")
        both = topology.source("records", source)
        by_row = both.of_type(tuple, name="rows").key_by(lambda r: r[0], name="by-row")
        names = by_row.latest(lambda r: r[1], row_type=str)
        records = both.of_type(str, name="letters").key_by(lambda r: r, name="by-record")
        named = records.join_table(names, how="left", name="named")
        dealt = named.map(lambda j: (j.left, j.right), name="flat").round_robin()
        again = dealt.broadcast_join(names, on=lambda pair: pair[0], how="left", name="again")
        again.map(lambda j: (*j.left, j.right), name="flatter").sink("out", sink)
        config = RunConfig(checkpoints=tmp_path, state_backend=backend, parallelism=parallelism, max_parallelism=8)
        asyncio.run(_until_paused(topology, source, config, last=parallelism == 3))
    assert sorted(sink.values, key=repr) == [
        *[("a", "Anna", "Anna")] * 4,
        *[("b", None, None)] * 4,
        *[("c", "Cora", "Cora")] * 4,
    ]


async def _until_paused(topology: Topology, source: ScriptedSource[Any], config: RunConfig, *, last: bool) -> None:
    async with start(topology, config, executor=InlineExecutor()) as job:
        if not last:
            while len(source.at_pause) < 2:
                await job.clock.sleep(0)
            await job.drain()
        assert await job.wait() is (JobStatus.FINISHED if last else JobStatus.STOPPED)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda a, b: a.join(b.map(lambda n: n), windows.tumbling("1s")), TopologyError, "join .*pass right_type="),
        (lambda a, b: a.map(lambda n: n).interval_join(b, lower="0s", upper="1s"), TopologyError, "pass left_type="),
        (lambda a, b: a.regular_join(b.map(lambda n: n)), TopologyError, "regular_join .*pass right_type="),
        (lambda a, b: a.regular_join(b, left_ttl="0ms"), ValueError, "left_ttl must be longer than 0ms"),
        (lambda a, b: a.map(lambda n: n).temporal_join(b.latest()), TopologyError, "pass record_type="),
        (lambda a, b: b.latest(lambda n: n), TopologyError, "a table .*pass row_type="),
        (lambda a, b: a.join(b, windows.global_()), ValueError, "use tumbling, sliding or session windows"),
        (
            lambda a, b: a.join(b, windows.cumulative("1h", "1m")),
            ValueError,
            "use tumbling, sliding or session windows",
        ),
        (lambda a, b: a.interval_join(b, lower="5s", upper="1s"), ValueError, "lower must not exceed upper"),
    ],
)
def test_what_cannot_be_joined_is_refused(make, error, message):
    """One clear line when the topology is built."""
    topology = Topology("refused")
    with pytest.raises(error, match=message):
        make(_numbers(topology), _numbers(topology, "others"))
