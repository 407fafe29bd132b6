"""Joins in tumbling and sliding windows against a brute-force oracle, and their corner cases one by one."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tidegate.engine.errors import OperatorError
from tidegate.engine.testing import OperatorHarness
from tidegate.operators import Joined, windows
from tidegate.operators.time import MIN_WATERMARK
from tidegate.operators.window_join import WindowJoin

HOWS = ("inner", "left", "right", "outer")

RECORDS = st.tuples(st.integers(-20, 60), st.sampled_from("ab"), st.integers(0, 99))
BATCHES = st.tuples(st.integers(0, 1), st.lists(RECORDS, min_size=1, max_size=4))
STEPS = st.lists(st.one_of(st.integers(-25, 70), BATCHES), max_size=12)
ASSIGNERS = st.sampled_from(
    [
        windows.TimeWindows(10, 10),
        windows.TimeWindows(10, 10, 3),
        windows.TimeWindows(10, 5),
        windows.TimeWindows(9, 6, 2),
        windows.TimeWindows(7, 1),
    ]
)


def joined(assigner: windows.TimeWindows, how: Any = "inner", lateness: int = 0, **more: Any) -> WindowJoin[Any]:
    """The operator for numbers."""
    return WindowJoin(assigner, left_type=int, right_type=int, how=how, allowed_lateness_ms=lateness, **more)


def ends_of(timestamp: int, assigner: windows.TimeWindows) -> list[int]:
    """The ends of the windows of a timestamp, found by trying."""
    size, slide, offset = assigner.size_ms, assigner.slide_ms, assigner.offset_ms
    return [s + size for s in range(timestamp - size + 1, timestamp + 1) if (s - offset) % slide == 0]


def expected(steps: Any, assigner: windows.TimeWindows, how: str, lateness: int) -> tuple[list[list[Any]], list[Any]]:
    """What the docs say, record by record."""
    watermark, late = MIN_WATERMARK, []
    sides: list[list[Any]] = [[], []]
    out: list[list[Any]] = []
    for step in steps:
        found: list[Any] = []
        if isinstance(step, int):
            ends = {e for side in sides for t, _, _ in side for e in ends_of(t, assigner)}
            for end in ends:
                left, right = ([r for r in side if end in ends_of(r[0], assigner)] for side in sides)
                if watermark < end - 1 <= step:
                    found += [(Joined(a[2], b[2]), end - 1, a[1]) for a in left for b in right if a[1] == b[1]]
                if watermark < end - 1 + lateness <= step:
                    if how in ("left", "outer"):
                        lone = [a for a in left if a[1] not in {b[1] for b in right}]
                        found += [(Joined(a[2], None), end - 1 + lateness, a[1]) for a in lone]
                    if how in ("right", "outer"):
                        lone = [b for b in right if b[1] not in {a[1] for a in left}]
                        found += [(Joined(None, b[2]), end - 1 + lateness, b[1]) for b in lone]
            watermark = max(watermark, step)
        else:
            index, records = step
            for t, key, value in records:
                alive = [end for end in ends_of(t, assigner) if end - 1 + lateness > watermark]
                if not alive:
                    late.append(value)
                    continue
                for end in alive:
                    if end - 1 <= watermark:
                        others = [r[2] for r in sides[1 - index] if r[1] == key and end in ends_of(r[0], assigner)]
                        found += [(Joined(*((value, o) if index == 0 else (o, value))), end - 1, key) for o in others]
                sides[index].append((t, key, value))
        out.append(sorted(found, key=repr))
    return out, late


@pytest.mark.slow
@pytest.mark.parametrize("examples", [30, pytest.param(1500, marks=[pytest.mark.long, pytest.mark.timeout(7200)])])
def test_joins_agree_with_the_oracle_when_restored_after_every_step(played, examples):
    """Disorder, lateness and a restore at every position never change what comes out of a step."""

    @settings(max_examples=examples, deadline=None)
    @given(STEPS, ASSIGNERS, st.sampled_from(HOWS), st.sampled_from([0, 1, 7, 30]))
    def holds(steps: Any, assigner: Any, how: Any, lateness: Any) -> None:
        assert played(joined(assigner, how, lateness), steps) == expected(steps, assigner, how, lateness)

    holds()


@pytest.mark.slow
@pytest.mark.parametrize("examples", [6, pytest.param(150, marks=[pytest.mark.long, pytest.mark.timeout(7200)])])
def test_joins_agree_with_the_oracle_on_rocksdb_with_a_tiny_budget(played, examples):
    """State that is evicted all the time gives the same pairs."""

    @settings(max_examples=examples, deadline=None)
    @given(STEPS, ASSIGNERS, st.sampled_from(HOWS), st.sampled_from([0, 7]))
    def holds(steps: Any, assigner: Any, how: Any, lateness: Any) -> None:
        result = played(joined(assigner, how, lateness), steps, backend="rocksdb", memory_budget_bytes=300)
        assert result == expected(steps, assigner, how, lateness)

    holds()


def test_the_pairs_of_a_window_come_in_order_of_time():
    """First by the left record's time, then by the right one's, however they came."""
    with OperatorHarness(joined(windows.TimeWindows(10, 10))) as h:
        h.push([2, 1], [5, 3], ["a", "a"]).push([20, 10], [9, 0], ["a", "a"], input=1).watermark(9)
        assert h.values == [Joined(1, 10), Joined(1, 20), Joined(2, 10), Joined(2, 20)]
        assert [t for _, t in h.output] == [9] * 4


def test_select_makes_the_values():
    """No `Joined` where the user has something better."""
    operator = joined(windows.TimeWindows(10, 10), "left", select=lambda a, b: (a, b))
    with OperatorHarness(operator) as h:
        h.push([1, 2], [5, 3], ["a", "b"]).push([10], [9], ["a"], input=1).watermark(9)
        assert sorted(h.values, key=repr) == [(1, 10), (2, None)]


@pytest.mark.parametrize("on_error", ["skip", "dead_letter"])
def test_a_pair_that_select_fails_on_is_left_out(on_error):
    """The other pairs of the window come; a dead letter holds the pair."""
    operator = joined(windows.TimeWindows(10, 10), select=lambda a, b: 60 // (b - a), on_error=on_error)
    with OperatorHarness(operator) as h:
        h.push([1, 2], [1, 2], ["a", "a"]).push([2], [9], ["a"], input=1).watermark(9)
        assert h.values == [60]
        assert [letter.value for letter in h.side("failed")] == [Joined(2, 2)] * (on_error == "dead_letter")
        assert h.counters["errors"] == 1


def test_a_failing_select_fails_the_job():
    """That is what `on_error` says unless told otherwise."""
    with OperatorHarness(joined(windows.TimeWindows(10, 10), select=lambda a, b: a // b)) as h:
        h.push([1], [1], ["a"]).push([0], [9], ["a"], input=1)
        with pytest.raises(OperatorError, match="ZeroDivisionError"):
            h.watermark(9)


def test_state_goes_with_the_windows():
    """Nothing stays of windows that are over."""
    with OperatorHarness(joined(windows.TimeWindows(10, 5), "outer", 3), restore_every_step=False) as h:
        for start in range(0, 200, 10):
            h.push([1], [start], ["a"]).push([2], [start], ["b"], input=1).watermark(start)
        tables = [h.node.context.state(state) for state in h.node.operator.states()[:2]]
        assert all(len(list(table.namespaces())) <= 4 for table in tables)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"how": "full"}, "use one of 'inner', 'left', 'right', 'outer'"),
        ({"on_error": "ignore"}, "on_error='ignore' is not known"),
        ({"allowed_lateness_ms": -1}, "lateness"),
    ],
)
def test_a_wrong_setting_is_refused(settings, message):
    """One clear line when the topology is built."""
    with pytest.raises(ValueError, match=message):
        WindowJoin(windows.TimeWindows(10, 10), **({"left_type": int, "right_type": int} | settings))
