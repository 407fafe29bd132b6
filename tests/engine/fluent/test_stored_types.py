"""The types of records that an operator keeps, as far as the topology knows them."""

from __future__ import annotations

import re
from typing import Any

import pytest
from tidegate.connectors import memory
from tidegate.engine import Topology, TopologyError
from tidegate.engine.fluent.stored_types import joined_type, stored_type, table_row_type
from tidegate.operators import Change, Joined, patterns


async def _asked(value: int) -> int:
    return value


def _maybe(value: Any) -> int | None:
    return value


@pytest.mark.parametrize(
    ("record_type", "row", "given", "known"),
    [
        (str, None, None, str),
        (Change[str], None, None, str),
        (str, _maybe, None, int),
        (str, lambda value: value, float, float),
        (None, None, Any, Any),
    ],
)
def test_the_type_of_rows_comes_from_whoever_says_it(record_type, row, given, known):
    """The user first, then the function, then the records; a row is never None."""
    assert table_row_type(record_type, row, given) == known


def test_an_unknown_type_is_asked_for():
    """By the argument that takes it."""
    with pytest.raises(TopologyError, match=r"join stores records .* pass left_type="):
        stored_type("join", "left_type", None)
    with pytest.raises(TopologyError, match="pass row_type="):
        table_row_type(str, lambda value: value, None)
    with pytest.raises(TopologyError, match=r"pass type= to patterns\.begin, or use words"):
        stored_type("match", "type", None, to="patterns.begin", otherwise="use words")


def test_operators_ask_for_it_in_the_same_words():
    """Each names itself, the argument and what else helps."""
    stream = Topology("unknown").source("numbers", memory.source([1])).map(lambda n: n, name="what")
    keyed = stream.key_by(lambda n: n, name="by")
    words = {
        "match 'm' stores records and must know their type: pass type= to patterns.begin, or give the function": (
            lambda: keyed.match(patterns.begin("a"), name="m")
        ),
        "rate_limit 'r' stores the records that it holds back and must know their type: pass input_type=, or limit": (
            lambda: stream.rate_limit(5, name="r")
        ),
        "map_async 'c' stores the records whose calls are in flight and must know their type: pass input_type=, or": (
            lambda: stream.map_async(_asked, name="c")
        ),
    }
    for message, make in words.items():
        with pytest.raises(TopologyError, match=f"^{re.escape(message)}"):
            make()


@pytest.mark.parametrize(
    ("how", "known"),
    [
        ("inner", Joined[int, str]),
        ("left", Joined[int, str | None]),
        ("right", Joined[int | None, str]),
        ("outer", Joined[int | None, str | None]),
    ],
)
def test_who_may_have_no_partner_may_be_none(how, known):
    """In the type of the pairs too."""
    assert joined_type(int, str, how, None) == known


def test_what_select_makes_is_known_by_its_annotation():
    """Or not at all."""
    assert joined_type(int, str, "inner", lambda a, b: a) is None
    assert joined_type(None, str, "inner", None) is None
    assert joined_type(int, str, "inner", _maybe) == int | None
    assert joined_type(int, str, "inner", Joined) is Joined
