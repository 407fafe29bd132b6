"""Records sorted to side outputs."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tidegate.engine.errors import OperatorError
from tidegate.engine.testing import OperatorHarness
from tidegate.operators.batch import Batch, Origin
from tidegate.operators.split import Split

CASES = {"big": lambda v: v > 100, "even": lambda v: v % 2 == 0}


def test_the_first_match_takes_the_record() -> None:
    """A record goes to the first predicate that is true for it, and what no predicate wants goes on."""
    with OperatorHarness(Split(CASES), side_outputs=["big", "even"]) as h:
        h.push([1, 2, 101, 102, 3], timestamps=[1, 2, 3, 4, 5])
        assert h.output == [(1, 1), (3, 5)]
        assert h.side("big") == [101, 102]
        assert h.side("even") == [2]


def test_side_outputs_keep_timestamp_key_and_origin() -> None:
    """A record is the same record on a side output."""
    with OperatorHarness(Split(CASES), side_outputs=["big", "even"]) as h:
        h.node.process(Batch([200, 1, 2, 4], [1, 2, 3, 4], list("abcd"), origin=Origin("s", range(4))))
        [sent] = h._sides["even"].batches
        assert (sent.values, sent.timestamps, sent.keys) == ([2, 4], [3, 4], ["c", "d"])
        assert [sent.locate(i)[1] for i in range(2)] == [2, 3]


def test_a_batch_that_is_taken_whole_leaves_nothing() -> None:
    """When every record has found its tag nothing goes on, and later predicates are not asked."""

    def never(_: int) -> bool:
        raise AssertionError("asked")

    with OperatorHarness(Split({"all": lambda _: True, "none": never}), side_outputs=["all", "none"]) as h:
        h.push([1, 2])
        assert h.side("all") == [1, 2]
        assert h.values == []


def test_nobody_has_to_listen() -> None:
    """A tag without a listener takes its records all the same."""
    with OperatorHarness(Split(CASES)) as h:
        assert h.push([1, 2, 200]).values == [1]


def test_a_failing_predicate_names_the_record() -> None:
    """The offset in the error is the record's own, though others have been taken out before it."""
    with OperatorHarness(Split({"x": lambda v: v == "x", "small": lambda v: v < 5})) as h:
        with pytest.raises(OperatorError, match="record at 3 of split s: TypeError"):
            h.node.process(Batch(["x", 1, 7, "y"], origin=Origin("s", range(4))))


def test_a_failed_record_goes_to_no_other_output() -> None:
    """Dead letters are taken out before the next predicate is asked."""
    operator = Split({"small": lambda v: v < 5, "any": lambda _: True}, on_error="dead_letter")
    with OperatorHarness(operator, side_outputs=["small", "any"]) as h:
        h.push([1, "y", 7])
        assert (h.side("small"), h.side("any"), h.values) == ([1], [7], [])
        assert [letter.value for letter in h.side("failed")] == ["y"]
        assert h.clear().push(["y"]).side("any") == []


@pytest.mark.parametrize("cases", [{}, {"failed": bool}])
def test_wrong_cases_are_refused(cases: Any) -> None:
    """No case at all and the reserved tag are refused when the operator is described."""
    with pytest.raises(ValueError, match="tag"):
        Split(cases)


def test_the_tags_are_known_beforehand() -> None:
    """The side outputs can be checked before anything runs."""
    assert Split(CASES).side_outputs == ("big", "even", "failed")


@settings(max_examples=50, deadline=None)
@given(st.lists(st.lists(st.integers(0, 210), max_size=8), max_size=6))
def test_batch_boundaries_change_nothing(batches: list[list[int]]) -> None:
    """However the records are cut into batches, every output gets the same records in the same order."""
    records = [v for batch in batches for v in batch]
    with OperatorHarness(Split(CASES), side_outputs=["big", "even"]) as h:
        for batch in batches:
            h.push(batch)
        assert h.side("big") == [v for v in records if v > 100]
        assert h.side("even") == [v for v in records if v <= 100 and v % 2 == 0]
        assert h.values == [v for v in records if v <= 100 and v % 2]
