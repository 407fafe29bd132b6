"""Records as entries: what makes two the same."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from tidegate.engine import ConfigError
from tidegate.engine.comparison.entries import EntryMaker, alike, record_of


class Total(msgspec.Struct):
    key: str
    start_ms: int
    end_ms: int
    n: int


def keys(values: list[Any], key: list[str] | None = None) -> list[bytes]:
    return [entry[0] for entry in EntryMaker("out", key).entries(values)]


def test_results_of_windows_go_by_key_and_window() -> None:
    """As structs and as dicts, whatever the order of fields."""
    struct = Total("JFK", 0, 10, 5)
    other = {"n": 7, "end_ms": 10, "key": "JFK", "start_ms": 0}
    assert keys([struct, other]) == [b'["JFK",0,10]'] * 2


def test_other_records_are_their_own_key() -> None:
    """Equal ones are equal, whatever holds them."""
    first, second = keys([{"b": 1, "a": [2]}, {"a": [2], "b": 1}])
    assert first == second
    ((_, text, _),) = EntryMaker("out", None).entries([5])
    assert text == b""


def test_a_key_may_be_given() -> None:
    """By names of fields, in their order."""
    assert keys([Total("JFK", 0, 10, 5)], ["n", "key"]) == [b'[5,"JFK"]']


@pytest.mark.parametrize("record", [{"id": 1}, [1], 5])
def test_a_record_without_the_key_is_named(record: Any) -> None:
    """With the field that it lacks."""
    with pytest.raises(ConfigError, match="sink 'out': a record has no field 'day'"):
        keys([record], ["day"])


def test_entries_are_numbered_in_order_of_arrival() -> None:
    """Over all batches."""
    maker = EntryMaker("out", None)
    assert [n for *_, n in [*maker.entries([1, 2]), *maker.entries([3])]] == [0, 1, 2]
    assert maker.count == 3
    assert record_of(*maker.entries([{"a": 1}])[0][:2]) == {"a": 1}


@pytest.mark.parametrize(
    ("old", "new", "tolerance", "same"),
    [
        (1, 1.0, 0, True),
        (1, True, 0, False),
        (True, True, 0, True),
        (1.0, 1.1, 0.2, True),
        (1.0, 1.1, 0.01, False),
        (1000.0, 1001.0, 0.01, True),
        ({"a": [1.0]}, {"a": [1.05]}, 0.1, True),
        ({"a": 1}, {"a": 1, "b": 2}, 1, False),
        ([1], [1, 2], 1, False),
        ("a", "a", 0, True),
        (None, 0, 1, False),
    ],
)
def test_numbers_are_alike_within_a_tolerance(old: Any, new: Any, tolerance: float, same: bool) -> None:
    """Anywhere in the record; whether something is true is no number."""
    assert alike(old, new, tolerance) is same
