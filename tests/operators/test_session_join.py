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


def pairs_of(session: list[Any], how: str) -> list[Any]:
    """What a session of (time, side, value) gives."""
    left, right = ([v for _, side, v in session if side == index] for index in (0, 1))
    if left and right:
        return [Joined(a, b) for a in left for b in right]
    if left and how in ("left", "outer"):
        return [Joined(a, None) for a in left]
    if right and how in ("right", "outer"):
        return [Joined(None, b) for b in right]
    return []


def expected(steps: Any, gap: int, how: str) -> tuple[list[list[Any]], list[Any]]:
    """What the docs say: sessions as lists of records, looked at anew for each record."""
    watermark, late = MIN_WATERMARK, []
    sessions: list[tuple[str, list[Any]]] = []
    out: list[list[Any]] = []
    for step in steps:
        found: list[Any] = []
        if isinstance(step, int):
            watermark = max(watermark, step)
            for key, records in list(sessions):
                closes = max(t for t, _, _ in records) + gap - 1
                if closes <= watermark:
                    sessions.remove((key, records))
                    found += [(pair, closes, key) for pair in pairs_of(records, how)]
        else:
            index, batch = step
            for t, key, value in batch:
                met = [s for s in sessions if s[0] == key and any(abs(t - other) < gap for other, _, _ in s[1])]
                merged = [record for _, records in met for record in records] + [(t, index, value)]
                if max(t for t, _, _ in merged) + gap - 1 <= watermark:
                    late.append(value)
                    continue
                sessions = [s for s in sessions if s not in met] + [(key, merged)]
        out.append(sorted(found, key=repr))
    return out, late


@pytest.mark.slow
@pytest.mark.parametrize("examples", [30, pytest.param(1500, marks=[pytest.mark.long, pytest.mark.timeout(7200)])])
def test_joins_agree_with_the_oracle_when_restored_after_every_step(played, examples):
    """Disorder, sessions that meet and a restore at every position never change what comes out of a step."""

    @settings(max_examples=examples, deadline=None)
    @given(STEPS, st.sampled_from([1, 4, 10]), st.sampled_from(HOWS))
    def holds(steps: Any, gap: Any, how: Any) -> None:
        assert played(joined(gap, how), steps) == expected(steps, gap, how)

    holds()


@pytest.mark.slow
@pytest.mark.parametrize("examples", [6, pytest.param(150, marks=[pytest.mark.long, pytest.mark.timeout(7200)])])
def test_joins_agree_with_the_oracle_on_rocksdb_with_a_tiny_budget(played, examples):
    """State that is evicted all the time gives the same pairs."""

    @settings(max_examples=examples, deadline=None)
    @given(STEPS, st.sampled_from([4, 10]), st.sampled_from(HOWS))
    def holds(steps: Any, gap: Any, how: Any) -> None:
        assert played(joined(gap, how), steps, backend="rocksdb", memory_budget_bytes=300) == expected(steps, gap, how)

    holds()


def test_a_record_of_one_side_holds_a_session_of_the_other_open():
    """Both sides make up a session together."""
    with OperatorHarness(joined(10, "outer")) as h:
        h.push([1, 2], [0, 16], ["a", "a"]).push([3], [8], ["a"], input=1).watermark(24)
        assert h.values == []
        h.watermark(25)
        assert h.output == [(Joined(1, 3), 25), (Joined(2, 3), 25)]


def test_nothing_stays_of_a_session_that_is_over():
    """Neither its bounds nor its records nor its timers."""
    with OperatorHarness(joined(10, "left"), restore_every_step=False) as h:
        for start in range(0, 1000, 50):
            h.push([1, 2], [start, start + 9], ["a", "b"]).push([3], [start + 5], ["a"], input=1)
            h.watermark(start + 30)
        left, right, sessions = (h.node.context.state(state) for state in h.node.operator.states()[:3])
        assert (list(left.namespaces()), list(right.namespaces()), list(sessions.items())) == ([], [], [])
        assert h.node.store.timers.next_event() is None
