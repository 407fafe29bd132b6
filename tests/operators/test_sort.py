"""Records in the order of event time, against a brute-force oracle."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tidegate.engine.testing import OperatorHarness
from tidegate.operators.sort import KeyedSort, Sort
from tidegate.operators.time import MIN_WATERMARK

Step = int | list[tuple[int, str]]
"""A watermark, or a batch of (timestamp, key)."""

RECORDS = st.tuples(st.integers(-5, 20), st.sampled_from("abc"))
STEPS = st.lists(st.one_of(st.integers(-9, 25), st.lists(RECORDS, min_size=1, max_size=6)), max_size=12)


def expected(steps: list[Step]) -> tuple[list[Any], list[int]]:
    """What each watermark sets free, and the numbers of the late records. Values are the numbers of the records."""
    watermark, number, waiting, out, late = MIN_WATERMARK, 0, [], [], []
    for step in steps:
        if isinstance(step, int):
            watermark = max(watermark, step)
            due = sorted(record for record in waiting if record[0] <= watermark)
            waiting = [record for record in waiting if record[0] > watermark]
            out += [(number, timestamp, key) for timestamp, number, key in due]
            continue
        for timestamp, key in step:
            if timestamp <= watermark:
                late.append(number)
            else:
                waiting.append((timestamp, number, key))
            number += 1
    return out, late


def actual(steps: list[Step], operator: Any, **options: Any) -> tuple[list[Any], list[int]]:
    """What the operator gives out."""
    number = 0
    with OperatorHarness(operator, **options) as h:
        for step in steps:
            if isinstance(step, int):
                h.watermark(step)
            else:
                h.push(range(number, number + len(step)), [t for t, _ in step], [k for _, k in step])
                number += len(step)
        keys = h.keys if operator.keyed else [None] * len(h.keys)
        return [(value, t, key) for (value, t), key in zip(h.output, keys, strict=True)], h.side("late")


@settings(max_examples=40, deadline=None)
@given(STEPS, st.booleans())
def test_records_come_out_in_order_of_time_and_then_of_arrival(steps: list[Step], restore: bool) -> None:
    """On a keyed stream too, over all keys; a restore at every position changes nothing."""
    out, late = expected(steps)
    assert actual(steps, KeyedSort[int](type=int), restore_every_step=restore) == (out, late)
    without_keys = [(value, t, None) for value, t, _ in out]
    assert actual(steps, Sort[int](type=int), restore_every_step=restore) == (without_keys, late)


@pytest.mark.slow
@settings(max_examples=5, deadline=None)
@given(STEPS)
def test_records_come_out_in_order_on_rocksdb_with_a_tiny_budget(steps: list[Step]) -> None:
    """What was evicted comes back in its place."""
    options = {"backend": "rocksdb", "memory_budget_bytes": 200}
    assert actual(steps, KeyedSort[int](type=int), **options) == expected(steps)


def test_late_records_are_counted() -> None:
    """And the end sets everything free."""
    with OperatorHarness(Sort[str](type=str)) as h:
        h.push(["b", "a"], [2, 1]).watermark(1).push(["late"], [1]).end()
        assert h.output == [("a", 1), ("b", 2)]
        assert h.counters == {"late": 1}
