"""Some of the records."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tidegate.engine.errors import OperatorError
from tidegate.engine.testing import OperatorHarness
from tidegate.operators.batch import Batch, Origin
from tidegate.operators.filter import Filter


class Undecided:
    """A value whose truth cannot be told, such as an array."""

    def __bool__(self) -> bool:
        raise ValueError("the truth of this is ambiguous")


def test_only_true_ones_pass() -> None:
    """A record passes when the predicate is true for it, with its timestamp, key and origin."""
    with OperatorHarness(Filter(lambda v: v > 1)) as h:
        h.node.process(Batch([1, 2, 0, 3], [1, 2, 3, 4], list("abcd"), [0, 0, 0, 1], Origin("s", range(4))))
        [out] = h._main.batches
        assert (out.values, out.timestamps, out.keys) == ([2, 3], [2, 4], ["b", "d"])
        assert out.watermarks == [0, 1]
        assert [out.locate(i) for i in range(2)] == [("s", 1), ("s", 3)]


def test_any_truth_will_do() -> None:
    """A predicate may give a list, a string, None."""
    with OperatorHarness(Filter(lambda v: v)) as h:
        assert h.push(["", "a", None, [], [0], 0, 2]).values == ["a", [0], 2]


def test_all_or_nothing() -> None:
    """A batch that passes whole is passed on as it is; of one that does not pass nothing is said."""
    with OperatorHarness(Filter(lambda v: v > 0)) as h:
        whole = Batch([1, 2])
        h.node.process(whole)
        h.push([-1, -2])
        assert h._main.batches == [whole]


def test_a_result_without_a_truth_is_a_record_error() -> None:
    """When the predicate's answer has no truth the error names the record."""
    with OperatorHarness(Filter(lambda v: Undecided() if v == 2 else True)) as h:
        with pytest.raises(OperatorError, match=r"record at 1 of split s: ValueError: the truth"):
            h.node.process(Batch([1, 2, 3], origin=Origin("s", range(3))))
    with OperatorHarness(Filter(lambda v: Undecided() if v == 2 else True, on_error="dead_letter")) as h:
        assert h.push([1, 2, 3]).values == [1, 3]
        assert [letter.value for letter in h.side("failed")] == [2]


def test_failures_and_refusals_together() -> None:
    """Failed records go to the dead letters, refused ones nowhere, and the rest keeps its place."""

    def odd(v: Any) -> bool:
        return v % 2 == 1

    with OperatorHarness(Filter(odd, on_error="dead_letter")) as h:
        h.node.process(Batch([1, "x", 2, 3, None, 5], origin=Origin("s", range(6))))
        [out] = h._main.batches
        assert out.values == [1, 3, 5]
        assert [out.locate(i)[1] for i in range(3)] == [0, 3, 5]
        # "x" % 2 is string formatting, which fails too.
        assert [letter.value for letter in h.side("failed")] == ["x", None]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.lists(st.integers(0, 9), max_size=8), max_size=8))
def test_batch_boundaries_change_nothing(batches: list[list[int]]) -> None:
    """However the records are cut into batches, the same ones pass, and the same ones fail."""

    def predicate(v: int) -> bool:
        return 12 / (v - 3) > 0

    records = [v for batch in batches for v in batch]
    with OperatorHarness(Filter(predicate, on_error="dead_letter")) as h:
        for batch in batches:
            h.push(batch)
        assert h.values == [v for v in records if v > 3]
        assert [letter.value for letter in h.side("failed")] == [v for v in records if v == 3]
