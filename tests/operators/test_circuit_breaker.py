"""A service that fails is left alone for a while."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tidegate.engine.testing import AsyncOperatorHarness
from tidegate.operators.circuit_breaker import Circuit, CircuitBreaker, CircuitState
from tidegate.operators.errors import Retry
from tidegate.operators.map_async import MapAsync
from tidegate.operators.map_async_batch import MapAsyncBatch

SETTINGS = CircuitBreaker(failure_share=0.5, last=4, least=2, open_for="10s", trial_calls=2)


def outcomes(circuit: Circuit, *failed: bool, at: int = 0) -> None:
    """Calls, one after the other."""
    for one in failed:
        assert circuit.admit(at) is None
        circuit.ended(circuit.turn, at, failed=one)


def test_it_opens_at_the_share_of_failures() -> None:
    """Not before there were enough calls, and of those only the last count."""
    circuit = Circuit(SETTINGS)
    outcomes(circuit, True)
    assert circuit.state is CircuitState.CLOSED
    outcomes(circuit, False, False, False, False, True)
    assert circuit.state is CircuitState.CLOSED
    outcomes(circuit, True)
    assert circuit.state is CircuitState.OPEN


def test_an_open_circuit_is_tried_after_its_time() -> None:
    """As many calls as asked for, then the outcome decides."""
    circuit = Circuit(SETTINGS)
    outcomes(circuit, True, True, at=1_000)
    assert (circuit.admit(1_000), circuit.admit(10_999)) == (10_000, 1)
    assert [circuit.admit(11_000) for _ in range(3)] == [None, None, 0]
    assert circuit.state is CircuitState.HALF_OPEN
    assert not circuit.ended(circuit.turn, 11_000, failed=False)
    assert circuit.admit(11_000) == 0
    assert not circuit.ended(circuit.turn, 11_000, failed=False)
    assert (circuit.state, circuit.admit(11_000)) == (CircuitState.CLOSED, None)


def test_one_failed_trial_opens_it_again() -> None:
    """For the whole time."""
    circuit = Circuit(SETTINGS)
    outcomes(circuit, True, True)
    assert [circuit.admit(10_000) for _ in range(2)] == [None, None]
    assert circuit.ended(circuit.turn, 12_000, failed=True)
    assert circuit.admit(12_000) == 10_000


def test_calls_of_before_say_nothing_any_more() -> None:
    """What began while the circuit was closed neither closes nor opens it later."""
    circuit = Circuit(SETTINGS)
    before = circuit.turn
    outcomes(circuit, True, True)
    circuit.ended(before, 5_000, failed=True)
    assert circuit.admit(10_000) is None
    circuit.ended(before, 10_000, failed=True)
    assert circuit.state is CircuitState.HALF_OPEN


class Service:
    """Answers, or not, as it is told."""

    def __init__(self) -> None:
        self.calls: list[Any] = []
        self.down: type[Exception] | None = None

    async def __call__(self, value: Any) -> Any:
        self.calls.append(value)
        if self.down is not None:
            raise self.down("down")
        return value


async def test_records_wait_while_the_circuit_is_open() -> None:
    """No call is made; then trials, the rest when they have succeeded. Nothing is lost, and the order stays."""
    service = Service()
    operator = MapAsync(
        service, input_type=int, capacity=4, breaker=SETTINGS, retry=Retry(attempts=9, delay="0ms", then="skip")
    )
    async with AsyncOperatorHarness(operator) as h:
        service.down = ConnectionError
        h.push(range(8))
        await h.collect()
        made = len(service.calls)
        assert not h.operator.ready
        h.clock.advance_ms(9_999)
        await h.collect()
        assert (len(service.calls), h.counters["circuit_opened"]) == (made, 1)
        service.down = None
        h.clock.advance_ms(1)
        await h.settle()
        assert (h.values, h.counters["circuit_opened"]) == (list(range(8)), 1)


async def test_records_fail_at_once_where_they_shall_not_wait() -> None:
    """With `when_open="fail"` the error says why, and is told from the service's own."""
    service = Service()
    service.down = ConnectionError
    breaker = CircuitBreaker(last=2, least=2, open_for="10s", when_open="fail")
    operator = MapAsync(service, input_type=int, capacity=1, breaker=breaker, on_error="dead_letter")
    async with AsyncOperatorHarness(operator) as h:
        h.push([1, 2, 3])
        await h.settle()
        errors = [letter.error for letter in h.side("failed")]
        assert errors[:2] == ["ConnectionError: down"] * 2
        assert errors[2] == "CircuitOpenError: the service has failed too often: its circuit is open for 10s more"
        assert (service.calls, h.counters["circuit_rejected"]) == ([1, 2], 1)


async def test_only_errors_that_speak_of_the_service_count() -> None:
    """A record that is not found says nothing about the service."""
    service = Service()
    service.down = LookupError
    breaker = CircuitBreaker(last=2, least=1, counts=(ConnectionError, TimeoutError))
    async with AsyncOperatorHarness(MapAsync(service, input_type=int, breaker=breaker, on_error="skip")) as h:
        h.push(range(5))
        await h.settle()
        assert (service.calls, h.counters.get("circuit_opened", 0)) == ([0, 1, 2, 3, 4], 0)


async def test_a_call_that_takes_too_long_counts() -> None:
    """The service does not answer: that is a failure."""

    async def never(value: int) -> int:
        await asyncio.Event().wait()
        return value

    breaker = CircuitBreaker(last=1, least=1, when_open="fail")
    operator = MapAsync(never, input_type=int, timeout="1ms", capacity=1, breaker=breaker, on_error="skip")
    async with AsyncOperatorHarness(operator) as h:
        h.push([1, 2])
        await h.settle()
        assert (h.counters["circuit_opened"], h.counters["circuit_rejected"]) == (1, 1)


async def test_bulk_calls_go_through_it_too() -> None:
    """One call is one call, however many records it takes."""
    service = Service()
    service.down = ConnectionError
    breaker = CircuitBreaker(last=1, least=1, open_for="5s", trial_calls=1)
    retry = Retry(attempts=2, delay="0ms", then="skip")
    operator: MapAsyncBatch[int, int] = MapAsyncBatch(
        service, max_batch=3, input_type=int, breaker=breaker, retry=retry, capacity=1
    )
    async with AsyncOperatorHarness(operator) as h:
        h.push([1, 2, 3])
        await h.collect()
        assert service.calls == [[1, 2, 3]]
        service.down = None
        h.clock.advance_ms(5_000)
        await h.settle()
        assert h.values == [1, 2, 3]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"failure_share": 0}, "failure_share=0"),
        ({"last": 5, "least": 6}, "1 <= least <= last"),
        ({"trial_calls": 0}, "trial_calls=0"),
        ({"when_open": "drop"}, "when_open='drop'"),
        ({"open_for": "0ms"}, "open_for"),
    ],
)
def test_a_setting_out_of_its_range_is_refused(settings: dict[str, Any], message: str) -> None:
    """When it is written."""
    with pytest.raises(ValueError, match=message):
        CircuitBreaker(**settings)
