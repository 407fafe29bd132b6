"""Barrier alignment."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from tidegate.engine.runtime.alignment import Aligner, Overtaking
from tidegate.engine.runtime.elements import Barrier


def test_one_input_is_aligned_at_once():
    """There is nobody to wait for."""
    aligner = Aligner(1)
    assert aligner.arrive(0, 1)
    assert not aligner.aligning
    assert not aligner.blocked(0)


def test_an_input_is_held_back_until_the_others_have_the_barrier():
    """What follows the barrier belongs to the next checkpoint."""
    aligner = Aligner(3)
    assert not aligner.arrive(1, 7)
    assert [aligner.blocked(channel) for channel in range(3)] == [False, True, False]
    assert not aligner.arrive(0, 7)
    assert aligner.arrive(2, 7)
    assert not any(aligner.blocked(channel) for channel in range(3))


def test_the_same_barrier_twice_counts_once():
    """A repeated barrier does not stand for another input's."""
    aligner = Aligner(2)
    aligner.arrive(0, 1)
    assert not aligner.arrive(0, 1)
    assert aligner.arrive(1, 1)


def test_a_newer_barrier_takes_the_place_of_one_that_was_given_up():
    """The inputs blocked for the older checkpoint are released and must bring the newer barrier."""
    aligner = Aligner(2)
    aligner.arrive(0, 1)
    assert not aligner.arrive(1, 2)
    assert [aligner.blocked(0), aligner.blocked(1)] == [False, True]
    assert aligner.checkpoint_id == 2
    assert aligner.arrive(0, 2)


def test_a_barrier_that_comes_too_late_is_passed_by():
    """An older barrier neither blocks its input nor completes the newer checkpoint."""
    aligner = Aligner(2)
    aligner.arrive(1, 5)
    assert not aligner.arrive(0, 4)
    assert not aligner.blocked(0)
    assert aligner.checkpoint_id == 5


@given(st.integers(1, 5).flatmap(lambda n: st.tuples(st.just(n), st.permutations([*range(n)]))))
def test_the_last_input_completes_the_checkpoint_in_any_order(order):
    """Only the last of all barriers says that the snapshot is due."""
    channels, sequence = order
    aligner = Aligner(channels)
    assert [aligner.arrive(channel, 1) for channel in sequence] == [False] * (channels - 1) + [True]


def test_barriers_that_have_overtaken_mean_nothing_when_their_turn_comes():
    """No input is held back for them, and older ones do not come back either."""
    aligner = Aligner(3)
    aligner.arrive(1, 7)
    assert aligner.taken(1, 7)
    aligner.overtake(7)
    assert not any(aligner.blocked(channel) or aligner.taken(channel, 7) for channel in range(3))
    assert [aligner.arrive(channel, 7) for channel in (0, 2)] == [False, False]
    assert not aligner.arrive(0, 6)
    assert not any(aligner.blocked(channel) for channel in range(3))
    assert [aligner.arrive(channel, 8) for channel in range(3)] == [False, False, True]


def test_a_barrier_overtakes_with_leave_and_once_it_has_come_on_one_input():
    """In either order; not without leave, not with leave for another checkpoint, not when it is done with."""
    overtaking = Overtaking(2)
    assert not overtaking.came(0, Barrier(1), 0)
    assert overtaking.due is None
    assert overtaking.allow(1, 0)
    assert overtaking.due == Barrier(1)
    overtaking.forbid(1)
    assert overtaking.due is None
    assert not overtaking.allow(2, 1)
    assert not overtaking.came(0, Barrier(1), 1)
    assert overtaking.came(1, Barrier(2), 1)
    assert not Overtaking(1).allow(2, 1)
    assert not overtaking.allow(2, 2)


def test_leave_that_is_taken_back_is_taken_back_for_that_checkpoint_only():
    """Word of an older one that was given up may come late."""
    overtaking = Overtaking(1)
    overtaking.allow(5, 0)
    overtaking.forbid(4)
    assert overtaking.came(0, Barrier(5), 0)


def test_no_barrier_overtakes_once_a_record_was_met_that_cannot_be_recorded():
    """They wait for their turn instead."""
    overtaking = Overtaking(1)
    overtaking.allow(1, 0)
    overtaking.came(0, Barrier(1), 0)
    overtaking.refuse()
    assert overtaking.due is None
    assert not overtaking.allow(2, 1)
    assert not overtaking.came(0, Barrier(2), 1)
