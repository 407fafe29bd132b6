"""What happened between two looks at a job."""

import pytest
from tidegate.engine.metrics import JobMeasures
from tidegate.engine.metrics.rates import rates


def test_rates_are_differences_over_all_subtasks() -> None:
    """Two subtasks of one operator are one row; what was before does not count."""
    job = JobMeasures("flights")
    first, second = job.operator("in", 0, "source"), job.operator("in", 1, "source")
    first.records_in = 100
    chain = job.subtask("in", 0, ("in",))
    chain.busy_s, chain.idle_s = 5.0, 5.0
    before = job.snapshot(0)
    first.records_in, second.records_in = 150, 30
    chain.busy_s += 1.5
    chain.backpressured_s += 0.5
    now = rates(job.snapshot(2_000), before, 2.0)
    (operator,) = now.operators
    assert (operator.in_per_s, now.records_per_s) == (40.0, 40.0)
    assert (operator.busy, operator.backpressured) == (0.75, 0.25)


def test_the_subtask_that_is_furthest_behind_gives_the_watermark_lag() -> None:
    """The others may be ahead."""
    job = JobMeasures("flights")
    job.operator("window", 0).watermark_ms = 900
    job.operator("window", 1).watermark_ms = 400
    assert rates(job.snapshot(1_000), None, 1.0).operators[0].watermark_lag_ms == 600


def test_latency_is_that_of_the_interval() -> None:
    """A slow start does not stay in the picture for ever."""
    job = JobMeasures("flights")
    job.latency.add(10.0, 1000)
    before = job.snapshot(0)
    job.latency.add(0.004, 10)
    now = rates(job.snapshot(1_000), before, 1.0)
    assert now.latency_p99_s == pytest.approx(0.004, rel=0.2)
    assert rates(job.snapshot(2_000), job.snapshot(1_000), 1.0).latency_p99_s is None


def test_unknown_lags_stay_unknown() -> None:
    """A sum is given as soon as one reader knows."""
    job = JobMeasures("flights")
    job.split("in", "a")
    assert rates(job.snapshot(0), None, 1.0).record_lag is None
    job.split("in", "b").record_lag = 7
    assert rates(job.snapshot(0), None, 1.0).record_lag == 7
