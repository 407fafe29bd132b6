"""Whether and when a failed job starts again."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tidegate.connectors.source import SourceError
from tidegate.engine.errors import ConfigError, FencedError, OperatorError, RecordError
from tidegate.engine.restart import (
    Failure,
    RestartStrategy,
    exponential,
    fixed_delay,
    never,
    parse_restart,
)


def delays(strategy: RestartStrategy, failures: list[Failure]) -> list[float | None]:
    """What the strategy says after each of the failures."""
    random = Random(1)
    return [strategy.decide(failures[: i + 1], random) for i in range(len(failures))]


SHORT = Failure(1.0)


def test_never_means_never() -> None:
    """The first failure ends the job."""
    assert delays(never(), [SHORT]) == [None]


def test_a_fixed_delay_is_given_a_number_of_times() -> None:
    """Healthy time between the failures makes no difference."""
    assert delays(fixed_delay(2, "3s"), [SHORT, Failure(1e9), SHORT]) == [3.0, 3.0, None]


def test_an_exponential_delay_grows_up_to_its_maximum() -> None:
    """Doubling from 100 ms, never above a second."""
    found = delays(exponential(maximum="1s", jitter=0.0), [SHORT] * 6)
    assert found == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.0, 1.0])


def test_healthy_time_starts_the_delay_anew() -> None:
    """An attempt that ran for ten minutes was not part of the trouble before it."""
    strategy = exponential(jitter=0.0, attempts=2)
    assert delays(strategy, [SHORT, SHORT, Failure(600.0), SHORT, SHORT]) == [
        pytest.approx(0.1),
        pytest.approx(0.2),
        pytest.approx(0.1),
        pytest.approx(0.2),
        None,
    ]


@given(st.integers(1, 3000), st.floats(0, 1), st.integers(0, 99))
def test_jitter_keeps_to_its_share_and_below_the_maximum(n: int, jitter: float, seed: int) -> None:
    """However often a job has failed, and whatever the random source says."""
    plain = exponential(jitter=0.0).decide([SHORT] * n, Random(seed))
    varied = exponential(jitter=jitter).decide([SHORT] * n, Random(seed))
    assert plain is not None
    assert varied is not None
    assert 0 <= varied <= 60.0
    assert plain * (1 - jitter) - 1e-9 <= varied <= plain * (1 + jitter) + 1e-9


def test_the_same_record_failing_again_and_again_ends_the_job() -> None:
    """It would fail for ever; another record in between shows that it would not."""
    poison, other = Failure(1.0, ("map", "f", "7")), Failure(1.0, ("map", "f", "8"))
    assert delays(exponential(), [poison] * 3)[-1] is None
    assert delays(exponential(), [poison, other, poison, poison])[-1] is not None
    assert delays(exponential(same_record=None), [poison] * 9)[-1] is not None


def test_a_failure_knows_the_record_that_caused_it() -> None:
    """Also from inside of a group, and for records that cannot be decoded."""
    inner = OperatorError("map", ZeroDivisionError(), "f", 7)
    assert Failure.of(ExceptionGroup("g", [inner]), 2.0) == Failure(2.0, ("map", "f", "7"))
    assert Failure.of(RecordError("in", "f", "line 3", "bad"), 2.0).record == ("in", "f", "'line 3'")
    one, other = (Failure.of(OperatorError("map", ZeroDivisionError(text)), 2.0).record for text in ("a", "b"))
    assert one is not None
    assert one != other


def test_the_outside_world_is_not_the_record_s_fault() -> None:
    """A service that is down may be up next time."""
    down = OperatorError("map", ConnectionError("refused"), "f", 7)
    down.__cause__ = ConnectionError("refused")
    assert Failure.of(down, 1.0) == Failure(1.0, None)


@pytest.mark.parametrize("error", [FencedError("taken over"), SourceError("no such file", retriable=False)])
def test_what_cannot_get_better_is_not_tried_again(error: Exception) -> None:
    """Whatever the strategy."""
    failures = [Failure.of(error, 1.0)]
    assert fixed_delay().decide(failures, Random(1)) is None
    assert exponential().decide(failures, Random(1)) is None


def test_a_strategy_can_be_written_as_text_or_table() -> None:
    """As configuration gives it."""
    assert parse_restart("never") == never()
    assert parse_restart("fixed-delay attempts=3 delay = 5s") == fixed_delay(3, "5s")
    table = {"strategy": "exponential", "attempts": "none", "factor": 3}
    assert parse_restart(table) == exponential(factor=3.0)


@pytest.mark.parametrize(
    "given",
    [
        "",
        "sometimes",
        "never attempts=3",
        "fixed_delay attempts=x",
        "fixed_delay attempts=0",
        "fixed_delay delay=5",
        "exponential factor=0.5",
        "exponential jitter=2",
        "exponential initial=2s maximum=1s",
        "fixed_delay 3",
        {"attempts": 3},
    ],
)
def test_a_strategy_that_makes_no_sense_is_refused(given: object) -> None:
    """With a message about restart strategies."""
    with pytest.raises(ConfigError, match="restart strategy"):
        parse_restart(given)  # type: ignore[arg-type]  # the cases are of both kinds
