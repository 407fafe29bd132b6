"""What joins give out."""

from __future__ import annotations

import msgspec
import pytest
from tidegate.operators import Joined
from tidegate.operators.joined import PairList, check_how


def test_every_left_meets_every_right_in_order():
    """With one key and timestamp for all of them."""
    pairs = PairList()
    assert pairs.batch() is None
    pairs.add([1, 2], ["a", "b"], "key", 7)
    batch = pairs.batch()
    assert batch is not None
    assert batch.values == [Joined(1, "a"), Joined(1, "b"), Joined(2, "a"), Joined(2, "b")]
    assert (batch.timestamps, batch.keys) == ([7] * 4, ["key"] * 4)


def test_a_pair_is_stored_and_read_as_what_it_was():
    """In state and in files."""
    pair = Joined(1, None)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(pair), type=Joined[int, int | None]) == pair


def test_an_unknown_way_to_join_is_refused_with_those_there_are():
    """By the name of the join."""
    with pytest.raises(ValueError, match=r"join_table\(how='full'\) is not known: use one of 'inner', 'left'"):
        check_how("full", "join_table", known=("inner", "left"))
