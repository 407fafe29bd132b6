"""At most one record per key and interval."""

import pytest
from tidegate.engine.testing import OperatorHarness
from tidegate.operators.throttle import Throttle


def test_the_first_record_passes_and_those_within_the_interval_do_not() -> None:
    """By the clock; each key for itself."""
    with OperatorHarness(Throttle[int](100)) as h:
        h.push([1, 2, 3], keys=["a", "a", "b"]).advance(99).push([4], keys=["a"]).advance(1).push(
            [5, 6], keys=["a", "b"]
        )
        assert h.values == [1, 3, 5, 6]
        assert h.counters == {"throttled": 2}


def test_with_event_time_a_replay_gives_the_same() -> None:
    """The timestamps count."""
    with OperatorHarness(Throttle[int](100, time="event")) as h:
        h.push([1, 2, 3, 4], [0, 99, 100, 199], ["a"] * 4)
        assert h.values == [1, 3]


def test_an_interval_of_nothing_is_refused() -> None:
    """It would let everything pass."""
    with pytest.raises(ValueError, match="throttle needs an interval longer than 0ms"):
        Throttle(0)
