"""Records as of their event time against a brute-force oracle, and the corner cases one by one."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tidegate.engine.testing import OperatorHarness
from tidegate.operators import Joined
from tidegate.operators.table_input import TableInput
from tidegate.operators.temporal_join import TemporalJoin
from tidegate.operators.time import MIN_WATERMARK

TIMES = st.integers(-20, 60)
RECORDS = st.tuples(TIMES, st.sampled_from("ab"), st.integers(0, 99))
VERSIONS = st.tuples(TIMES, st.sampled_from("ab"), st.one_of(st.none(), st.integers(100, 199)))
STEPS = st.lists(
    st.one_of(
        st.integers(-25, 70),
        st.tuples(st.just(0), st.lists(RECORDS, min_size=1, max_size=4)),
        st.tuples(st.just(1), st.lists(VERSIONS, min_size=1, max_size=4)),
    ),
    max_size=14,
)


def joined(how: Any = "inner", **more: Any) -> TemporalJoin[Any]:
    """The operator for numbers."""
    return TemporalJoin(TableInput(int), record_type=int, how=how, **more)


def expected(steps: Any, how: str) -> tuple[list[list[Any]], list[Any]]:
    """What the docs say: all versions kept, each record looked up when the watermark has reached it."""
    watermark, late = MIN_WATERMARK, []
    waiting: list[Any] = []
    versions: dict[str, dict[int, Any]] = {"a": {}, "b": {}}
    out: list[list[Any]] = []

    def as_of(key: str, at: int) -> Any:
        known = [t for t in versions[key] if t <= at]
        return versions[key][max(known)] if known else None

    def forget() -> None:
        for key, known in versions.items():
            # A deletion that the watermark has reached is forgotten with all before it.
            if as_of(key, watermark) is None:
                versions[key] = {at: row for at, row in known.items() if at > watermark}

    for step in steps:
        found: list[Any] = []
        if isinstance(step, int):
            watermark = max(watermark, step)
            due = [record for record in waiting if record[0] <= watermark]
            waiting = [record for record in waiting if record[0] > watermark]
            rows = [(value, as_of(key, at), at, key) for at, key, value in due]
            found = [(Joined(v, row), at, key) for v, row, at, key in rows if row is not None or how == "left"]
        else:
            index, batch = step
            for at, key, value in batch:
                if index == 0 and at > watermark:
                    waiting.append((at, key, value))
                elif index == 0 or (at <= watermark and any(at < t <= watermark for t in versions[key])):
                    late.append(value)
                else:
                    versions[key][at] = value
                forget()
        forget()
        out.append(sorted(found, key=repr))
    return out, late


@pytest.mark.slow
@pytest.mark.parametrize("examples", [35, pytest.param(2000, marks=[pytest.mark.long, pytest.mark.timeout(7200)])])
def test_joins_agree_with_the_oracle_when_restored_after_every_step(played, examples):
    """Disorder on both sides and a restore at every position never change what comes out of a step."""

    @settings(max_examples=examples, deadline=None)
    @given(STEPS, st.sampled_from(["inner", "left"]))
    def holds(steps: Any, how: Any) -> None:
        assert played(joined(how), steps) == expected(steps, how)

    holds()


@pytest.mark.slow
@pytest.mark.parametrize("examples", [6, pytest.param(200, marks=[pytest.mark.long, pytest.mark.timeout(7200)])])
def test_joins_agree_with_the_oracle_on_rocksdb_with_a_tiny_budget(played, examples):
    """State that is evicted all the time gives the same pairs."""

    @settings(max_examples=examples, deadline=None)
    @given(STEPS, st.sampled_from(["inner", "left"]))
    def holds(steps: Any, how: Any) -> None:
        assert played(joined(how), steps, backend="rocksdb", memory_budget_bytes=300) == expected(steps, how)

    holds()


def test_a_record_takes_the_version_of_its_time_however_late_that_comes():
    """Versions that are newer than the record do not count, nor does who came first."""
    with OperatorHarness(joined()) as h:
        h.push([1], [100], ["a"]).push([12, 11, 10], [101, 100, 50], ["a"] * 3, input=1)
        assert h.values == []
        h.watermark(100)
        assert h.output == [(Joined(1, 11), 100)]


def test_records_come_out_in_order_of_time():
    """They have waited anyway."""
    with OperatorHarness(joined("left")) as h:
        h.push([3, 1, 2], [30, 10, 20], ["a", "b", "a"]).watermark(25).watermark(30)
        assert [at for _, at in h.output] == [10, 20, 30]


def test_old_versions_and_deleted_keys_are_forgotten():
    """One version per key that has a row is left, and nothing of a key that has none."""
    with OperatorHarness(joined(), restore_every_step=False) as h:
        for at in range(0, 1000, 10):
            h.push([at], [at], ["a"], input=1).push([at, None], [at, at + 5], ["b", "b"], input=1).watermark(at + 5)
        h.push([7], [2000], ["a"]).watermark(3000)
        assert h.values == [Joined(7, 990)]
        waiting, versions = (h.node.context.state(state) for state in h.node.operator.states()[:2])
        assert (list(waiting.namespaces()), list(versions.items())) == ([], [("a", versions.get("a"))])
        assert versions.get("a").times == [990]


def test_a_version_behind_the_watermark_counts_from_now_on():
    """What has gone out stays as it was; an older one than holds is late."""
    with OperatorHarness(joined("left")) as h:
        h.push([1], [10], ["a"]).watermark(10).push([100, 99], [8, 7], ["a", "a"], input=1)
        h.push([2], [11], ["a"]).watermark(11)
        assert h.values == [Joined(1, None), Joined(2, 100)]
        assert h.side("late") == [99]
        assert h.counters["late"] == 1


def test_a_wrong_setting_is_refused():
    """One clear line when the topology is built."""
    with pytest.raises(ValueError, match="use one of 'inner', 'left'"):
        joined("outer")
    with pytest.raises(ValueError, match="leave ttl out"):
        TemporalJoin(TableInput(int, ttl="1h"), record_type=int)
