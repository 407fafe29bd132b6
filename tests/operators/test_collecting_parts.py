"""What only the parts themselves show; `test_agg.py` holds their results against naive computations."""

from __future__ import annotations

import math

from tidegate.operators.collecting_parts import count_value, insert_top, list_part, set_part


def test_only_the_greatest_are_kept() -> None:
    """In ascending order."""
    kept: list[int] = []
    for value in (3, 9, 1, 7, 9):
        insert_top(kept, value, 3)
    assert kept == [7, 9, 9]


def test_every_nan_is_counted_as_one_value() -> None:
    """NaN is not equal to itself, and None is free: no aggregate but `count()` sees it."""
    counts: dict[object, int] = {}
    for value in (math.nan, 1, -math.nan, 1):
        count_value(counts, value)
    assert counts == {None: 2, 1: 2}


def test_a_limit_holds_across_a_merge() -> None:
    """The first values stay."""
    part = list_part(None, 3)
    part.merge(slots := [[1, 2]], [[3, 4]])
    assert slots == [[1, 2, 3]]


def test_a_set_of_declared_type_is_stored_as_one() -> None:
    """None stands for NaN, so it is part of the type."""
    assert set_part(int).slots[0].type == set[int | None]
