"""What a job counts."""

import json

from tidegate.engine.metrics import JobMeasures
from tidegate.engine.metrics.measures import watermark_lag_ms
from tidegate.operators.time import MAX_WATERMARK, MIN_WATERMARK


def test_counts_go_on_over_restarts() -> None:
    """Asked for again in the next attempt, the measures are the same object."""
    job = JobMeasures("flights")
    assert job.operator("map", 0) is job.operator("map", 0)
    assert job.operator("map", 0) is not job.operator("map", 1)
    assert job.subtask("map", 0) is job.subtask("map", 0)
    assert job.split("in", "f") is job.split("in", "f")


def test_known_names_are_counted_where_they_belong() -> None:
    """Anything else is a counter of the operator's own."""
    operator = JobMeasures("flights").operator("validate", 0)
    for name in ("late", "errors", "dead_letters", "bytes", "bytes_in", "rule: delay", "rule: delay"):
        operator.count(name, 2)
    found = (operator.late, operator.errors, operator.dead_letters, operator.bytes_out, operator.bytes_in)
    assert found == (2, 2, 2, 2, 2)
    assert operator.counters == {"rule: delay": 4}


def test_a_watermark_has_a_lag_only_between_its_ends() -> None:
    """Unknown before the first record, nothing after the last."""
    assert watermark_lag_ms(MIN_WATERMARK, 100) is None
    assert watermark_lag_ms(40, 100) == 60
    assert watermark_lag_ms(MAX_WATERMARK, 100) == 0


def test_the_age_of_the_last_checkpoint_grows_until_the_next() -> None:
    """A failed one does not make it younger."""
    checkpoints = JobMeasures("flights").checkpoints
    assert checkpoints.age_ms(5_000) is None
    checkpoints.complete(1, 5_000, 120.0, size_bytes=9)
    checkpoints.fail("disk full")
    assert checkpoints.age_ms(7_000) == 2_000
    assert (checkpoints.completed, checkpoints.failed, checkpoints.last_failure) == (1, 1, "disk full")
    assert len(checkpoints.durations) == 1


def test_unaligned_checkpoints_are_counted() -> None:
    """What was in flight is known of the last one."""
    checkpoints = JobMeasures("flights").checkpoints
    checkpoints.complete(1, 5_000, 120.0, in_flight_bytes=700, unaligned=True)
    found = checkpoints.snapshot(5_000)
    assert (found["unaligned"], found["last_in_flight_bytes"]) == (1, 700)
    checkpoints.complete(2, 6_000, 120.0)
    found = checkpoints.snapshot(6_000)
    assert (found["unaligned"], found["last_in_flight_bytes"]) == (1, 0)


def test_a_snapshot_is_json_and_does_not_change_any_more() -> None:
    """For programs that embed a job."""
    job = JobMeasures("flights")
    operator = job.operator("map", 0)
    operator.count("rule")
    job.subtask("in", 0, ("in", "map"))
    job.split("in", "f")
    job.latency.add(0.01, 5)
    job.recovered(12.5)
    taken = job.snapshot(1_000)
    text = json.dumps(taken)
    operator.count("rule")
    operator.records_in += 1
    job.latency.add(0.01)
    assert json.dumps(taken) == text
    assert (taken["restarts"], taken["recovery_ms"], taken["latency"]["count"]) == (1, [12.5], 5)
