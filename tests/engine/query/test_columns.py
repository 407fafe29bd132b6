"""Which columns a state has as a table."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest
from tidegate.engine.query.columns import columns_of, inferred, text_cell
from tidegate.engine.state.backend import StateSchema
from tidegate.engine.state.codec import EXPIRING
from tidegate.engine.state.export import StateRow


def table(kind: str, types: tuple[str, ...], name: str = "s", **row: Any) -> dict[str, tuple[str, Any]]:
    """Column → (type, cell of the row)."""
    first = StateRow("op", 0, name, **({"value": None, "key": "k"} | row))
    columns = columns_of(pa, StateSchema(name, kind, 1, types), first)
    return {c.name: (str(c.type) if c.type is not None else "?", c.get(first)) for c in columns}


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("int", "int64"),
        ("int(ge=0)", "int64"),
        ("float", "double"),
        ("str | null", "string"),
        ("float | int", "double"),
        ("bytes", "binary"),
        ("list[int]", "list<item: int64>"),
        ("{n: int}", None),
        ("any", "?"),
        ("map[str, int]", "?"),
        ("int | str", "?"),
    ],
)
def test_a_value_has_the_type_that_is_stored(text: str, kind: str | None) -> None:
    """Where the type says too little, the values tell."""
    found = table("keyed", (text,), value={"n": 1})
    assert found.get("value", (None,))[0] == kind


def test_the_fields_of_a_record_are_columns() -> None:
    """Of one stored by name; a default where nothing is stored."""
    found = table("keyed", ("{mean: float = 0.5, n: int}",), value={"n": 3})
    assert found == {"key": ("?", "k"), "mean": ("double", 0.5), "n": ("int64", 3)}


def test_the_fields_of_an_array_are_columns() -> None:
    """Of one stored by position, as accumulators are."""
    found = table("window", ("[n: int, total: float]",), value=[3, 4.5], time_ms=10)
    assert found == {"key": ("?", "k"), "end_ms": ("int64", 10), "n": ("int64", 3), "total": ("double", 4.5)}


def test_a_field_named_like_a_key_gives_way() -> None:
    """The key is the key."""
    assert list(table("keyed", ("{key: str}",), value={"key": "x"})) == ["key", "value_key"]


def test_the_parts_of_a_key_are_columns() -> None:
    """Of a tuple by position, of a record by name; the whole key is text."""
    found = table("keyed", ("int",), value=1, key=("JFK", 3))
    assert found["key"] == ("string", '["JFK",3]')
    assert (found["key_0"][1], found["key_1"][1]) == ("JFK", 3)
    assert table("keyed", ("int",), value=1, key={"origin": "JFK"})["key_origin"][1] == "JFK"


def test_the_namespace_is_a_column() -> None:
    """A map's key, the time of a timer; and when an entry expires."""
    assert table("map", ("str", "int"), map_key="m", value=1)["map_key"] == ("string", "m")
    assert table("window", ("bool",), "timers.event", time_ms=5, value=True)["time_ms"] == ("int64", 5)
    kind, moment = table("keyed", ("int", EXPIRING), value=1, expires_at_ms=1500)["expires_at"]
    assert (kind, str(moment)) == ("timestamp[ms]", "1970-01-01 00:00:01.500000")


def test_items_of_a_subtask_have_no_key() -> None:
    """They belong to none."""
    assert list(table("local", ("int",), value=1)) == ["value"]
    assert list(table("broadcast", ("str", "{n: int}"), value={"n": 1})) == ["key", "n"]


@pytest.mark.parametrize(
    ("cells", "kind"),
    [([1, None], "int64"), ([1, 2.5], "double"), ([1, "a"], "string"), ([{"a": 1}], "string"), ([None], "string")],
)
def test_types_are_inferred_from_values(cells: list[Any], kind: str) -> None:
    """Text holds what nothing else does."""
    assert str(inferred(pa, cells)) == kind
    assert text_cell({"a": 1}) == '{"a":1}'
