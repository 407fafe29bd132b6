"""Moving windows against brute-force oracles."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tidegate.connectors import memory
from tidegate.engine import JobStatus, RunConfig, Topology, restart
from tidegate.engine.errors import OperatorError
from tidegate.engine.executor import InlineExecutor
from tidegate.engine.testing import BARRIER, CRASH, OperatorHarness, ScriptedSource, run_script
from tidegate.operators import Watermarks, agg
from tidegate.operators.over import OverRows, OverTime
from tidegate.operators.time import MIN_WATERMARK


class Reading(msgspec.Struct, frozen=True):
    """A record of these tests."""

    v: int | None


AGGREGATES = {
    "n": agg.count(),
    "few": agg.count().where(lambda r: r.v is not None and r.v > 3),
    "some": agg.max("v").where(lambda r: r.v is not None and r.v < 2),
    "total": agg.sum("v"),
    "top": agg.max("v"),
    "low": agg.min("v"),
    "mean": agg.mean("v"),
    "spread": agg.variance("v", ddof=0),
    "newest": agg.last("v"),
    "distinct": agg.count_distinct("v"),
    "values": agg.collect("v"),
    "middle": agg.quantile_exact("v", 0.5),
}

Step = int | list[tuple[int, str, int | None]]
"""A watermark, or a batch of (timestamp, key, value)."""

RECORDS = st.tuples(st.integers(-10, 40), st.sampled_from("ab"), st.one_of(st.integers(-9, 9), st.none()))
STEPS = st.lists(st.one_of(st.integers(-12, 50), st.lists(RECORDS, min_size=1, max_size=6)), max_size=10)


def of(readings: list[tuple[int, int | None]]) -> dict[str, Any]:
    """The aggregates of (timestamp, value), from the definition."""
    values = [v for _, v in readings if v is not None]
    mean = sum(values) / len(values) if values else None
    timed = [(t, v) for t, v in readings if v is not None]
    newest = [v for t, v in timed if t == max(t for t, _ in timed)]
    ranked = sorted(values)
    return {
        "n": len(readings),
        "few": sum(v > 3 for v in values),
        "some": max((v for v in values if v < 2), default=None),
        "total": sum(values),
        "top": max(values, default=None),
        "low": min(values, default=None),
        "mean": mean,
        "spread": pytest.approx(sum((v - mean) ** 2 for v in values) / len(values)) if mean is not None else None,
        "newest": newest[-1] if newest else None,
        "distinct": len(set(values)),
        "values": values,
        "middle": (ranked[(len(ranked) - 1) // 2] + ranked[len(ranked) // 2]) / 2 if ranked else None,
    }


def shown(result: Any) -> dict[str, Any]:
    """The aggregates of a result."""
    return {name: getattr(result, name) for name in AGGREGATES}


@pytest.mark.parametrize(("backend", "examples"), [("dict", 40), pytest.param("rocksdb", 4, marks=pytest.mark.slow)])
@pytest.mark.parametrize("typed", [True, False])
def test_the_last_records_agree_with_the_oracle(backend: Any, examples: int, typed: bool) -> None:
    """Each record gets its result at once, restored after every batch, wherever batches are cut."""

    @settings(max_examples=examples, deadline=None)
    @given(st.lists(st.lists(RECORDS, min_size=1, max_size=6), max_size=8), st.integers(1, 7))
    def check(batches: list[list[tuple[int, str, int | None]]], n: int) -> None:
        operator = OverRows(AGGREGATES, n, record_type=Reading if typed else None)
        seen: dict[str, list[tuple[int, int | None]]] = {"a": [], "b": []}
        with OperatorHarness(operator, backend=backend, memory_budget_bytes=300) as h:
            for batch in batches:
                h.clear().push([Reading(v) for *_, v in batch], [t for t, *_ in batch], [k for _, k, _ in batch])
                assert [t for _, t in h.output] == [t for t, *_ in batch]
                for result, (t, key, v) in zip(h.values, batch, strict=True):
                    seen[key].append((t, v))
                    assert (result.key, result.value) == (key, Reading(v))
                    assert shown(result) == of(seen[key][-n:])

    check()


@pytest.mark.parametrize(("backend", "examples"), [("dict", 40), pytest.param("rocksdb", 4, marks=pytest.mark.slow)])
@pytest.mark.parametrize("restore", [True, False])
def test_the_last_while_agrees_with_the_oracle(backend: Any, examples: int, restore: bool) -> None:
    """Disorder, watermarks, late records and restores never change a result."""

    @settings(max_examples=examples, deadline=None)
    @given(STEPS, st.sampled_from([1, 3, 10, 25]))
    def check(steps: list[Step], span: int) -> None:
        watermark, kept, late, waiting = MIN_WATERMARK, [], [], []
        with OperatorHarness(
            OverTime(AGGREGATES, span, record_type=Reading),
            backend=backend,
            memory_budget_bytes=300,
            restore_every_step=restore,
        ) as h:
            for step in steps:
                h.clear()
                if not isinstance(step, int):
                    h.push([Reading(v) for *_, v in step], [t for t, *_ in step], [k for _, k, _ in step])
                    assert h.values == []
                    late = [Reading(v) for t, _, v in step if t <= watermark]
                    assert h.side("late") == late
                    records = [record for record in step if record[0] > watermark]
                    kept += records
                    waiting += records
                    continue
                h.watermark(step)
                watermark = max(watermark, step)
                due = sorted((record for record in waiting if record[0] <= watermark), key=lambda r: r[0])
                waiting = [record for record in waiting if record[0] > watermark]
                found = list(zip(h.values, [t for _, t in h.output], strict=True))
                assert [t for _, t in found] == [t for t, *_ in due]
                for key in "ab":
                    own = [(result, t) for result, t in found if result.key == key]
                    wanted = [(t, v) for t, k, v in due if k == key]
                    assert [(t, result.value.v) for result, t in own] == wanted
                    for result, t in own:
                        inside = sorted(
                            ((s, v) for s, k, v in kept if k == key and t - span < s <= t), key=lambda r: r[0]
                        )
                        assert shown(result) == of(inside)

    check()


def test_a_silent_key_leaves_no_state() -> None:
    """Once no record to come can want what it had."""
    operator = OverTime({"n": agg.count(), "top": agg.max()}, 10)
    with OperatorHarness(operator) as h:
        h.push([1, 2, 3], [0, 5, 18], ["a", "a", "b"]).watermark(14)
        assert [key for key, _ in h.node.operator._windows.items()] == ["a"]  # type: ignore[attr-defined]
        h.watermark(27)
        assert [key for key, _ in h.node.operator._windows.items()] == ["b"]  # type: ignore[attr-defined]
        assert list(h.node.operator._own._rows.items("a")) == []  # type: ignore[attr-defined]
        assert list(h.node.operator._own._items.items("a")) == []  # type: ignore[attr-defined]
        h.push([7], [30], ["a"]).watermark(30)
        assert [(r.key, r.value, r.n, r.top) for r in h.values] == [
            ("a", 1, 1, 1),
            ("a", 2, 2, 2),
            ("b", 3, 1, 3),
            ("a", 7, 1, 7),
        ]


def test_sums_of_floats_leave_no_trace() -> None:
    """A huge number that has gone takes nothing of the small ones with it."""
    with OperatorHarness(OverRows({"total": agg.sum()}, 2)) as h:
        h.push([1e17, 0.1, 0.2, float("nan"), 0.3, 0.4], keys=["a"] * 6)
        found = [r.total for r in h.values]
    assert found[:3] == [1e17, 1e17, 0.30000000000000004]
    assert found[3] != found[3]
    assert found[5] == 0.7


def test_a_field_that_fails_names_its_record() -> None:
    """Which is not there."""
    with OperatorHarness(OverRows({"n": agg.sum("v")}, 2)) as h, pytest.raises(OperatorError, match="v"):
        h.push([{"v": 1}, {"w": 2}], keys=["a", "a"])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: OverRows({"n": agg.count()}, 0), "at least 1"),
        (lambda: OverTime({"n": agg.count()}, 0), "longer than 0ms"),
        (lambda: OverRows({}, 1), "at least one aggregate"),
        (lambda: OverRows({"value": agg.count()}, 1), "field of that name"),
        (lambda: OverRows({"n": agg.folding(0, lambda a, b: a + b)}, 1), "merge="),
    ],
)
def test_wrong_settings_are_refused(make: Any, message: str) -> None:
    """What cannot work is refused when the topology is built."""
    with pytest.raises(ValueError, match=message):
        make()


class Visit(msgspec.Struct):
    """A record of the whole topology."""

    user: str
    at: int
    spent: int


@pytest.mark.slow
def test_a_job_that_crashes_gives_each_record_its_result_once(tmp_path: Any) -> None:
    """Two subtasks, a crash behind a checkpoint: the results are those of the definition."""
    visits = [Visit(f"u{n * 7 % 5}", n * 10 + n * 37 % 25, n) for n in range(60)]
    script: list[Any] = [*visits[:20], BARRIER, *visits[20:35], CRASH, *visits[35:], BARRIER]
    source, out = ScriptedSource(script), memory.sink()
    topology = Topology("over")
    keyed = topology.source("visits", source, event_time="at", watermarks=Watermarks(out_of_orderness="1s")).key_by(
        "user", name="by-user"
    )
    spent = keyed.over("100ms").aggregate(name="spent", n=agg.count(), total=agg.sum("spent"), top=agg.max("spent"))
    spent.map(lambda r: (r.value.at, r.key, r.n, r.total, r.top), name="flat").sink("out", out)
    config = RunConfig(
        checkpoints=tmp_path, checkpoint_interval="1h", parallelism=2, restart=restart.fixed_delay(3, "0ms")
    )
    assert asyncio.run(run_script(topology, source, config, executor=InlineExecutor())) is JobStatus.FINISHED
    wanted = []
    for visit in visits:
        inside = [v.spent for v in visits if v.user == visit.user and visit.at - 100 < v.at <= visit.at]
        wanted.append((visit.at, visit.user, len(inside), sum(inside), max(inside)))
    assert sorted(out.values) == sorted(wanted)
