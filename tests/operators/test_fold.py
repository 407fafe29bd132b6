"""A user's function folded over the records of a key, from an initial value."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tidegate.engine.errors import OperatorError
from tidegate.engine.testing import OperatorHarness
from tidegate.operators.fold import Fold

RECORDS = st.lists(st.tuples(st.sampled_from("abc"), st.integers(-9, 9)), max_size=20)


class Total(msgspec.Struct, frozen=True):
    """What the records come to."""

    n: int = 0
    sum: int = 0


@settings(max_examples=40, deadline=None)
@given(RECORDS, st.integers(0, 20), st.booleans())
def test_each_record_gives_what_its_key_has_come_to(records: list[tuple[str, int]], cut: int, made: bool) -> None:
    """A key starts from the initial value, given or made; a typed value survives a restore as what it is."""
    initial = Total if made else Total()
    fold = Fold(initial, lambda total, v: Total(total.n + 1, total.sum + v), type=Total)
    with OperatorHarness(fold) as h:
        for part in (records[:cut], records[cut:]):
            h.push([v for _, v in part], keys=[k for k, _ in part])
        wanted = []
        for i, (key, _) in enumerate(records):
            own = [v for k, v in records[: i + 1] if k == key]
            wanted.append(Total(len(own), sum(own)))
        assert h.values == wanted


def test_a_key_may_fold_to_none() -> None:
    """None is a value like any other, also after a restore."""
    with OperatorHarness(Fold(0, lambda so_far, v: None if so_far == 0 else 7)) as h:
        h.push([1], keys=["a"]).push([1], keys=["a"])
        assert h.values == [None, 7]


def test_the_failing_record_is_named() -> None:
    """The user's error is the cause."""
    with OperatorHarness(Fold(1, lambda a, b: a // b)) as h, pytest.raises(OperatorError) as caught:
        h.push([1, 0], keys=["a", "a"])
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
