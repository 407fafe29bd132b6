"""Schema texts are equal exactly when types store alike, and their difference is readable."""

from __future__ import annotations

import dataclasses
import enum
from typing import Annotated, Any, Literal, NamedTuple, TypedDict

import msgspec
import pytest
from tidegate.engine.errors import StateTypeError
from tidegate.engine.state.schema import schema_difference, schema_text


class Totals(msgspec.Struct):
    count: int
    mean: float = 0.0
    names: list[str] = []


class Reordered(msgspec.Struct, kw_only=True):
    names: list[str] = []
    mean: float = 0.0
    count: int


class Node(msgspec.Struct, tag="node"):
    value: int
    next: Node | None = None


class Positional(msgspec.Struct, array_like=True):
    a: int
    b: str


class Click(msgspec.Struct, tag=True):
    at: int


class View(msgspec.Struct, tag=True):
    at: int


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Movie(TypedDict):
    name: str


class Pair(NamedTuple):
    a: int
    b: str


@dataclasses.dataclass
class Data:
    count: int


@pytest.mark.parametrize(
    ("stored", "text"),
    [
        (int, "int"),
        (str | None, "str | null"),
        (list[int], "list[int]"),
        (dict[str, float], "map[str, float]"),
        (tuple[int, str], "tuple[int, str]"),
        (tuple[int, ...], "tuple[int, ...]"),
        (set[int], "set[int]"),
        (Colour, 'enum("blue", "red")'),
        (Literal["x", 1], 'literal("x", 1)'),
        (Totals, "{count: int, mean: float = 0.0, names: list[str] = list()}"),
        (Node, '{@type="node", next: ^1 | null = null, value: int}'),
        (Positional, "[a: int, b: str]"),
        (Pair, "[a: int, b: str]"),
        (Movie, "{name: str}"),
        (Data, "{count: int}"),
        (Click | View, '{@type="Click", at: int} | {@type="View", at: int}'),
        (Annotated[int, msgspec.Meta(ge=0)], "int(ge=0)"),
        (Any, "any"),
    ],
)
def test_a_type_has_a_canonical_text(stored: Any, text: str) -> None:
    """The text is part of every snapshot: it must not change from one release to the next."""
    assert schema_text(stored) == text


def test_the_order_of_fields_does_not_count() -> None:
    """They are stored by name. The order of union members does not count either."""
    assert schema_text(Totals) == schema_text(Reordered)
    assert schema_text(int | str) == schema_text(str | int)


@pytest.mark.parametrize("stored", [complex, object, Totals | Data, type])
def test_what_cannot_be_stored_is_refused(stored: Any) -> None:
    """The message says what to use."""
    with pytest.raises(StateTypeError, match="use msgspec Structs"):
        schema_text(stored)


def test_the_difference_names_fields() -> None:
    """What is gone, what is new, what has another type, at any depth."""
    old = "{a: int, b: list[{x: int, y: str}], c: map[str, int]}"
    new = "{a: str, b: list[{x: int, z: str}], d: int}"
    assert schema_difference("s", [old], [new]) == (
        "`s.a` was int and is now str; `s.b[].y` (str) is gone; `s.b[].z` (str) is new; "
        "`s.c` (map[str, int]) is gone; `s.d` (int) is new"
    )


def test_the_difference_of_plain_types_shows_both() -> None:
    """Of a map state key and value are told apart."""
    assert schema_difference("s", ["int"], ["str"]) == "`s` was int and is now str"
    assert schema_difference("m", ["str", "int"], ["str", "float"]) == "`m (value)` was int and is now float"
    assert schema_difference("s", ["int"], ["int"]) == ""
