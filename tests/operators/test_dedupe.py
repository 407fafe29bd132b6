"""The first record of each key in an interval against a brute-force oracle, and the last."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tidegate.engine.testing import OperatorHarness
from tidegate.operators.dedupe import Dedupe, dedupe_operator
from tidegate.operators.time import MIN_WATERMARK

Step = int | list[tuple[int, str]]
"""A watermark, or a batch of (timestamp, key)."""

RECORDS = st.tuples(st.integers(-20, 60), st.sampled_from("ab"))
STEPS = st.lists(st.one_of(st.integers(-25, 70), st.lists(RECORDS, min_size=1, max_size=6)), max_size=12)


def expected(steps: list[Step], within: int | None, lateness: int) -> tuple[list[Any], list[Any]]:
    """What passes and what is late, record by record."""
    watermark, passed, late = MIN_WATERMARK, [], []
    for step in steps:
        if isinstance(step, int):
            watermark = max(watermark, step)
            continue
        for timestamp, key in step:
            if within is not None and timestamp <= watermark - lateness:
                late.append((timestamp, key))
            elif not any(k == key and (within is None or abs(timestamp - t) < within) for t, k in passed):
                passed.append((timestamp, key))
    return passed, late


def actual(steps: list[Step], operator: Any, **options: Any) -> tuple[list[Any], list[Any]]:
    """What the operator lets pass, and what is late."""
    with OperatorHarness(operator, **options) as h:
        for step in steps:
            if isinstance(step, int):
                h.watermark(step)
            else:
                h.push(step, [t for t, _ in step], [k for _, k in step])
        assert [timestamp for _, timestamp in h.output] == [t for t, _ in h.values]
        assert h.keys == [k for _, k in h.values]
        return h.values, h.side("late")


@settings(max_examples=60, deadline=None)
@given(STEPS, st.sampled_from([None, 1, 7, 10, 30]), st.sampled_from([0, 5, 40]))
def test_what_passes_agrees_with_the_oracle(steps: list[Step], within: int | None, lateness: int) -> None:
    """Disorder, watermarks, batches and a restore at every position never change what passes."""
    lateness = 0 if within is None else lateness
    operator: Dedupe[Any] = Dedupe(within, allowed_lateness_ms=lateness)
    assert actual(steps, operator) == expected(steps, within, lateness)


@settings(max_examples=5, deadline=None)
@given(STEPS, st.sampled_from([7, 10]), st.sampled_from([0, 5]))
@pytest.mark.slow
def test_what_passes_agrees_with_the_oracle_on_rocksdb_with_a_tiny_budget(
    steps: list[Step], within: int, lateness: int
) -> None:
    """State that is evicted all the time lets the same records pass."""
    operator: Dedupe[Any] = Dedupe(within, allowed_lateness_ms=lateness)
    found = actual(steps, operator, backend="rocksdb", memory_budget_bytes=300)
    assert found == expected(steps, within, lateness)


def test_state_goes_when_no_record_in_time_can_ask_for_it() -> None:
    """Half a million keys of the past leave nothing behind."""
    with OperatorHarness(Dedupe[int](10), restore_every_step=False) as h:
        for at in range(0, 1000, 10):
            h.push([at] * 50, [at] * 50, [f"{at}-{n}" for n in range(50)]).watermark(at)
        assert len(list(h.node.operator._passed.namespaces())) <= 3  # type: ignore[attr-defined]
        assert h.watermark(2000).node.operator._passed.first() is None  # type: ignore[attr-defined]
        assert len(h.values) == 5000


@pytest.mark.parametrize("backend", ["dict", "rocksdb"])
def test_with_processing_time_the_clock_counts(backend: Any) -> None:
    """Whatever the records say of their time; what was dropped is counted."""
    with OperatorHarness(Dedupe[str](1000, time="processing"), backend=backend) as h:
        h.push(["a1", "b1", "a2"], keys=["a", "b", "a"]).advance(999).push(["a3"], keys=["a"])
        assert h.values == ["a1", "b1"]
        h.advance(1).push(["a4", "a5"], keys=["a", "a"])
        assert h.values == ["a1", "b1", "a4"]
        assert h.counters["duplicates"] == 3


def test_the_last_goes_out_at_the_end_of_its_interval() -> None:
    """Intervals side by side; the newest record of each, with the timestamp of the interval's last moment."""
    with OperatorHarness(dedupe_operator("10ms", keep="last", type=str)) as h:
        h.push(["x", "z", "y", "w"], [1, 9, 5, 12], ["a"] * 4).watermark(8)
        assert h.output == []
        assert h.watermark(9).output == [("z", 9)]
        assert h.push(["late"], [3], ["a"]).side("late") == ["late"]
        assert h.watermark(100).output == [("z", 9), ("w", 19)]


@pytest.mark.parametrize(
    ("settings_", "message"),
    [
        ({"within": "0ms"}, "longer than 0ms"),
        ({"within": "1s", "time": "wall"}, "not known"),
        ({"within": "1s", "keep": "middle"}, "not known"),
        ({"within": None, "keep": "last"}, "interval of event time"),
        ({"within": "1s", "keep": "last", "time": "processing"}, "debounce"),
        ({"within": None, "allowed_lateness": "1s"}, "leave it out"),
        ({"within": "soon"}, "not a duration"),
    ],
)
def test_wrong_settings_are_refused(settings_: dict[str, Any], message: str) -> None:
    """What cannot work is refused when the topology is built."""
    with pytest.raises(ValueError, match=message):
        dedupe_operator(**settings_)
