"""Where named aggregates keep what they know."""

from __future__ import annotations

from datetime import date
from typing import Any

import msgspec
import pytest
from tidegate.operators import agg
from tidegate.operators.layout import Layout


class Trip(msgspec.Struct):
    """A record of these tests."""

    day: date
    delay: float | None


class Bus(msgspec.Struct):
    """Another."""

    seats: int
    booked: int | None
    delay: float


def test_aggregates_share_the_parts_they_have_in_common() -> None:
    """Sum and mean of one field keep one sum; `count()` counts other records than the mean does."""
    layout = Layout({"total": agg.sum("v"), "mean": agg.mean("v"), "n": agg.count(), "other": agg.sum("w")})
    assert layout.accumulator.__struct_fields__ == ("total", "mean_count", "n", "other")


def test_slots_are_named_after_the_results() -> None:
    """Adding an aggregate does not rename what the others keep; names never collide."""
    layout = Layout({"mean_count": agg.count(), "mean": agg.mean("v")})
    assert layout.accumulator.__struct_fields__ == ("mean_count", "mean_count_", "mean_sum")


def test_a_known_record_type_says_how_fields_are_stored() -> None:
    """A date comes back as a date, without `type=`."""
    layout = Layout({"newest": agg.max("day"), "trips": agg.collect()}, record_type=Trip)
    acc: Any = layout.accumulator(date(2013, 1, 1), [Trip(date(2013, 1, 1), None)])
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(acc), type=layout.accumulator) == acc


def test_a_declared_type_goes_before_the_record_type() -> None:
    """What the user says counts."""
    layout = Layout({"newest": agg.max("day", type=str), "days": agg.collect("day", type=str)}, record_type=Trip)
    assert layout.result.__annotations__["newest"] == (str | None)
    assert layout.result.__annotations__["days"] == list[str]


@pytest.mark.parametrize("name", ["key", "class", "_hidden", "a b"])
def test_names_that_cannot_be_fields_are_refused(name: str) -> None:
    """The message names the aggregate."""
    with pytest.raises(ValueError, match=name):
        Layout({name: agg.count()})


@pytest.mark.parametrize(
    ("aggregates", "subtractable"),
    [
        ({"n": agg.count(), "total": agg.sum("seats"), "taken": agg.mean("booked")}, True),
        ({"n": agg.count(), "total": agg.sum("delay", type=int)}, True),
        ({"n": agg.count(), "total": agg.sum("delay")}, False),
        ({"n": agg.count(), "total": agg.sum("seats", type=float)}, False),
        ({"n": agg.count(), "total": agg.sum(lambda bus: bus.seats)}, False),
        ({"n": agg.count(), "most": agg.max("seats")}, False),
        ({"total": agg.sum("seats")}, False),
    ],
)
def test_counts_and_sums_of_integers_can_be_taken_out_again(aggregates: dict[str, Any], subtractable: bool) -> None:
    """Exactly; and a count says when nothing is left. Of floats no sum can: it depends on what was added in between."""
    assert Layout(aggregates, record_type=Bus).subtractable is subtractable
