"""Session windows against a brute-force oracle, and their corner cases one by one."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tidegate.engine.errors import OperatorError
from tidegate.engine.testing import OperatorHarness
from tidegate.operators import agg, windows
from tidegate.operators.time import MIN_WATERMARK
from tidegate.operators.window_session import SessionOperator

Step = int | list[tuple[int, str, int]]
"""A watermark, or a batch of (timestamp, key, value)."""

AGGREGATES = {"n": agg.count(), "total": agg.sum(), "newest": agg.last(), "values": agg.collect()}


def expected(steps: list[Step], gap: int, lateness: int) -> tuple[list[list[Any]], list[int]]:
    """What the design says, record by record: the results of each step, and the late values."""
    watermark, late = MIN_WATERMARK, []
    sessions: list[tuple[str, list[tuple[int, int]]]] = []
    out: list[list[Any]] = []

    def closes(records: list[tuple[int, int]]) -> int:
        return max(t for t, _ in records) + gap - 1

    def result(key: str, records: list[tuple[int, int]]) -> Any:
        values = [v for _, v in records]
        newest = [v for t, v in records if t == max(t for t, _ in records)][-1]
        start = min(t for t, _ in records)
        return (key, start, closes(records) + 1, len(records), sum(values), newest, sorted(values))

    for step in steps:
        fired: list[Any] = []
        if isinstance(step, int):
            fired = [result(k, records) for k, records in sessions if watermark < closes(records) <= step]
            watermark = max(watermark, step)
            sessions = [(k, r) for k, r in sessions if closes(r) + lateness > watermark]
        else:
            for timestamp, key, value in step:
                met = [
                    (k, r)
                    for k, r in sessions
                    if k == key and min(t for t, _ in r) < timestamp + gap and timestamp <= closes(r)
                ]
                merged = [*[record for _, r in met for record in r], (timestamp, value)]
                if closes(merged) + lateness <= watermark:
                    late.append(value)
                    continue
                sessions = [session for session in sessions if session not in met] + [(key, merged)]
                if closes(merged) <= watermark:
                    fired.append(result(key, merged))
        out.append(sorted(fired))
    return out, late


def shown(result: Any) -> Any:
    """A result as the oracle writes it."""
    return (*[getattr(result, name) for name in result.__struct_fields__[:-1]], sorted(result.values))


def actual(steps: list[Step], operator: SessionOperator, **options: Any) -> tuple[list[list[Any]], list[int]]:
    """What the operator gives out at each step, and the late values."""
    out = []
    with OperatorHarness(operator, **options) as h:
        for step in steps:
            before = len(h.values)
            if isinstance(step, int):
                h.watermark(step)
            else:
                h.push([v for *_, v in step], [t for t, *_ in step], [k for _, k, _ in step])
            out.append(sorted(shown(r) for r in h.values[before:]))
        return out, h.side("late")


@st.composite
def scripts(draw: Any) -> list[Step]:
    """Watermarks and batches; values are all different, so that equal records are told apart."""
    record = st.tuples(st.integers(-20, 60), st.sampled_from("ab"))
    steps = draw(st.lists(st.one_of(st.integers(-25, 90), st.lists(record, min_size=1, max_size=6)), max_size=12))
    numbers = iter(range(1000))
    return [s if isinstance(s, int) else [(t, k, next(numbers)) for t, k in s] for s in steps]


@pytest.mark.slow
@settings(max_examples=120, deadline=None)
@given(scripts(), st.sampled_from([1, 5, 12]), st.sampled_from([0, 1, 8, 40]))
def test_sessions_agree_with_the_oracle_when_restored_after_every_step(
    steps: list[Step], gap: int, lateness: int
) -> None:
    """Disorder, merging, lateness and a restore at every position never change what comes out of a step."""
    operator = SessionOperator(windows.SessionWindows(gap), AGGREGATES, allowed_lateness_ms=lateness)
    assert actual(steps, operator) == expected(steps, gap, lateness)


@pytest.mark.slow
@settings(max_examples=12, deadline=None)
@given(scripts(), st.sampled_from([0, 8]))
def test_sessions_agree_with_the_oracle_on_rocksdb_with_a_tiny_budget(steps: list[Step], lateness: int) -> None:
    """State that is evicted all the time gives the same results."""
    operator = SessionOperator(windows.SessionWindows(12), AGGREGATES, allowed_lateness_ms=lateness)
    result = actual(steps, operator, backend="rocksdb", memory_budget_bytes=300)
    assert result == expected(steps, 12, lateness)


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(scripts(), st.sampled_from([0, 8]))
def test_the_generated_loop_and_the_plain_one_say_the_same(steps: list[Step], lateness: int) -> None:
    """The plain functions are the oracle of the generated ones."""
    results = [
        actual(
            steps,
            SessionOperator(windows.SessionWindows(12), AGGREGATES, allowed_lateness_ms=lateness, inline=inline),
        )
        for inline in (True, False)
    ]
    assert results[0] == results[1]


def test_a_record_exactly_the_gap_after_the_last_starts_a_new_session() -> None:
    """A session is half-open: `[first, last + gap)`."""
    with OperatorHarness(SessionOperator(windows.session("10ms"), {"n": agg.count()})) as h:
        h.push([1, 2, 3], [0, 9, 19], ["a"] * 3).end()
        assert [(r.start_ms, r.end_ms, r.n) for r in h.values] == [(0, 19, 2), (19, 29, 1)]


def test_a_record_between_two_sessions_joins_them() -> None:
    """The record that closes the gap makes one session of two."""
    with OperatorHarness(SessionOperator(windows.session("10ms"), {"n": agg.count()})) as h:
        h.push([1, 2, 3], [0, 15, 8], ["a"] * 3).end()
        assert [(r.start_ms, r.end_ms, r.n) for r in h.values] == [(0, 25, 3)]


def test_a_session_says_something_early_when_asked() -> None:
    """Each full interval of processing time the sessions that changed are given out as they stand."""
    operator = SessionOperator(windows.session("10ms"), {"n": agg.count()}, trigger=windows.early(every="1s"))
    with OperatorHarness(operator) as h:
        h.push([1, 2], [0, 1], ["a", "a"]).advance(1_000).advance(1_000)
        assert [r.n for r in h.values] == [2]
        h.push([3], [5], ["a"]).advance(1_000).end()
        assert [r.n for r in h.values] == [2, 3, 3]


def test_a_session_counts_across_a_merge() -> None:
    """The count trigger counts the records of all sessions that became one."""
    operator = SessionOperator(windows.session("10ms"), {"n": agg.count()}, trigger=windows.early(every_count=3))
    with OperatorHarness(operator) as h:
        h.push([1, 2, 3], [0, 15, 8], ["a"] * 3)
        assert [r.n for r in h.values] == [3]


def test_settings_that_do_not_fit_are_refused() -> None:
    """Sessions need parts that can be put together, and keep what they gave out."""
    with pytest.raises(ValueError, match="merge="):
        SessionOperator(windows.session("1s"), {"n": agg.folding(0, max)})
    with pytest.raises(ValueError, match="purging"):
        SessionOperator(windows.session("1s"), {"n": agg.count()}, trigger=windows.on_count(2, purging=True))
    with pytest.raises(ValueError, match="negative"):
        SessionOperator(windows.session("1s"), {"n": agg.count()}, allowed_lateness_ms=-1)


def closing(steps: list[Step], gap_of: Any) -> list[Any]:
    """The sessions in the end, each record with a gap of its own, by putting together what meets."""
    sessions: list[tuple[str, int, int, list[int]]] = []
    for timestamp, key, value in [record for step in steps if not isinstance(step, int) for record in step]:
        own = (key, timestamp, timestamp + gap_of(value), [value])
        met = [s for s in sessions if s[0] == key and s[1] < own[2] and own[1] < s[2]]
        for session in met:
            sessions.remove(session)
        start, end = min(s[1] for s in [*met, own]), max(s[2] for s in [*met, own])
        sessions.append((key, start, end, sorted(v for s in [*met, own] for v in s[3])))
    return sorted(sessions)


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(scripts(), st.sampled_from(["dict", "dict", "dict", "rocksdb"]))
def test_sessions_whose_records_have_gaps_of_their_own_agree_with_the_oracle(steps: list[Step], backend: Any) -> None:
    """Whatever the order and the batches, restored after every step; watermarks come after all records."""

    def gap_of(value: int) -> int:
        return value * 7 % 11 + 1

    assigner = windows.session(lambda value: f"{gap_of(value)}ms")
    batches = [step for step in steps if not isinstance(step, int)]
    with OperatorHarness(SessionOperator(assigner, AGGREGATES), backend=backend, memory_budget_bytes=300) as h:
        for batch in batches:
            h.push([v for *_, v in batch], [t for t, *_ in batch], [k for _, k, _ in batch])
        h.watermark(20).end()
        assert h.side("late") == []
        assert sorted((r.key, r.start_ms, r.end_ms, sorted(r.values)) for r in h.values) == closing(steps, gap_of)


def test_a_session_ends_when_the_longest_gap_of_its_records_is_over() -> None:
    """A later record with a short gap does not cut it; one that comes exactly at the end starts anew."""
    assigner = windows.session(lambda gap: f"{gap}ms")
    with OperatorHarness(SessionOperator(assigner, {"n": agg.count()})) as h:
        h.push([20, 1, 5, 3], [0, 10, 20, 30], ["a"] * 4).watermark(18)
        assert h.values == []
        h.watermark(19)
        assert [(r.start_ms, r.end_ms, r.n) for r in h.values] == [(0, 20, 2)]
        h.end()
        assert [(r.start_ms, r.end_ms) for r in h.values] == [(0, 20), (20, 25), (30, 33)]
    assert str(assigner) == "session(gap of each record)"


def test_a_gap_that_is_none_names_its_record() -> None:
    """The message says what a gap must be."""
    assigner = windows.session(lambda gap: gap)
    with (
        OperatorHarness(SessionOperator(assigner, {"n": agg.count()})) as h,
        pytest.raises(OperatorError, match="longer"),
    ):
        h.push(["1s", "0s"], [0, 10], ["a", "a"])
