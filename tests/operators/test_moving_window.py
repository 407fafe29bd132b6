"""A window that moves; `test_over.py` holds its results against naive computations."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from tidegate.operators import agg
from tidegate.operators.moving_window import MovingWindow


class Reading(msgspec.Struct):
    """A record of these tests."""

    v: float | None


def names(window: MovingWindow) -> list[str]:
    return [state.name for state in window.states()]


def test_only_what_is_needed_is_kept() -> None:
    """Records where they are taken away one by one, accumulators where they are put together."""
    assert names(MovingWindow({"n": agg.count()}, record_type=None)) == ["rows"]
    assert names(MovingWindow({"top": agg.max("v")}, record_type=None)) == ["items"]
    assert names(MovingWindow({"top": agg.max("v")}, record_type=None, times=True)) == ["rows", "items"]
    assert names(MovingWindow({"n": agg.count(), "top": agg.max("v")}, record_type=None)) == ["rows", "items"]


def test_results_have_the_record_and_the_aggregates_in_order() -> None:
    """Typed as far as the records are."""
    window = MovingWindow({"top": agg.max("v"), "n": agg.count()}, record_type=Reading)
    types: dict[str, Any] = {field.name: field.type for field in msgspec.structs.fields(window.result_type)}
    assert list(types) == ["key", "value", "top", "n"]
    assert types["value"] is Reading


def test_an_aggregate_that_cannot_be_put_together_is_refused() -> None:
    """With what it needs."""
    with pytest.raises(ValueError, match="give it merge="):
        MovingWindow({"x": agg.folding(0, lambda a, b: a + b)}, record_type=None)
