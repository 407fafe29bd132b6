"""Which aggregates can take back what they were given, and how."""

from __future__ import annotations

import math
from typing import Any

import pytest
from tidegate.operators import agg
from tidegate.operators.retraction import RetractableAggregate, moves


@pytest.mark.parametrize(
    ("aggregate", "moved"),
    [
        (agg.count(), True),
        (agg.sum("v"), True),
        (agg.mean("v"), True),
        (agg.stddev("v"), True),
        (agg.collect("v"), True),
        (agg.count_distinct("v"), True),
        (agg.most_common("v", 2), True),
        (agg.quantile_exact("v", 0.5), True),
        (agg.min("v"), False),
        (agg.last("v"), False),
        (agg.quantile("v", 0.5), False),
        (agg.reducing(max), False),
    ],
)
def test_what_keeps_all_it_needs_in_one_place_moves(aggregate: Any, moved: bool) -> None:
    """The others are put together, or keep their values in tables."""
    assert moves(aggregate) is moved


@pytest.mark.parametrize("aggregate", [agg.count_distinct("v"), agg.collect("v"), agg.most_common("v", 2)])
def test_nan_is_one_value_that_can_go_again(aggregate: Any) -> None:
    """Though it is not equal to itself."""
    (part,) = RetractableAggregate("x", aggregate).parts
    slot = part.empty()
    for value in (math.nan, 1.0, math.nan):
        slot = part.add(slot, "k", value)
    for value in (-math.nan, math.nan):
        slot = part.remove(slot, "k", value)
    assert slot in ([1.0], {1.0: 1})
    with pytest.raises(LookupError):
        part.remove(slot, "k", math.nan)


def test_a_count_does_not_fall_below_nothing() -> None:
    """What was never taken in cannot go."""
    (part,) = RetractableAggregate("n", agg.count()).parts
    with pytest.raises(LookupError):
        part.remove(part.empty(), "k", None)
