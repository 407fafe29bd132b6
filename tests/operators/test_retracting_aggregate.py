"""Running aggregates over an update stream, against the aggregates of the rows that are there."""

from __future__ import annotations

import asyncio
from collections import Counter
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tidegate.connectors import memory
from tidegate.engine import JobStatus, RunConfig, Topology, TopologyError, restart
from tidegate.engine.errors import OperatorError
from tidegate.engine.executor import InlineExecutor
from tidegate.engine.testing import BARRIER, CRASH, OperatorHarness, ScriptedSource, run_script
from tidegate.operators import agg
from tidegate.operators.changes import Change, ChangeKind
from tidegate.operators.keyed_aggregate import KeyedAggregate
from tidegate.operators.retracting_aggregate import RetractingAggregate


class Row(msgspec.Struct, frozen=True):
    """A row of these tests."""

    v: float | None
    name: str


AGGREGATES = {
    "n": agg.count(),
    "few": agg.count().where(lambda row: row.name == "x"),
    "total": agg.sum("v"),
    "mean": agg.mean("v"),
    "spread": agg.variance("v", ddof=0),
    "low": agg.min("v"),
    "high": agg.max("v"),
    "oldest": agg.first("name"),
    "newest": agg.last("name"),
    "names": agg.collect("name"),
    "distinct": agg.count_distinct("name"),
    "middle": agg.quantile_exact("v", 0.5),
    "two": agg.top_k("v", 2),
    "best": agg.top_n(1, "v"),
    "often": agg.most_common("name", 1),
}


def of(rows: list[Row], names: list[str]) -> Any:
    """The aggregates from the definition; None of no rows. `names` are those of the rows, where the oldest of equal ones
    has always gone first."""
    if not rows:
        return None
    values = [row.v for row in rows if row.v is not None]
    mean = sum(values) / len(values) if values else None
    ranked = sorted(values)
    counts = Counter(names)
    tied = sorted((row for row in rows if row.v is not None), key=msgspec.msgpack.encode)
    return {
        "n": len(rows),
        "few": sum(row.name == "x" for row in rows),
        "total": sum(values),
        "mean": pytest.approx(mean),
        "spread": pytest.approx(sum((v - mean) ** 2 for v in values) / len(values)) if mean is not None else None,
        "low": min(values, default=None),
        "high": max(values, default=None),
        "oldest": names[0],
        "newest": names[-1],
        "names": names.copy(),
        "distinct": len(counts),
        "middle": (ranked[(len(ranked) - 1) // 2] + ranked[len(ranked) // 2]) / 2 if ranked else None,
        "two": sorted(values, reverse=True)[:2],
        "best": sorted(tied, key=lambda row: -row.v)[:1],  # type: ignore[operator]
        "often": sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:1],
    }


def shown(result: Any) -> Any:
    """The aggregates of a result."""
    return {name: getattr(result, name) for name in AGGREGATES}


ROWS = st.builds(Row, st.one_of(st.none(), st.integers(-4, 4).map(lambda n: n / 2)), st.sampled_from("xyz"))


def moves(draw: Any) -> list[tuple[str, bool, Row]]:
    """Changes of two keys; only rows that are there go."""
    rows: dict[str, list[Row]] = {"a": [], "b": []}
    out = []
    for _ in range(draw(st.integers(0, 20))):
        key = draw(st.sampled_from("ab"))
        if rows[key] and draw(st.booleans()):
            row = draw(st.sampled_from(rows[key]))
            rows[key].remove(row)
            out.append((key, False, row))
        else:
            rows[key].append(draw(ROWS))
            out.append((key, True, rows[key][-1]))
    return out


@pytest.mark.slow
@pytest.mark.parametrize(("backend", "examples"), [("dict", 15), ("rocksdb", 3)])
@pytest.mark.parametrize("typed", [True, False])
def test_results_are_those_of_the_rows_that_are_there(backend: Any, examples: int, typed: bool) -> None:
    """After every change, restored now and then; what comes out is an update stream that leads from one to the next."""
    aggregates = AGGREGATES if typed else {**AGGREGATES, "best": agg.top_n(1, "v", type=Row)}
    operator = RetractingAggregate(aggregates, row_type=Row if typed else None)

    @settings(max_examples=examples, deadline=None)
    @given(st.data())
    def check(data: st.DataObject) -> None:
        there: dict[str, list[Row]] = {"a": [], "b": []}
        names: dict[str, list[str]] = {"a": [], "b": []}
        with OperatorHarness(operator, backend=backend, memory_budget_bytes=300, restore_every_step=False) as h:
            for number, (key, adds, row) in enumerate(moves(data.draw)):
                if number % 7 == 3:
                    h.restore()
                before = of(there[key], names[key])
                there[key].append(row) if adds else there[key].remove(row)
                names[key].append(row.name) if adds else names[key].remove(row.name)
                after = of(there[key], names[key])
                kind = ChangeKind.INSERT if adds else ChangeKind.DELETE
                h.clear().push([Change(kind, row)], [number], [key])
                assert [t for _, t in h.output] == [number] * len(h.values)
                found = [(change.kind.value, shown(change.value)) for change in h.values]
                if before is None:
                    assert found == [("+I", after)]
                elif after is None:
                    assert found == [("-D", before)]
                else:
                    assert found == [("-U", before), ("+U", after)]
            assert "unmatched" not in h.counters

    check()


def test_a_change_that_changes_no_result_gives_out_nothing() -> None:
    """The smallest stays the smallest."""
    with OperatorHarness(RetractingAggregate({"low": agg.min()})) as h:
        h.push([Change(ChangeKind.INSERT, v) for v in (1, 2, 3)], keys=["a"] * 3)
        h.push([Change(ChangeKind.DELETE, 2)], keys=["a"])
        assert [(c.kind.value, c.value.low) for c in h.values] == [("+I", 1)]


def test_sums_of_a_declared_type_are_taken_back_too() -> None:
    """Money stays money."""
    with OperatorHarness(RetractingAggregate({"total": agg.sum(type=Decimal)})) as h:
        h.push(
            [Change(ChangeKind.INSERT, Decimal("0.10")), Change(ChangeKind.INSERT, Decimal("0.20"))], keys=["a", "a"]
        )
        h.push([Change(ChangeKind.DELETE, Decimal("0.10"))], keys=["a"])
        assert h.values[-1].value.total == Decimal("0.20")


def test_a_retraction_of_nothing_is_counted() -> None:
    """A key without rows, and a row that was never there."""
    with OperatorHarness(RetractingAggregate({"high": agg.max()})) as h:
        h.push([Change(ChangeKind.DELETE, 1)], keys=["a"])
        h.push(
            [Change(ChangeKind.INSERT, 1), Change(ChangeKind.INSERT, 2), Change(ChangeKind.DELETE, 7)], keys=["a"] * 3
        )
        assert h.counters["unmatched"] == 2
        assert h.values[-1].value.high == 2


@pytest.mark.parametrize("backend", ["dict", "rocksdb"])
def test_a_key_without_rows_leaves_nothing(backend: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where retractions did not match: what was left over is not there when the key comes again."""
    monkeypatch.setattr("tidegate.operators.retractable_rows._HEAD", 1)
    aggregates = {"high": agg.max(), "oldest": agg.first()}
    with OperatorHarness(RetractingAggregate(aggregates), backend=backend) as h:
        h.push([Change(ChangeKind.INSERT, n) for n in range(9)], keys=["a"] * 9)
        h.push([Change(ChangeKind.DELETE, 100)] * 9, keys=["a"] * 9)
        assert h.values[-1].kind is ChangeKind.DELETE
        h.clear().push([Change(ChangeKind.INSERT, n) for n in (3, 2, 1)], keys=["a"] * 3)
        h.push([Change(ChangeKind.DELETE, 3)], keys=["a"])
        assert (h.values[-1].value.high, h.values[-1].value.oldest) == (2, 2)
        h.push([Change(ChangeKind.DELETE, 2)], keys=["a"]).push([Change(ChangeKind.DELETE, 1)], keys=["a"])
        tables = [h.node.context.state(state) for state in h.node.operator.states()[1:]]
        assert [list(table.items("a")) for table in tables] == [[], [], []]


@pytest.mark.parametrize(
    "aggregate",
    [
        agg.quantile("v", 0.5),
        agg.count_distinct_approx("v"),
        agg.reducing(max),
        agg.sample("v", 3),
        agg.custom(int, lambda a, b: a, lambda a, b: a, lambda a: a),
    ],
)
def test_an_aggregate_that_cannot_take_back_is_refused(aggregate: Any) -> None:
    """When the topology is built, with what there is instead."""
    with pytest.raises(ValueError, match=f"x: agg.{aggregate.kind} cannot take back"):
        RetractingAggregate({"x": aggregate})


def test_changes_that_nobody_announced_are_refused() -> None:
    """A plain aggregate would count what they take back."""
    with OperatorHarness(KeyedAggregate({"n": agg.count()})) as h, pytest.raises(OperatorError, match="say the type"):
        h.push([Change(ChangeKind.DELETE, 1)], keys=["a"])


def test_a_stream_of_changes_gets_the_aggregate_that_takes_back() -> None:
    """By the type of its records; how often results come out cannot be chosen then."""
    topology = Topology("changes")
    keyed = topology.source("numbers", memory.source([1])).key_by(lambda n: "all", name="by").to_changes(name="changes")
    again = keyed.key_by(lambda c: c.value, name="again")
    assert isinstance(again.aggregate(n=agg.count(), name="count")._edges[0].upstream.what, RetractingAggregate)
    with pytest.raises(TopologyError, match="leave emit_every out"):
        again.aggregate(n=agg.count(), emit_every="1s")  # type: ignore[call-overload]


class Status(msgspec.Struct, frozen=True):
    """What an order has come to."""

    order: int
    status: str
    amount: int


@pytest.mark.slow
def test_a_job_that_crashes_counts_each_row_once(tmp_path: Any) -> None:
    """Orders that move from status to status, counted per status, on two subtasks."""
    moves_ = [Status(n % 7, ["open", "paid", "sent"][n // 7 % 3], n % 5) for n in range(42)]
    source, out = ScriptedSource([*moves_[:15], BARRIER, *moves_[15:25], CRASH, *moves_[25:], BARRIER]), memory.sink()
    topology = Topology("orders")
    orders = topology.source("orders", source).key_by("order", name="by-order").to_changes(name="changes", type=Status)
    by_status = orders.key_by(lambda c: c.value.status, name="by-status")
    totals = by_status.aggregate(name="totals", n=agg.count(), total=agg.sum("amount"), most=agg.max("amount"))
    flat = totals.map(lambda c: (c.value.key, c.kind.value, c.value.n, c.value.total, c.value.most), name="flat")
    flat.sink("out", out)
    config = RunConfig(
        checkpoints=tmp_path, checkpoint_interval="1h", parallelism=2, restart=restart.fixed_delay(3, "0ms")
    )
    assert asyncio.run(run_script(topology, source, config, executor=InlineExecutor())) is JobStatus.FINISHED
    held: Counter[Any] = Counter()
    for key, kind, *row in out.values:
        held[key, *row] += 1 if kind in ("+I", "+U") else -1
    last = {move.order: move for move in moves_}.values()
    wanted = Counter()
    for status in {move.status for move in last}:
        amounts = [move.amount for move in last if move.status == status]
        wanted[status, len(amounts), sum(amounts), max(amounts)] = 1
    assert {row: n for row, n in held.items() if n} == dict(wanted)
