"""Windows that fire by a rule of the user's."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tidegate.engine.errors import OperatorError
from tidegate.engine.testing import OperatorHarness
from tidegate.operators import agg, windows
from tidegate.operators.window import WindowOperator
from tidegate.operators.window_global import GlobalWindowOperator
from tidegate.operators.window_session import SessionOperator

BACKENDS = ["dict", "rocksdb"]


class Jump(windows.CustomTrigger[int, int]):
    """Fires when a value differs from the key's last one by more than 10."""

    state_type = int

    def on_record(self, state: int | None, value: int, timestamp_ms: int) -> tuple[int | None, bool]:
        return value, state is not None and abs(value - state) > 10


def expected(records: list[tuple[int, str, int]], *, purging: bool, final: bool, size: int) -> list[Any]:
    """The rule, record by record, then what is left over: (key, start, values)."""
    held: dict[tuple[str, int], list[int]] = {}
    last: dict[tuple[str, int], int] = {}
    fired = []
    for at, key, value in records:
        window = (key, at - at % size)
        held.setdefault(window, []).append(value)
        before = last.get(window)
        last[window] = value
        if before is not None and abs(value - before) > 10:
            fired.append((*window, list(held[window])))
            if purging:
                del held[window], last[window]
    if final:
        fired += [(*window, values) for window, values in held.items()]
    return sorted(fired)


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 30), st.sampled_from("ab"), st.integers(0, 30)), max_size=20),
    st.lists(st.integers(1, 6), max_size=4),
    st.booleans(),
    st.booleans(),
    st.booleans(),
    st.sampled_from(BACKENDS),
)
def test_a_rule_agrees_with_a_naive_computation(
    records: list[tuple[int, str, int]], cuts: list[int], purging: bool, final: bool, inline: bool, backend: Any
) -> None:
    """Accumulating or discarding, with or without the final result, wherever batches are cut and state is restored."""
    trigger = windows.custom(Jump(), final=final, purging=purging)
    operator = WindowOperator(windows.tumbling("10ms"), {"values": agg.collect()}, trigger=trigger, inline=inline)
    with OperatorHarness(operator, backend=backend, memory_budget_bytes=300) as h:
        left = records
        for cut in [*cuts, len(records)]:
            batch, left = left[:cut], left[cut:]
            h.push([v for *_, v in batch], [t for t, *_ in batch], [k for _, k, _ in batch])
        h.end()
        found = sorted((r.key, r.start_ms, r.values) for r in h.values)
    assert found == expected(records, purging=purging, final=final, size=10)


@pytest.mark.parametrize("timestamps", [[1, 2, 3, 4], None])
def test_a_global_window_fires_by_a_rule(timestamps: list[int] | None) -> None:
    """With event time or without."""
    operator = GlobalWindowOperator(
        windows.global_(), {"values": agg.collect()}, trigger=windows.custom(Jump(), final=False, purging=True)
    )
    with OperatorHarness(operator) as h:
        h.push([1, 2, 30, 31], timestamps, ["a"] * 4).end()
        assert [r.values for r in h.values] == [[1, 2, 30]]


def test_late_records_ask_the_rule_too() -> None:
    """While a window that is complete still takes records: each fires it, or with `final=False` the rule does."""
    for final, wanted in [(True, [[1], [1, 2], [1, 2, 30]]), (False, [[1, 2, 30]])]:
        operator = WindowOperator(
            windows.tumbling("10ms"),
            {"values": agg.collect()},
            trigger=windows.custom(Jump(), final=final),
            allowed_lateness_ms=50,
        )
        with OperatorHarness(operator) as h:
            h.push([1], [1], ["a"]).watermark(15).push([2, 30], [2, 3], ["a", "a"]).end()
            assert [r.values for r in h.values] == wanted


def test_a_rule_that_fails_names_the_record() -> None:
    """Like any function of the user's."""
    operator = WindowOperator(windows.tumbling("10ms"), {"n": agg.count()}, trigger=windows.custom(Jump()))
    with OperatorHarness(operator) as h, pytest.raises(OperatorError, match="unsupported operand") as caught:
        h.push([1, "x"], [1, 2], ["a", "a"])
    assert isinstance(caught.value.__cause__, TypeError)


def test_a_rule_is_refused_where_windows_are_put_together() -> None:
    """What it keeps could not be."""
    with pytest.raises(ValueError, match="what a custom trigger keeps cannot be"):
        SessionOperator(windows.session("1s"), {"n": agg.count()}, trigger=windows.custom(Jump()))
    with pytest.raises(ValueError, match="by count or a rule of yours"):
        WindowOperator(windows.sliding("2s", "1s"), {"n": agg.count()}, trigger=windows.custom(Jump()))
    with pytest.raises(TypeError, match="subclass of CustomTrigger"):
        windows.custom(Jump)  # type: ignore[arg-type]  # that is the mistake
