"""Which checkpoints are open, and what each still waits for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tidegate.engine.checkpoint.tracker import Aborted, CheckpointTracker, Completed, Ignored, Waiting


def test_a_checkpoint_is_complete_when_the_last_subtask_has_acknowledged() -> None:
    """Until then the outcome names who is missing."""
    tracker = CheckpointTracker()
    tracker.begin(1, ["a/0", "a/1", "b/0"], deadline=10)
    assert tracker.acknowledge(1, "a/1") == Waiting(("a/0", "b/0"))
    assert tracker.acknowledge(1, "b/0") == Waiting(("a/0",))
    assert tracker.missing(1) == ("a/0",)
    assert tracker.acknowledge(1, "a/0") == Completed(1)
    assert tracker.in_flight == ()


def test_an_acknowledgement_counts_once() -> None:
    """A repeated one changes nothing."""
    tracker = CheckpointTracker()
    tracker.begin(1, ["a/0", "a/1"], deadline=10)
    tracker.acknowledge(1, "a/0")
    assert tracker.acknowledge(1, "a/0") == Ignored("subtask a/0 has acknowledged before in checkpoint 1")
    assert tracker.missing(1) == ("a/1",)


def test_an_acknowledgement_of_a_stranger_is_ignored() -> None:
    """A subtask that takes no part cannot complete a checkpoint."""
    tracker = CheckpointTracker()
    tracker.begin(1, ["a/0"], deadline=10)
    assert tracker.acknowledge(1, "z/9") == Ignored("subtask z/9 takes no part in checkpoint 1")


def test_an_acknowledgement_of_a_checkpoint_that_is_not_open_is_ignored() -> None:
    """It was aborted or never begun."""
    assert CheckpointTracker().acknowledge(7, "a/0") == Ignored("checkpoint 7 is not open")


def test_a_complete_checkpoint_subsumes_older_ones() -> None:
    """What the older one would say is out of date; newer ones stay open."""
    tracker = CheckpointTracker()
    for checkpoint_id in (1, 2, 3, 4):
        tracker.begin(checkpoint_id, ["a/0"], deadline=10)
    assert tracker.acknowledge(3, "a/0") == Completed(3, subsumed=(1, 2))
    assert tracker.in_flight == (4,)
    assert isinstance(tracker.acknowledge(1, "a/0"), Ignored)


def test_a_savepoint_is_not_subsumed() -> None:
    """Somebody asked for it and waits."""
    tracker = CheckpointTracker()
    tracker.begin(1, ["a/0"], deadline=10, is_savepoint=True)
    tracker.begin(2, ["a/0"], deadline=10)
    assert tracker.acknowledge(2, "a/0") == Completed(2)
    assert tracker.acknowledge(1, "a/0") == Completed(1)


def test_one_declining_subtask_aborts_the_checkpoint() -> None:
    """The reason says who and why; what comes later is ignored."""
    tracker = CheckpointTracker()
    tracker.begin(1, ["a/0", "a/1"], deadline=10)
    assert tracker.decline(1, "a/1", "disk full") == Aborted(1, "subtask a/1 declined: disk full")
    assert isinstance(tracker.decline(1, "a/0", "disk full"), Ignored)
    assert isinstance(tracker.acknowledge(1, "a/0"), Ignored)


def test_a_checkpoint_expires_at_its_deadline() -> None:
    """Those whose deadline has passed are aborted, naming who is missing."""
    tracker = CheckpointTracker()
    tracker.begin(1, ["b/0", "a/0"], deadline=10)
    tracker.begin(2, ["a/0"], deadline=12)
    assert tracker.next_deadline() == 10
    assert tracker.expire(9.9) == []
    assert tracker.expire(10) == [Aborted(1, "timed out waiting for a/0, b/0")]
    assert tracker.in_flight == (2,)
    assert tracker.next_deadline() == 12


def test_the_end_of_an_attempt_aborts_everything_open() -> None:
    """Nothing is left open and nothing has a deadline."""
    tracker = CheckpointTracker()
    tracker.begin(1, ["a/0"], deadline=10)
    tracker.begin(2, ["a/0"], deadline=10, is_savepoint=True)
    assert tracker.abort_all("job failed") == [Aborted(1, "job failed"), Aborted(2, "job failed")]
    assert tracker.next_deadline() is None
    assert tracker.missing(1) == ()


def test_ids_must_increase() -> None:
    """A checkpoint with an older id than one that is open is a defect of the caller."""
    tracker = CheckpointTracker()
    tracker.begin(2, ["a/0"], deadline=10)
    with pytest.raises(ValueError, match="checkpoint 2 is opened after checkpoint 2"):
        tracker.begin(2, ["a/0"], deadline=10)


def test_a_checkpoint_waits_for_somebody() -> None:
    """Without a subtask it could never complete."""
    with pytest.raises(ValueError, match="no subtask to wait for"):
        CheckpointTracker().begin(1, [], deadline=10)


@given(st.permutations([(n, s) for n in (1, 2, 3) for s in ("a", "b")]))
def test_in_any_order_each_checkpoint_ends_once(order: list[tuple[int, str]]) -> None:
    """Completed or subsumed, never both, and the newest always completes."""
    tracker = CheckpointTracker()
    for checkpoint_id in (1, 2, 3):
        tracker.begin(checkpoint_id, ["a", "b"], deadline=10)
    ended: list[int] = []
    for checkpoint_id, subtask in order:
        outcome = tracker.acknowledge(checkpoint_id, subtask)
        if isinstance(outcome, Completed):
            ended += [*outcome.subsumed, outcome.checkpoint_id]
    assert sorted(ended) == [1, 2, 3]
    assert tracker.in_flight == ()
