"""Tumbling and sliding windows against a brute-force oracle, and their corner cases one by one."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tidegate.engine.errors import OperatorError
from tidegate.engine.testing import OperatorHarness
from tidegate.operators import agg, windows
from tidegate.operators.time import MIN_WATERMARK
from tidegate.operators.window import WindowOperator

Step = int | list[tuple[int, str, int]]
"""A watermark, or a batch of (timestamp, key, value)."""


class Reading(msgspec.Struct):
    """A record of these tests."""

    v: int | None


AGGREGATES = {
    "n": agg.count(),
    "total": agg.sum("v"),
    "top": agg.max("v"),
    "newest": agg.last("v"),
    "values": agg.collect("v"),
}


def ends_of(timestamp: int, assigner: windows.TimeWindows) -> list[int]:
    """The ends of the windows of a timestamp, ascending, found by trying."""
    size, slide, offset = assigner.size_ms, assigner.slide_ms, assigner.offset_ms
    starts = [s for s in range(timestamp - size + 1, timestamp + 1) if (s - offset) % slide == 0]
    return [start + size for start in starts]


def expected(steps: list[Step], assigner: windows.TimeWindows, lateness: int) -> tuple[list[list[Any]], list[int]]:
    """What the design says, record by record: the results of each step, and the late values."""
    watermark, kept, late = MIN_WATERMARK, [], []
    out: list[list[Any]] = []

    def result(key: str, end: int) -> Any:
        own = [(t, v) for t, k, v in kept if k == key and end - assigner.size_ms <= t < end]
        values = [v for _, v in own]
        newest = [v for t, v in own if t == max(t for t, _ in own)][-1]
        return (key, end - assigner.size_ms, end, len(own), sum(values), max(values), newest, sorted(values))

    for step in steps:
        fired: list[Any] = []
        if isinstance(step, int):
            wanted = {(k, e) for t, k, _ in kept for e in ends_of(t, assigner) if watermark < e - 1 <= step}
            fired = [result(key, end) for key, end in wanted]
            watermark = max(watermark, step)
        else:
            for timestamp, key, value in step:
                alive = [e for e in ends_of(timestamp, assigner) if e - 1 + lateness > watermark]
                if not alive:
                    late.append(value)
                    continue
                kept.append((timestamp, key, value))
                fired += [result(key, end) for end in alive if end - 1 <= watermark]
        out.append(sorted(fired))
    return out, late


def shown(result: Any) -> Any:
    """A result as the oracle writes it."""
    return (*[getattr(result, name) for name in result.__struct_fields__[:-1]], sorted(result.values))


def actual(steps: list[Step], operator: WindowOperator, **options: Any) -> tuple[list[list[Any]], list[int]]:
    """What the operator gives out at each step, and the late values."""
    out = []
    with OperatorHarness(operator, **options) as h:
        for step in steps:
            before = len(h.values)
            if isinstance(step, int):
                h.watermark(step)
            else:
                h.push([Reading(v) for _, _, v in step], [t for t, _, _ in step], [k for _, k, _ in step])
            out.append(sorted(shown(r) for r in h.values[before:]))
        return out, [record.v for record in h.side("late")]


RECORDS = st.tuples(st.integers(-20, 60), st.sampled_from("abc"), st.integers(-9, 9))
STEPS = st.lists(st.one_of(st.integers(-25, 70), st.lists(RECORDS, min_size=1, max_size=6)), max_size=12)
ASSIGNERS = st.sampled_from(
    [
        windows.TimeWindows(10, 10),
        windows.TimeWindows(10, 10, 3),
        windows.TimeWindows(10, 5),
        windows.TimeWindows(10, 4),
        windows.TimeWindows(9, 6, 2),
        windows.TimeWindows(24, 3, 1),
        windows.TimeWindows(7, 1),
    ]
)


@pytest.mark.slow
@settings(max_examples=120, deadline=None)
@given(STEPS, ASSIGNERS, st.sampled_from([0, 1, 7, 30]))
def test_windows_agree_with_the_oracle_when_restored_after_every_step(
    steps: list[Step], assigner: windows.TimeWindows, lateness: int
) -> None:
    """Disorder, lateness and a restore at every position never change what comes out of a step."""
    operator = WindowOperator(assigner, AGGREGATES, allowed_lateness_ms=lateness)
    assert actual(steps, operator) == expected(steps, assigner, lateness)


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(STEPS, ASSIGNERS, st.sampled_from([0, 7]))
def test_windows_agree_with_the_oracle_when_never_restored(
    steps: list[Step], assigner: windows.TimeWindows, lateness: int
) -> None:
    """What is held beside the state, such as merged panes, never changes a result."""
    operator = WindowOperator(assigner, AGGREGATES, allowed_lateness_ms=lateness)
    assert actual(steps, operator, restore_every_step=False) == expected(steps, assigner, lateness)


@pytest.mark.slow
@settings(max_examples=12, deadline=None)
@given(STEPS, ASSIGNERS, st.sampled_from([0, 7]))
def test_windows_agree_with_the_oracle_on_rocksdb_with_a_tiny_budget(
    steps: list[Step], assigner: windows.TimeWindows, lateness: int
) -> None:
    """State that is evicted all the time gives the same results."""
    operator = WindowOperator(assigner, AGGREGATES, allowed_lateness_ms=lateness)
    result = actual(steps, operator, backend="rocksdb", memory_budget_bytes=300)
    assert result == expected(steps, assigner, lateness)


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(STEPS, ASSIGNERS, st.sampled_from([0, 7]))
def test_the_generated_loop_and_the_plain_one_say_the_same(
    steps: list[Step], assigner: windows.TimeWindows, lateness: int
) -> None:
    """The plain functions are the oracle of the generated ones."""
    results = [
        actual(steps, WindowOperator(assigner, AGGREGATES, allowed_lateness_ms=lateness, inline=inline))
        for inline in (True, False)
    ]
    assert results[0] == results[1]


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(st.lists(RECORDS, min_size=1, max_size=20), st.integers(1, 20), st.integers(-20, 60), ASSIGNERS)
def test_batch_boundaries_never_change_results(
    records: list[tuple[int, str, int]], cut: int, watermark: int, assigner: windows.TimeWindows
) -> None:
    """One batch, or the same records in two: the same results in the same order."""
    outputs = []
    operator = WindowOperator(assigner, AGGREGATES, allowed_lateness_ms=20)
    for batches in ([records], [records[:cut], records[cut:]]):
        with OperatorHarness(operator) as h:
            h.watermark(watermark)
            for batch in batches:
                h.push([Reading(v) for *_, v in batch], [t for t, *_ in batch], [k for _, k, _ in batch])
            outputs.append((h.output, h.side("late")))
    assert outputs[0] == outputs[1]


@pytest.mark.slow
@settings(max_examples=100, deadline=None)
@given(
    STEPS,
    ASSIGNERS,
    st.sampled_from([0, 1, 7, 30]),
    st.sampled_from([{}, {"restore_every_step": False}, {"backend": "rocksdb", "memory_budget_bytes": 300}]),
    st.booleans(),
)
def test_counts_and_sums_that_go_from_window_to_window_agree_with_merged_panes(
    steps: list[Step], assigner: windows.TimeWindows, lateness: int, options: dict[str, Any], inline: bool
) -> None:
    """What can be taken away again is; beside a maximum it cannot be, and all panes are merged."""
    totals = {"n": agg.count(), "total": agg.sum("v")}
    outputs = []
    for aggregates in (totals, totals | {"top": agg.max("v")}):
        operator = WindowOperator(
            assigner, aggregates, allowed_lateness_ms=lateness, record_type=Reading, inline=inline
        )
        assert operator.layout.subtractable is ("top" not in aggregates)
        shown: list[Any] = []
        with OperatorHarness(operator, **options) as h:
            for step in steps:
                before = len(h.values)
                if isinstance(step, int):
                    h.watermark(step)
                else:
                    h.push([Reading(v) for _, _, v in step], [t for t, _, _ in step], [k for _, k, _ in step])
                shown.append(sorted((r.key, r.start_ms, r.end_ms, r.n, r.total) for r in h.values[before:]))
            outputs.append((shown, h.side("late")))
    assert outputs[0] == outputs[1]


def test_a_window_fires_when_the_watermark_reaches_its_last_moment() -> None:
    """Not a millisecond before `end - 1`; the result carries that timestamp and its key."""
    with OperatorHarness(WindowOperator(windows.tumbling("10ms"), {"n": agg.count()})) as h:
        h.push([Reading(1)], [9], ["a"]).watermark(8)
        assert h.output == []
        h.watermark(9)
        assert [(r.key, r.start_ms, r.end_ms, r.n) for r in h.values] == [("a", 0, 10, 1)]
        assert (h.output[0][1], h.keys) == (9, ["a"])


def test_a_late_record_goes_to_the_side_output() -> None:
    """A record whose windows are gone is given to `late`, counted, and changes nothing."""
    with OperatorHarness(WindowOperator(windows.tumbling("10ms"), {"n": agg.count()})) as h:
        h.push([Reading(1)], [1], ["a"]).watermark(9).push([Reading(2)], [2], ["a"]).end()
        assert h.side("late") == [Reading(2)]
        assert len(h.values) == 1


def test_a_late_record_within_the_allowed_lateness_fires_its_window_again() -> None:
    """Each late record gives one updated result, until the watermark passes the allowed lateness."""
    operator = WindowOperator(windows.tumbling("10ms"), {"n": agg.count()}, allowed_lateness_ms=5)
    with OperatorHarness(operator) as h:
        h.push([Reading(1)], [1], ["a"]).watermark(13)
        h.push([Reading(2), Reading(3)], [2, 3], ["a", "a"])
        assert [r.n for r in h.values] == [1, 2, 3]
        h.watermark(14).push([Reading(4)], [4], ["a"])
        assert h.side("late") == [Reading(4)]


def test_a_fired_window_is_not_fired_again_by_a_watermark_that_starts_low_after_a_restore() -> None:
    """The mark in the state counts, not the watermark that a restored stream begins with."""
    operator = WindowOperator(windows.tumbling("10ms"), {"n": agg.count()}, allowed_lateness_ms=100)
    with OperatorHarness(operator, restore_every_step=False) as h:
        h.push([Reading(1)], [1], ["a"]).watermark(20).restore()
        h.node.operator.on_watermark(9)
        assert h.node.operator.on_watermark(20) is None
        assert len(h.values) == 1


@pytest.mark.parametrize("backend", ["dict", "rocksdb"])
def test_an_early_trigger_fires_changed_windows_at_full_multiples_of_processing_time(backend: Any) -> None:
    """Only keys that changed fire early; the complete window fires in the end."""
    operator = WindowOperator(windows.tumbling("100ms"), {"n": agg.count()}, trigger=windows.early(every="10s"))
    with OperatorHarness(operator, backend=backend, memory_budget_bytes=300) as h:
        h.push([Reading(1), Reading(2)], [1, 2], ["a", "b"]).advance(10_000)
        assert sorted((r.key, r.n) for r in h.values) == [("a", 1), ("b", 1)]
        h.clear().push([Reading(3)], [3], ["a"]).advance(10_000).advance(10_000)
        assert [(r.key, r.n) for r in h.values] == [("a", 2)]
        h.clear().watermark(99)
        assert sorted((r.key, r.n) for r in h.values) == [("a", 2), ("b", 1)]


@pytest.mark.parametrize("backend", ["dict", "rocksdb"])
def test_an_early_trigger_fires_every_open_sliding_window_of_a_changed_pane(backend: Any) -> None:
    """A record of one pane changes all windows that hold the pane."""
    operator = WindowOperator(windows.sliding("20ms", "10ms"), {"n": agg.count()}, trigger=windows.early(every="1s"))
    with OperatorHarness(operator, backend=backend, memory_budget_bytes=300) as h:
        h.push([Reading(1)], [15], ["a"]).advance(1_000)
        assert [(r.start_ms, r.n) for r in h.values] == [(0, 1), (10, 1)]
        h.clear().watermark(19).push([Reading(2)], [16], ["a"]).advance(1_000)
        assert [(r.start_ms, r.n) for r in h.values] == [(0, 1), (10, 2)]


@pytest.mark.parametrize("backend", ["dict", "rocksdb"])
def test_a_count_trigger_fires_after_each_n_records_and_then_when_complete(backend: Any) -> None:
    """`early(every_count=2)` fires on the second and fourth record of a key, and the window in the end."""
    operator = WindowOperator(windows.tumbling("10ms"), {"n": agg.count()}, trigger=windows.early(every_count=2))
    with OperatorHarness(operator, backend=backend, memory_budget_bytes=300) as h:
        h.push([Reading(i) for i in range(5)], [1] * 5, ["a"] * 5).watermark(9)
        assert [r.n for r in h.values] == [2, 4, 5]


@pytest.mark.parametrize("backend", ["dict", "rocksdb"])
def test_a_purging_trigger_gives_out_each_record_once(backend: Any) -> None:
    """Each result holds what came since the one before."""
    operator = WindowOperator(
        windows.tumbling("10ms"),
        {"n": agg.count()},
        trigger=windows.early(every_count=2, purging=True),
    )
    with OperatorHarness(operator, backend=backend, memory_budget_bytes=300) as h:
        h.push([Reading(i) for i in range(5)], [1] * 5, ["a"] * 5).watermark(9)
        assert [r.n for r in h.values] == [2, 2, 1]


@pytest.mark.parametrize("backend", ["dict", "rocksdb"])
def test_on_count_leaves_the_rest_of_a_window_alone(backend: Any) -> None:
    """What is left over when the window ends is not given out."""
    operator = WindowOperator(windows.tumbling("10ms"), {"n": agg.count()}, trigger=windows.on_count(2))
    with OperatorHarness(operator, backend=backend, memory_budget_bytes=300) as h:
        h.push([Reading(i) for i in range(3)], [1] * 3, ["a"] * 3).end()
        assert [r.n for r in h.values] == [2]


def test_a_failing_aggregate_names_the_record() -> None:
    """The error says which record of which split failed, and the user's error is its cause."""
    operator = WindowOperator(windows.tumbling("10ms"), {"s": agg.sum("missing")})
    with OperatorHarness(operator) as h, pytest.raises(OperatorError, match="missing") as caught:
        h.push([Reading(1)], [1], ["a"])
    assert isinstance(caught.value.__cause__, AttributeError)


def test_dicts_are_read_by_entry() -> None:
    """A field name is an entry where records are dicts."""
    with OperatorHarness(WindowOperator(windows.tumbling("10ms"), {"s": agg.sum("v")})) as h:
        h.push([{"v": 2}, {"v": None}, {"v": 3}], [1, 2, 3], ["a"] * 3).end()
        assert [r.s for r in h.values] == [5]


def test_the_code_shows_the_inner_loop() -> None:
    """`explain --code` prints what runs: the field is read once, the slots are updated in place."""
    code = WindowOperator(windows.tumbling("1h"), {"n": agg.count(), "mean": agg.mean("v")}).code()
    loop = code[code.index("def run") :]
    assert loop.count("value.v") == 1
    assert "acc.n += 1" in loop


@pytest.mark.parametrize(
    ("assigner", "aggregates", "options", "words"),
    [
        (windows.tumbling("1s"), {}, {}, "at least one aggregate"),
        (windows.tumbling("1s"), {"key": agg.count()}, {}, "already"),
        (windows.tumbling("1s"), {"n": agg.count()}, {"allowed_lateness_ms": -1}, "negative"),
        (windows.sliding("2s", "1s"), {"n": agg.count()}, {"trigger": windows.on_count(2)}, "by count"),
        (windows.sliding("2s", "1s"), {"n": agg.folding(0, max)}, {}, "merge="),
    ],
)
def test_settings_that_do_not_fit_are_refused(
    assigner: windows.TimeWindows, aggregates: Any, options: Any, words: str
) -> None:
    """The message says what does not go together."""
    with pytest.raises(ValueError, match=words):
        WindowOperator(assigner, aggregates, **options)
