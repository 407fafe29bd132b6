"""What the watcher of the latency scenario makes of the results that it saw."""

from __future__ import annotations

import pytest

from benchmarks.kafka_traffic import LAST_S, RATE_PER_S, WARM_UP_S, Converted, Seen, expected, latencies, price_of
from benchmarks.scenario import BenchmarkError

COUNT = (WARM_UP_S + LAST_S + 1) * RATE_PER_S
COUNTED_FROM = WARM_UP_S * RATE_PER_S


def seen(number: int, since_arrival_ms: float = 2.0, since_due_ms: float = 3.0) -> Seen:
    """The right result of a bid."""
    return Seen(Converted(number, 1, price_of(number) * 0.908, 0), since_arrival_ms, since_due_ms)


def test_only_the_middle_counts() -> None:
    """Latencies of the warm-up and of the last seconds are left out."""
    numbers = expected(COUNT)
    last = COUNT - LAST_S * RATE_PER_S
    results = [seen(n) if COUNTED_FROM <= n < last else seen(n, 900.0, 900.0) for n in numbers]
    figures = latencies(results, COUNT)
    assert figures == {"p50_ms": 2.0, "p99_ms": 2.0, "p999_ms": 2.0, "worst_ms": 2.0, "since_due_p99_ms": 3.0}


def test_percentiles_are_those_of_results() -> None:
    """The order in which they came is of no importance."""
    numbers = expected(COUNT)
    counted = [n for n in numbers if COUNTED_FROM <= n < COUNT - LAST_S * RATE_PER_S]
    slow = set(counted[:: len(counted) // 60])
    figures = latencies([seen(n, 50.0 if n in slow else 1.0) for n in reversed(numbers)], COUNT)
    assert 0.01 < len(slow) / len(counted) < 0.5
    assert (figures["p50_ms"], figures["p99_ms"], figures["worst_ms"]) == (1.0, 50.0, 50.0)


def test_two_thirds_of_the_bids_have_a_result() -> None:
    """As in the other scenarios."""
    assert len(expected(30_000)) / 30_000 == pytest.approx(2 / 3, abs=0.01)


@pytest.mark.parametrize(
    ("results", "said"),
    [
        ([seen(n) for n in expected(20)[1:]], "1 are missing, 0 are doubled"),
        ([seen(n) for n in [expected(20)[0], *expected(20)]], "0 are missing, 1 are doubled"),
        ([*[seen(n) for n in expected(20)[1:]], Seen(Converted(expected(20)[0], 1, 7.0, 0), 1, 1)], "price=7.0"),
        ([seen(n) for n in expected(20)], "take more events"),
    ],
)
def test_results_that_are_wrong_or_too_few_have_no_latency(results: list[Seen], said: str) -> None:
    """One that is missing, doubled or wrong; or all within the warm-up."""
    with pytest.raises(BenchmarkError, match="kafka-latency") as refused:
        latencies(results, 20)
    assert said in str(refused.value)
