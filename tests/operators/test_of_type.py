"""The records of one type."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import pytest
from tidegate.engine.testing import OperatorHarness
from tidegate.operators.of_type import OfType


@pytest.mark.parametrize(
    ("type_", "want"), [(int, [1, 3, True]), (bool, [True]), ((str, float), ["a", 2.0]), (bytes, [])]
)
def test_records_of_the_type_pass_with_their_timestamps_and_keys(type_, want):
    """A subclass is of the type too; the others leave no trace."""
    values = [1, "a", 2.0, 3, True]
    with OperatorHarness(OfType(type_)) as harness:
        harness.push(values, timestamps=[10, 20, 30, 40, 50], keys=list("vwxyz"))
        assert harness.values == want
        assert [(values.index(v) + 1) * 10 for v in want if v is not True] == [
            t for v, t in harness.output if v is not True
        ]


class Loud:
    """Says of itself that it is a string."""

    __class__ = str


@runtime_checkable
class Named(Protocol):
    name: str


class Holder:
    def __init__(self, **fields):
        vars(self).update(fields)


@pytest.mark.parametrize("type_", [int, str, (int, str), int | str, Named, Sequence, Holder, Loud])
def test_whatever_isinstance_says_holds(type_):
    """Also of classes that come later, of proxies, of protocols that look at the record, and of abstract classes."""
    batches = [[1, "a"], [1, 2.0, True], [Loud(), "b"], [Holder(name="x"), Holder()], [[1], (2,), {}, None, Loud()]]
    with OperatorHarness(OfType(type_)) as harness:
        for values in batches:
            harness.push(values, timestamps=[0] * len(values))
        assert harness.values == [value for values in batches for value in values if isinstance(value, type_)]


def test_what_is_no_type_is_refused():
    """When the topology is built."""
    with pytest.raises(ValueError, match="of_type takes a class or a tuple of classes, not 'Bid'"):
        OfType("Bid")
