"""Records by a timetable."""

from __future__ import annotations

import pytest

from benchmarks.paced import PacedReader, PacedSource, percentiles
from benchmarks.scenario import BenchmarkError


async def test_records_are_due_by_the_timetable_and_not_by_when_they_are_read() -> None:
    """One who comes late finds all that came meanwhile, each with the time at which it was due."""
    reader = PacedReader(PacedSource(count=5, rate_per_s=1_000_000_000, n_keys=3))
    await reader.open((await PacedSource(5, 1, 3).discover(None, frozenset()))[0], None)  # type: ignore[arg-type]  # not looked at
    first, rest = await reader.read("ticks", 2), await reader.read("ticks", 10)
    assert [tick.key for tick in [*first.values, *rest.values]] == [i * 7919 % 3 for i in range(5)]
    due = [tick.arrived_ns for tick in [*first.values, *rest.values]]
    assert [ns - due[0] for ns in due] == [0, 1, 2, 3, 4]
    assert (first.end, rest.end) == (False, True)


def test_percentiles_are_of_all_that_was_measured() -> None:
    """In milliseconds."""
    found = percentiles("latency", [n * 1_000_000 for n in range(1001)])
    assert found == {"p50_ms": 500.0, "p99_ms": 990.0, "p999_ms": 999.0, "worst_ms": 1000.0}


def test_nothing_measured_is_refused() -> None:
    """With what to do."""
    with pytest.raises(BenchmarkError, match="latency-load: everything was over within the warm-up: take more events"):
        percentiles("latency-load", [])
