"""Interval joins against a brute-force oracle, and their corner cases one by one."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tidegate.engine.testing import OperatorHarness
from tidegate.operators import Joined
from tidegate.operators.interval_join import IntervalJoin
from tidegate.operators.time import MIN_WATERMARK

HOWS = ("inner", "left", "right", "outer")

RECORDS = st.tuples(st.integers(-20, 60), st.sampled_from("ab"), st.integers(0, 99))
BATCHES = st.tuples(st.integers(0, 1), st.lists(RECORDS, min_size=1, max_size=4))
STEPS = st.lists(st.one_of(st.integers(-25, 90), BATCHES), max_size=14)
BOUNDS = st.sampled_from([(0, 0), (-5, 10), (-10, -3), (4, 9), (-20, 0), (0, 25), (-1, 1)])
PANES = st.sampled_from([None, 1, 3, 8])


def joined(bounds: tuple[int, int], how: Any = "inner", **more: Any) -> IntervalJoin[Any]:
    """The operator for numbers."""
    return IntervalJoin(*bounds, left_type=int, right_type=int, how=how, **more)


def expected(steps: Any, bounds: tuple[int, int], how: str) -> tuple[list[list[Any]], list[Any]]:
    """What the docs say, record by record, each with every one of the other side."""
    watermark, late = MIN_WATERMARK, []
    sides: list[list[list[Any]]] = [[], []]
    reach = (bounds[1], -bounds[0])
    out: list[list[Any]] = []

    def lone() -> list[Any]:
        found = []
        for index, side in enumerate(sides):
            for record in side:
                t, key, value, alone = record
                if alone and t + reach[index] <= watermark and how in (("left", "right")[index], "outer"):
                    pair = Joined(value, None) if index == 0 else Joined(None, value)
                    found.append((pair, max(t, t + reach[index]), key))
                    record[3] = False
        return found

    for step in steps:
        found: list[Any] = []
        if isinstance(step, int):
            watermark = max(watermark, step)
            found = lone()
        else:
            index, batch = step
            for t, key, value in batch:
                if t <= watermark:
                    late.append(value)
                    continue
                mine = [t, key, value, True]
                for other in sides[1 - index]:
                    left, right = (mine, other) if index == 0 else (other, mine)
                    if other[1] == key and bounds[0] <= right[0] - left[0] <= bounds[1]:
                        found.append((Joined(left[2], right[2]), max(left[0], right[0]), key))
                        mine[3] = other[3] = False
                sides[index].append(mine)
                found += lone()
        out.append(sorted(found, key=repr))
    return out, late


@pytest.mark.slow
@pytest.mark.parametrize("examples", [35, pytest.param(2000, marks=[pytest.mark.long, pytest.mark.timeout(7200)])])
def test_joins_agree_with_the_oracle_when_restored_after_every_step(played, examples):
    """Disorder, panes of any length and a restore at every position never change what comes out of a step."""

    @settings(max_examples=examples, deadline=None)
    @given(STEPS, BOUNDS, st.sampled_from(HOWS), PANES)
    def holds(steps: Any, bounds: Any, how: Any, pane_ms: Any) -> None:
        assert played(joined(bounds, how, pane_ms=pane_ms), steps) == expected(steps, bounds, how)

    holds()


@pytest.mark.slow
@pytest.mark.parametrize("examples", [6, pytest.param(200, marks=[pytest.mark.long, pytest.mark.timeout(7200)])])
def test_joins_agree_with_the_oracle_on_rocksdb_with_a_tiny_budget(played, examples):
    """State that is evicted all the time gives the same pairs."""

    @settings(max_examples=examples, deadline=None)
    @given(STEPS, BOUNDS, st.sampled_from(HOWS), PANES)
    def holds(steps: Any, bounds: Any, how: Any, pane_ms: Any) -> None:
        operator = joined(bounds, how, pane_ms=pane_ms)
        assert played(operator, steps, backend="rocksdb", memory_budget_bytes=300) == expected(steps, bounds, how)

    holds()


def test_a_pair_comes_at_once_and_keeps_the_key():
    """With the later one's timestamp, and before any watermark."""
    with OperatorHarness(joined((-5, 10))) as h:
        h.push([1], [100], ["a"]).push([2, 3, 4], [95, 111, 110], ["a", "a", "a"], input=1)
        assert h.output == [(Joined(1, 2), 100), (Joined(1, 4), 110)]
        assert h.keys == ["a", "a"]


def test_who_has_no_partner_comes_when_none_can_come_any_more():
    """Not a moment before, and not behind the watermark that stood."""
    with OperatorHarness(joined((-5, 10), "outer")) as h:
        h.push([1], [100], ["a"]).push([2], [200], ["a"], input=1).watermark(109)
        assert h.values == []
        h.watermark(110).watermark(205)
        assert h.output == [(Joined(1, None), 110), (Joined(None, 2), 205)]


def test_long_bounds_round_the_moment_up_to_a_thousandth():
    """So that the timers of a long interval are few."""
    with OperatorHarness(joined((0, 3_600_000), "left"), restore_every_step=False) as h:
        h.push([1, 2, 3], [1, 1_000, 3_601], ["a", "a", "a"]).watermark(3_600_002)
        assert h.values == []
        h.watermark(3_603_600)
        assert h.output == [(Joined(1, None), 3_603_600), (Joined(2, None), 3_603_600)]
        h.watermark(3_607_200)
        assert h.output[2:] == [(Joined(3, None), 3_607_200)]


def test_state_goes_with_the_watermark():
    """No pane outlives its last possible partner, and no timer."""
    with OperatorHarness(joined((-500, 1000), "outer"), restore_every_step=False) as h:
        for at in range(0, 60_000, 500):
            h.push([1], [at], ["a"]).push([2], [at], [str(at)], input=1).watermark(at - 1)
        tables = [h.node.context.state(state) for state in h.node.operator.states()[:2]]
        assert [len(list(table.namespaces())) <= 5 for table in tables] == [True, True]
        h.end()
        assert [list(table.namespaces()) for table in tables] == [[], []]
        assert h.node.store.timers.next_event() is None


def test_a_probe_reads_only_the_panes_of_its_interval():
    """The records of a key are not read whole."""
    with OperatorHarness(joined((-10, 10), pane_ms=10), restore_every_step=False) as h:
        h.push(list(range(100)), list(range(0, 1000, 10)), ["a"] * 100)
        table = h.node.context.state(h.node.operator.states()[0])
        read: list[int] = []
        reader = table.reader
        table.reader = lambda pane: read.append(pane) or reader(pane)
        h.push([7], [500], ["a"], input=1)
        assert read == [500, 510, 520]
        assert h.values == [Joined(49, 7), Joined(50, 7), Joined(51, 7)]


@pytest.mark.parametrize(
    ("bounds", "settings", "message"),
    [
        ((10, -5), {}, r"interval_join\(lower='10ms', upper='-5ms'\): lower must not exceed upper"),
        ((0, 5), {"how": "full"}, "use one of 'inner', 'left', 'right', 'outer'"),
        ((0, 5), {"on_error": "ignore"}, "on_error='ignore' is not known"),
    ],
)
def test_a_wrong_setting_is_refused(bounds, settings, message):
    """One clear line when the topology is built."""
    with pytest.raises(ValueError, match=message):
        joined(bounds, **settings)
