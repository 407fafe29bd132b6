"""The records of one type."""

from __future__ import annotations

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


def test_what_is_no_type_is_refused():
    """When the topology is built."""
    with pytest.raises(ValueError, match="of_type takes a class or a tuple of classes, not 'Bid'"):
        OfType("Bid")
