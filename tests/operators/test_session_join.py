"""Joins in sessions against a brute-force oracle, and their corner cases one by one."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tidegate.engine.testing import OperatorHarness
from tidegate.operators import Joined, windows
from tidegate.operators.session_join import SessionJoin
from tidegate.operators.time import MIN_WATERMARK

HOWS = ("inner", "left", "right", "outer")

RECORDS = st.tuples(st.integers(-20, 60), st.sampled_from("ab"), st.integers(0, 99))
BATCHES = st.tuples(st.integers(0, 1), st.lists(RECORDS, min_size=1, max_size=4))
STEPS = st.lists(st.one_of(st.integers(-25, 80), BATCHES), max_size=14)


def joined(gap: int, how: Any = "inner", **more: Any) -> SessionJoin[Any]:
    """The operator for numbers."""
    return SessionJoin(windows.SessionWindows(gap), left_type=int, right_type=int, how=how, **more)


def pairs_of(session: list[Any]) -> list[Any]:
    """All pairs of a session of (number of the record, time, side, value)."""
    left, right = ([r for r in session if r[2] == index] for index in (0, 1))
    return [(a, b) for a in left for b in right]


def alone(session: list[Any], how: str) -> list[Any]:
    """Who has no partner in a session."""
    left, right = ([value for *_, side, value in session if side == index] for index in (0, 1))
    if left and not right and how in ("left", "outer"):
        return [Joined(a, None) for a in left]
    if right and not left and how in ("right", "outer"):
        return [Joined(None, b) for b in right]
    return []


def expected(steps: Any, gap: int, how: str, lateness: int = 0) -> tuple[list[list[Any]], list[Any]]:
    """What the docs say: sessions as lists of records, looked at anew for each record."""
    watermark, late = MIN_WATERMARK, []
    sessions: list[tuple[str, list[Any]]] = []
    given: set[Any] = set()
    out: list[list[Any]] = []

    def fire(key: str, records: list[Any]) -> list[Any]:
        closes = max(t for _, t, _, _ in records) + gap - 1
        new = [(a, b) for a, b in pairs_of(records) if (a, b) not in given]
        given.update(new)
        return [(Joined(a[3], b[3]), closes, key) for a, b in new]

    numbers = iter(range(1_000))
    in_fired: set[int] = set()
    for step in steps:
        found: list[Any] = []
        if isinstance(step, int):
            watermark = max(watermark, step)
            for key, records in list(sessions):
                closes = max(t for _, t, _, _ in records) + gap - 1
                if closes <= watermark:
                    found += fire(key, records)
                if closes + lateness <= watermark:
                    sessions.remove((key, records))
                    found += [(pair, closes + lateness, key) for pair in alone(records, how)]
        else:
            index, batch = step
            for t, key, value in batch:
                met = [s for s in sessions if s[0] == key and any(abs(t - other) < gap for _, other, _, _ in s[1])]
                merged = [record for _, records in met for record in records] + [(next(numbers), t, index, value)]
                if max(t for _, t, _, _ in merged) + gap - 1 + lateness <= watermark:
                    late.append(value)
                    continue
                sessions = [s for s in sessions if s not in met] + [(key, merged)]
                if any(r[0] in in_fired for r in merged) or max(t for _, t, _, _ in merged) + gap - 1 <= watermark:
                    in_fired.update(r[0] for r in merged)
                    found += fire(key, merged)
        in_fired.update(r[0] for _, s in sessions if max(t for _, t, _, _ in s) + gap - 1 <= watermark for r in s)
        out.append(sorted(found, key=repr))
    return out, late


@pytest.mark.slow
@pytest.mark.parametrize("examples", [30, pytest.param(1500, marks=[pytest.mark.long, pytest.mark.timeout(7200)])])
def test_joins_agree_with_the_oracle_when_restored_after_every_step(played, examples):
    """Disorder, sessions that meet and a restore at every position never change what comes out of a step."""

    @settings(max_examples=examples, deadline=None)
    @given(STEPS, st.sampled_from([1, 4, 10]), st.sampled_from(HOWS), st.sampled_from([0, 0, 5, 30]))
    def holds(steps: Any, gap: Any, how: Any, lateness: Any) -> None:
        operator = joined(gap, how, allowed_lateness_ms=lateness)
        assert played(operator, steps) == expected(steps, gap, how, lateness)

    holds()


@pytest.mark.slow
@pytest.mark.parametrize("examples", [6, pytest.param(150, marks=[pytest.mark.long, pytest.mark.timeout(7200)])])
def test_joins_agree_with_the_oracle_on_rocksdb_with_a_tiny_budget(played, examples):
    """State that is evicted all the time gives the same pairs."""

    @settings(max_examples=examples, deadline=None)
    @given(STEPS, st.sampled_from([4, 10]), st.sampled_from(HOWS), st.sampled_from([0, 12]))
    def holds(steps: Any, gap: Any, how: Any, lateness: Any) -> None:
        operator = joined(gap, how, allowed_lateness_ms=lateness)
        found = played(operator, steps, backend="rocksdb", memory_budget_bytes=300)
        assert found == expected(steps, gap, how, lateness)

    holds()


def test_a_record_of_one_side_holds_a_session_of_the_other_open():
    """Both sides make up a session together."""
    with OperatorHarness(joined(10, "outer")) as h:
        h.push([1, 2], [0, 16], ["a", "a"]).push([3], [8], ["a"], input=1).watermark(24)
        assert h.values == []
        h.watermark(25)
        assert h.output == [(Joined(1, 3), 25), (Joined(2, 3), 25)]


def test_a_late_record_puts_sessions_together_and_brings_only_what_is_new():
    """Of a session that has fired, of one that has not, and its own pairs; who is alone is known when all is over."""
    with OperatorHarness(joined(10, "outer", allowed_lateness_ms=50)) as h:
        h.push([1, 2, 3], [0, 18, 100], ["a", "a", "b"]).push([7, 8], [1, 19], ["a", "a"], input=1).watermark(20)
        assert h.output == [(Joined(1, 7), 10)]
        h.clear().push([9], [10], ["a"], input=1)
        assert h.output == [
            (Joined(1, 8), 28),
            (Joined(1, 9), 28),
            (Joined(2, 7), 28),
            (Joined(2, 8), 28),
            (Joined(2, 9), 28),
        ]
        h.clear().push([4], [30], ["b"], input=1).watermark(158)
        assert h.output == [(Joined(None, 4), 89)]
        h.clear().watermark(159)
        assert h.output == [(Joined(3, None), 159)]
        assert h.push([5], [20], ["a"]).side("late") == [5]


def test_a_negative_lateness_is_refused():
    """One clear line when the topology is built."""
    with pytest.raises(ValueError, match="allowed lateness cannot be negative"):
        joined(10, allowed_lateness_ms=-1)


@pytest.mark.parametrize("lateness", [0, 15])
def test_nothing_stays_of_a_session_that_is_over(lateness):
    """Neither its bounds nor its records nor its timers."""
    operator = joined(10, "left", allowed_lateness_ms=lateness)
    with OperatorHarness(operator, restore_every_step=False) as h:
        for start in range(0, 1000, 50):
            h.push([1, 2], [start, start + 9], ["a", "b"]).push([3], [start + 5], ["a"], input=1)
            h.watermark(start + 34)
        left, right, sessions = (h.node.context.state(state) for state in h.node.operator.states()[:3])
        assert (list(left.namespaces()), list(right.namespaces()), list(sessions.items())) == ([], [], [])
        assert h.node.store.timers.next_event() is None
