"""How much to read at once, and how fast."""

from __future__ import annotations

from tidegate.engine.runtime.pace import BatchSize, Pace, SnapshotPace


def test_batches_grow_while_they_are_quick():
    """Full, quick batches double up to the largest."""
    size = BatchSize(2000)
    for _ in range(10):
        size.observe(size.limit, 0.0001)
    assert size.limit == 2000


def test_batches_shrink_when_they_are_slow():
    """Slow batches are halved, down to a few dozen."""
    size = BatchSize(2000)
    for _ in range(10):
        size.observe(size.limit, 1.0)
    assert size.limit == 64


def test_the_largest_batch_is_never_exceeded():
    """Also when it is tiny."""
    size = BatchSize(1)
    size.observe(1, 0.0)
    size.observe(1, 9.0)
    assert size.limit == 1


def test_without_a_rate_there_is_no_delay():
    """As many as wanted, at once."""
    pace = Pace(None)
    assert (pace.limit(500), pace.delay(500, 1.0)) == (500, 0.0)


def test_a_rate_limit_holds_over_time():
    """A thousand records at a hundred per second take about ten seconds."""
    pace, now, records = Pace(100.0), 0.0, 0
    while records < 1000:
        count = pace.limit(256)
        records += count
        now += pace.delay(count, now)
    assert 9.8 <= now <= 10.1


def test_a_pause_is_not_caught_up_by_a_burst():
    """Time without records gives no more than a twentieth of a second's credit."""
    pace = Pace(1000.0)
    pace.delay(10, 0.0)
    now = burst = 100.0
    count = 0
    while now == burst:
        count += pace.limit(256)
        now += pace.delay(10, now)
    assert count <= 60


def test_a_portion_of_a_snapshot_that_a_stall_held_up_does_not_keep_later_ones_small():
    """The machine stood still for a second; soon portions are as large as they were."""
    pace = SnapshotPace()
    pace.observe(pace.limit(0.0), 1.0)
    assert pace.limit(0.0) < 64
    for _ in range(12):
        entries = pace.limit(0.0)
        pace.observe(entries, entries * 2e-6)
    assert pace.limit(0.0) == 1000


def test_the_last_few_entries_of_a_snapshot_say_nothing_of_what_an_entry_takes():
    """Three entries took as long as the call itself."""
    pace = SnapshotPace()
    before = pace.limit(0.0)
    pace.observe(3, 0.001)
    assert pace.limit(0.0) == before
