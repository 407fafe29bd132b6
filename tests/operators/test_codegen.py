"""What the generator writes."""

from __future__ import annotations

import traceback
from typing import Any

import msgspec
import pytest
from tidegate.operators import agg
from tidegate.operators.codegen import Code, Variants, field_source, read_field
from tidegate.operators.layout import Layout


class Inner(msgspec.Struct):
    """Stands inside a record."""

    v: int


class Outer(msgspec.Struct):
    """A record of these tests."""

    inner: Inner


def update_of(aggregates: dict[str, Any], **options: Any) -> str:
    """The generated update alone."""
    source = Code(Layout(aggregates), "", **options).source
    return source[source.index("def add") : source.index("def merge")]


def test_each_field_is_read_once() -> None:
    """However many aggregates use it."""
    update = update_of({"a": agg.sum("v"), "b": agg.max("v"), "c": agg.mean("v"), "n": agg.count()})
    assert update.count("value.v") == 1
    assert update.count("is not None") == 1


def test_one_callable_is_called_once() -> None:
    """The same function in two aggregates is one field."""

    def delay(record: Any) -> int:
        return 1

    assert update_of({"a": agg.sum(delay), "b": agg.max(delay)}).count("(value)") == 1


def test_fields_are_attributes_or_entries() -> None:
    """Dotted names read through; a name that is no identifier still works."""
    assert field_source("a.b", mapping=False) == "value.a.b"
    assert field_source("a.b", mapping=True) == "value['a']['b']"
    assert field_source("a b", mapping=False) == "getattr(value, 'a b')"
    for field, value, mapping in (("inner.v", Outer(Inner(7)), False), ("inner.v", {"inner": {"v": 7}}, True)):
        assert read_field(field, value, mapping) == 7
        code = Code(Layout({"s": agg.sum(field)}), "", mapping=mapping)
        acc = code["new"]()
        code["add"](acc, value, 0)
        assert code["result"](acc, "k").s == 7


def test_the_plain_twin_calls_functions_and_writes_nothing_out() -> None:
    """It is slow and easy to believe."""
    assert "plain_add(acc, value, t)" in update_of({"a": agg.sum("v")}, inline=False)


def test_a_traceback_shows_the_generated_line() -> None:
    """The reader of an error sees what ran."""
    code = Code(Layout({"a": agg.sum("v")}), "")
    acc = code["new"]()
    with pytest.raises(AttributeError) as caught:
        code["add"](acc, object(), 0)
    assert "x0 = value.v" in "".join(traceback.format_exception(caught.value))


def test_results_show_a_copy_of_what_is_kept() -> None:
    """A list that was given out does not grow with later records."""
    code = Code(Layout({"a": agg.collect("v")}), "")
    acc = code["new"]()
    code["add"](acc, Inner(1), 0)
    first = code["result"](acc, "k")
    code["add"](acc, Inner(2), 0)
    assert first.a == [1]


def test_variants_are_written_when_they_are_needed() -> None:
    """Code for dicts only where records are dicts."""
    written = []

    def write(mapping: bool) -> Code:
        written.append(mapping)
        return Code(Layout({"n": agg.count()}), "", mapping=mapping)

    variants = Variants(write)
    assert variants.of([Inner(1)]) is variants.of([Inner(2)])
    assert written == [False]
    variants.of([{}])
    assert written == [False, True]


def test_a_condition_is_asked_once_whatever_stands_under_it() -> None:
    """And what stands under none is taken in of every record."""

    def big(record: Any) -> bool:
        return record.v > 3

    aggregates = {"n": agg.count(), "big": agg.count().where(big), "most": agg.max("v").where(big), "all": agg.sum("v")}
    update = update_of(aggregates)
    assert update.count("holds") == 1
    code = Code(Layout(aggregates), "")
    acc = code["new"]()
    for v in (1, 4, 9, 3):
        code["add"](acc, Inner(v), 0)
    assert msgspec.structs.astuple(code["result"](acc, "k"))[1:] == (4, 2, 9, 17)
