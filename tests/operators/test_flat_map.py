"""Any number of records for each record."""

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tidegate.engine.errors import OperatorError
from tidegate.engine.testing import OperatorHarness
from tidegate.operators.batch import Batch, Origin
from tidegate.operators.flat_map import FlatMap


def countdown(n: int) -> Iterator[int]:
    """A generator that fails in the middle for 13."""
    for i in range(n, 0, -1):
        if n == 13 and i == 5:
            raise ValueError("unlucky")
        yield i


def test_results_stand_where_their_record_stood() -> None:
    """Each result takes timestamp, key, watermark and origin of the record it came from."""
    with OperatorHarness(FlatMap(str.split)) as h:
        h.node.process(Batch(["a b", "", "c"], [1, 2, 3], ["x", "y", "z"], [0, 1, 2], Origin("s", [10, 20, 30])))
        [out] = h._main.batches
        assert out.values == ["a", "b", "c"]
        assert (out.timestamps, out.keys, out.watermarks) == ([1, 1, 3], ["x", "x", "z"], [0, 0, 2])
        assert [out.locate(i)[1] for i in range(3)] == [10, 10, 30]


def test_generators_and_empty_results_are_fine() -> None:
    """Any finite iterable will do; a batch without results says nothing."""
    with OperatorHarness(FlatMap(countdown)) as h:
        assert h.push([2, 0, 1]).values == [2, 1, 1]
        h.clear().push([0, 0])
        assert h._main.batches == []


def test_a_generator_that_fails_half_way_gives_nothing() -> None:
    """None of the results of a failed record goes out."""
    with OperatorHarness(FlatMap(countdown, on_error="dead_letter")) as h:
        h.node.process(Batch([1, 13, 2], [1, 2, 3], origin=Origin("s", range(3))))
        assert h.output == [(1, 1), (2, 3), (1, 3)]
        [letter] = h.side("failed")
        assert (letter.value, letter.error, letter.offset) == (13, "ValueError: unlucky", 1)
        assert [h._main.batches[0].locate(i)[1] for i in range(3)] == [0, 2, 2]


def test_what_cannot_be_iterated_is_a_record_error() -> None:
    """A function that forgets to return is found at the first record."""

    def forgets(_: Any) -> Any:
        return None

    with OperatorHarness(FlatMap(forgets)) as h, pytest.raises(OperatorError, match="not iterable"):
        h.push([1])


@settings(max_examples=50, deadline=None)
@given(st.lists(st.lists(st.integers(0, 14), max_size=6), max_size=6))
def test_batch_boundaries_change_nothing(batches: list[list[int]]) -> None:
    """However the records are cut into batches, results and timestamps are those of a plain loop."""
    records = [v for batch in batches for v in batch]
    with OperatorHarness(FlatMap(countdown, on_error="skip")) as h:
        start = 0
        for batch in batches:
            h.push(batch, timestamps=range(start, start + len(batch)))
            start += len(batch)
        assert h.output == [(i, timestamp) for timestamp, n in enumerate(records) if n != 13 for i in range(n, 0, -1)]
