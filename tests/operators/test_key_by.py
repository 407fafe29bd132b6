"""A key for each record."""

from dataclasses import dataclass
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tidegate.engine.errors import OperatorError
from tidegate.engine.testing import OperatorHarness
from tidegate.operators.batch import Batch, Origin
from tidegate.operators.key_by import KeyBy


class Airport(msgspec.Struct, frozen=True):
    code: str


class Flight(msgspec.Struct):
    origin: Any
    number: int
    airport: Airport | None = None


@dataclass
class Point:
    x: int


FLIGHTS = [Flight("JFK", 1, Airport("a")), Flight("LGA", 2, Airport("b")), Flight("JFK", 3, Airport("c"))]


def keys_of(key: Any, values: list[Any], **options: Any) -> list[Any]:
    with OperatorHarness(KeyBy(key, **options)) as h:
        return h.push(values).keys


def test_a_field_name_reads_the_field() -> None:
    """A name stands for the attribute of that name."""
    assert keys_of("origin", FLIGHTS) == ["JFK", "LGA", "JFK"]


def test_dots_lead_into_nested_records() -> None:
    """`airport.code` is the code of the airport."""
    assert keys_of("airport.code", FLIGHTS) == ["a", "b", "c"]


def test_several_fields_make_a_tuple() -> None:
    """Several names give a tuple, one name in a list a tuple of one."""
    assert keys_of(("origin", "number"), FLIGHTS) == [("JFK", 1), ("LGA", 2), ("JFK", 3)]
    assert keys_of(["number"], FLIGHTS) == [(1,), (2,), (3,)]


def test_a_function_gives_the_key() -> None:
    """Any hashable value is a key: a tuple, None, a frozen struct."""
    assert keys_of(lambda f: (f.origin, f.number % 2), FLIGHTS) == [("JFK", 1), ("LGA", 0), ("JFK", 1)]
    assert keys_of(lambda f: f.airport, FLIGHTS) == [Airport("a"), Airport("b"), Airport("c")]
    assert keys_of(lambda _: None, FLIGHTS) == [None, None, None]


def test_mappings_are_read_by_entry() -> None:
    """In records without a type a name stands for the entry, even one that is no identifier."""
    records = [{"user id": 1, "class": "a"}, {"user id": 2, "class": "b"}]
    assert keys_of("user id", records) == [1, 2]
    assert keys_of(("class", "user id"), records) == [("a", 1), ("b", 2)]


def test_records_of_different_kinds_in_one_batch() -> None:
    """Structs, dataclasses and mappings may stand side by side."""
    assert keys_of("x", [Point(1), {"x": 2}, Point(3)]) == [1, 2, 3]


def test_values_timestamps_and_origin_stay() -> None:
    """Only the key changes; an earlier key is gone."""
    with OperatorHarness(KeyBy("number")) as h:
        h.node.process(Batch(FLIGHTS, [1, 2, 3], ["old"] * 3, [0, 0, 0], Origin("s", range(3))))
        [out] = h._main.batches
        assert out.values is FLIGHTS
        assert (out.timestamps, out.keys, out.watermarks) == ([1, 2, 3], [1, 2, 3], [0, 0, 0])
        assert out.locate(2) == ("s", 2)


def test_a_missing_field_is_a_record_error() -> None:
    """The error names the record and the field."""
    with OperatorHarness(KeyBy("x")) as h:
        with pytest.raises(OperatorError, match=r"record at 1 of split s: AttributeError: .*'x'"):
            h.node.process(Batch([Point(1), Airport("a")], origin=Origin("s", range(2))))
    with OperatorHarness(KeyBy("x")) as h, pytest.raises(OperatorError, match="KeyError: 'x'"):
        h.push([{"y": 1}])


def test_records_without_the_field_can_be_left_out() -> None:
    """A missing field follows the policy like any failure."""
    with OperatorHarness(KeyBy("x", on_error="dead_letter")) as h:
        h.push([Point(1), Airport("a"), Point(3)], timestamps=[1, 2, 3])
        assert h.output == [(Point(1), 1), (Point(3), 3)]
        assert h.keys == [1, 3]
        assert [letter.value for letter in h.side("failed")] == [Airport("a")]


@pytest.mark.parametrize("bad", [["JFK"], {"a": 1}, ("JFK", [1]), {1, 2}])
@pytest.mark.parametrize("key", ["origin", lambda f: f.origin])
def test_a_key_that_is_not_hashable_is_a_record_error(key: Any, bad: Any) -> None:
    """A list as a key, at the top or in a tuple, is refused with a message that says what would do."""
    flights = [Flight("JFK", 1), Flight(bad, 2), Flight("LGA", 3)]
    with OperatorHarness(KeyBy(key)) as h:
        with pytest.raises(OperatorError, match=r"record at 1 of split s: TypeError: the key .* is not hashable"):
            h.node.process(Batch(flights, origin=Origin("s", range(3))))
    with OperatorHarness(KeyBy(key, on_error="skip")) as h:
        h.push(flights)
        assert h.keys == ["JFK", "LGA"]
        assert [flight.number for flight in h.values] == [1, 3]


def test_failures_of_both_kinds_in_one_batch() -> None:
    """A missing field and an unhashable key in one batch leave the right records with the right keys."""
    values = [Point(1), Airport("a"), {"x": [1]}, Point(4)]
    with OperatorHarness(KeyBy("x", on_error="dead_letter")) as h:
        h.node.process(Batch(values, origin=Origin("s", range(4))))
        assert h.keys == [1, 4]
        assert {letter.offset for letter in h.side("failed")} == {1, 2}


@pytest.mark.parametrize("key", ["", (), ("a", ""), (1,), 5])
def test_what_is_no_key_is_refused(key: Any) -> None:
    """An empty name, no name, a number: refused when the operator is described."""
    with pytest.raises((ValueError, TypeError), match=r"key_by|iterable"):
        KeyBy(key)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.lists(st.one_of(st.integers(0, 5), st.just("missing"), st.just([1])), max_size=6), max_size=6))
def test_batch_boundaries_change_nothing(batches: list[list[Any]]) -> None:
    """However the records are cut into batches, keys and failures are those of a plain loop."""
    with OperatorHarness(KeyBy("x", on_error="skip")) as h:
        for batch in batches:
            h.push([Airport("a") if x == "missing" else Point(x) for x in batch])
        expected = [x for batch in batches for x in batch if isinstance(x, int)]
        assert h.keys == expected
        assert [point.x for point in h.values] == expected
