"""One record for each record."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tidegate.engine.testing import OperatorHarness
from tidegate.operators.batch import Batch, Origin
from tidegate.operators.map import Map


def test_each_value_is_replaced() -> None:
    """Every record comes out with its new value, in order."""
    with OperatorHarness(Map(str.upper)) as h:
        assert h.push(["a", "b"]).push(["c"]).values == ["A", "B", "C"]


def test_timestamp_key_watermark_and_origin_stay() -> None:
    """Only the value changes."""
    with OperatorHarness(Map(len)) as h:
        batch = Batch(["a", "bb"], [1, 2], ["x", "y"], [0, 0], Origin("s", [10, 20]))
        h.node.process(batch)
        [out] = h._main.batches
        assert out.values == [1, 2]
        assert (out.timestamps, out.keys, out.watermarks) == ([1, 2], ["x", "y"], [0, 0])
        assert out.locate(1) == ("s", 20)


def test_what_is_left_after_failures_keeps_its_place() -> None:
    """After a skipped record the origin of its neighbours is still theirs."""
    with OperatorHarness(Map(lambda v: 1 // v, on_error="skip")) as h:
        h.node.process(Batch([0, 1, 0, -1], [1, 2, 3, 4], origin=Origin("s", [10, 20, 30, 40])))
        [out] = h._main.batches
        assert (out.values, out.timestamps) == ([1, -1], [2, 4])
        assert [out.locate(i) for i in range(2)] == [("s", 20), ("s", 40)]


def test_none_is_a_value() -> None:
    """A function may give None; the record goes on."""
    with OperatorHarness(Map(lambda _: None)) as h:
        assert h.push([1, 2]).values == [None, None]


def test_the_input_lists_are_left_alone() -> None:
    """The batch that came in is as it was."""
    with OperatorHarness(Map(lambda v: v + 1)) as h:
        batch = Batch([1, 2])
        h.node.process(batch)
        assert batch.values == [1, 2]


def test_a_wrong_policy_is_refused() -> None:
    """A misspelt policy is refused when the operator is described."""
    with pytest.raises(ValueError, match="on_error='ignore'"):
        Map(len, on_error="ignore")  # type: ignore[arg-type]  # what is tested


@settings(max_examples=50, deadline=None)
@given(st.lists(st.lists(st.integers(), max_size=8), max_size=8))
def test_batch_boundaries_change_nothing(batches: list[list[int]]) -> None:
    """However the records are cut into batches, the results are those of `map`."""
    with OperatorHarness(Map(lambda v: v * 2 + 1)) as h:
        for batch in batches:
            h.push(batch)
        assert h.values == [v * 2 + 1 for batch in batches for v in batch]
