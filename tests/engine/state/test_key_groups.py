"""Keys encode the same everywhere, and every key group has one owner."""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
import uuid
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tidegate.engine.errors import StateError
from tidegate.engine.state import KeyGrouper, encode_key, key_group, key_group_range, subtask_of
from tidegate.engine.state.key_groups import KeyCodec


class Colour(enum.Enum):
    RED = "red"


class Place(msgspec.Struct, frozen=True):
    airport: str
    gate: int


class Loose(msgspec.Struct):
    airport: str


@dataclasses.dataclass(frozen=True)
class Pair:
    left: int
    right: str


plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 63), (1 << 64) - 1) | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=3).map(tuple),
    max_leaves=5,
)


@given(plain)
def test_a_key_of_builtin_types_comes_back_without_a_key_type(key: Any) -> None:
    """Tuples as tuples, nested as deep as they were."""
    codec = KeyCodec()
    back = codec.decode(codec.encode(key))
    assert back == key
    assert type(back) is type(key)


@pytest.mark.parametrize(
    ("key", "key_type"),
    [
        (Colour.RED, Colour),
        (Place("JFK", 3), Place),
        (Pair(1, "a"), Pair),
        (dt.date(2013, 1, 1), dt.date),
        (dt.datetime(2013, 1, 1, tzinfo=dt.UTC), dt.datetime),
        (uuid.UUID(int=5), uuid.UUID),
        (("a", Colour.RED), tuple[str, Colour]),
    ],
)
def test_a_key_of_another_type_needs_its_key_type(key: Any, key_type: Any) -> None:
    """With it the key comes back; without it the key is refused, and the message says what to do."""
    codec = KeyCodec(key_type)
    assert codec.decode(codec.encode(key)) == key
    with pytest.raises(StateError, match="pass key_type="):
        KeyCodec().encode(key)


@pytest.mark.parametrize("key", [1.5, ("a", 1.5), Loose("a"), [1], {"a": 1}, {1}, object(), 1 << 64, "\ud800"])
def test_what_cannot_be_a_key_is_refused_with_a_remedy(key: Any) -> None:
    """Floats, unhashable objects, unknown types, integers beyond 64 bits, broken strings."""
    with pytest.raises(StateError, match="key"):
        encode_key(key)


def test_a_key_that_is_not_of_the_key_type_is_refused() -> None:
    """It would come back as another type, or not at all."""
    codec = KeyCodec(str)
    with pytest.raises(StateError, match="not of the key type"):
        codec.encode(5)
    with pytest.raises(StateError, match="not of the key type"):
        codec.encode_many(["a", 5])
    with pytest.raises(StateError, match="restore with the key type"):
        codec.decode(encode_key(5))


@given(st.lists(plain, max_size=20))
def test_many_keys_encode_as_one_by_one(keys: list[Any]) -> None:
    """The fast way is the slow way."""
    codec = KeyCodec()
    assert codec.encode_many(keys) == [codec.encode(key) for key in keys]


def test_key_groups_never_change() -> None:
    """They decide in which snapshot a key's state is found: these numbers hold for ever."""
    keys = ["JFK", 1, None, ("a", 2), b"x"]
    assert [key_group(encode_key(key), 128) for key in keys] == [122, 27, 61, 46, 65]


def test_a_grouper_remembers_no_more_than_it_may() -> None:
    """Starting afresh changes no answer."""
    grouper = KeyGrouper(128, remember=10)
    expected = [key_group(encode_key(key), 128) for key in range(100)]
    assert [grouper.group(key) for key in range(100)] == expected
    assert grouper.groups(list(range(100))) == expected


def test_an_unhashable_key_is_refused_by_the_grouper() -> None:
    """The message says what to return instead."""
    with pytest.raises(StateError, match="return a tuple for a list"):
        KeyGrouper(128).groups(["a", ["b"]])


@given(st.integers(1, 300), st.data())
def test_every_key_group_has_one_owner(max_parallelism: int, data: st.DataObject) -> None:
    """The ranges cover all groups once, in order, and agree with `subtask_of`; sizes differ by one at most."""
    parallelism = data.draw(st.integers(1, max_parallelism))
    ranges = [key_group_range(subtask, parallelism, max_parallelism) for subtask in range(parallelism)]
    assert [group for owned in ranges for group in owned] == list(range(max_parallelism))
    assert max(map(len, ranges)) - min(map(len, ranges)) <= 1
    for subtask, owned in enumerate(ranges):
        assert all(subtask_of(group, parallelism, max_parallelism) == subtask for group in owned)
