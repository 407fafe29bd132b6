"""The last record of a key before it falls silent."""

from typing import Any

import pytest
from tidegate.engine.testing import OperatorHarness
from tidegate.operators.debounce import Debounce, debounce_operator


@pytest.mark.parametrize("backend", ["dict", "rocksdb"])
def test_the_last_record_goes_out_after_silence(backend: Any) -> None:
    """Each key for itself, however often it speaks before; with the record's own timestamp."""
    with OperatorHarness(Debounce[str](100, type=str), backend=backend, memory_budget_bytes=200) as h:
        h.push(["a1", "b1"], [1, 2], ["a", "b"]).advance(60).push(["a2"], [3], ["a"]).advance(60)
        assert (h.output, h.keys) == ([("b1", 2)], ["b"])
        h.advance(39)
        assert h.output == [("b1", 2)]
        assert h.advance(1).output == [("b1", 2), ("a2", 3)]
        assert h.advance(1000).push(["a3"], [4], ["a"]).advance(100).values == ["b1", "a2", "a3"]


def test_what_waits_goes_out_at_the_end() -> None:
    """Once, also without timestamps."""
    with OperatorHarness(Debounce[str](100)) as h:
        h.push(["a1", "a2"], keys=["a", "a"]).end()
        assert h.output == [("a2", None)]
        assert h.advance(200).values == ["a2"]


def test_with_event_time_the_watermark_counts() -> None:
    """The newest record of a session, `silence` after it."""
    with OperatorHarness(debounce_operator("10ms", type=str)) as h:
        h.push(["x", "z", "y", "w"], [1, 9, 5, 30], ["a"] * 4).watermark(18)
        assert h.output == [("z", 18)]
        assert h.watermark(39).output == [("z", 18), ("w", 39)]


@pytest.mark.parametrize("time", ["event", "processing"])
def test_a_silence_of_nothing_is_refused(time: Any) -> None:
    """It would be no silence."""
    with pytest.raises(ValueError, match="longer than 0ms"):
        debounce_operator("0ms", time=time)
