"""Which channel a record takes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from tidegate.engine.runtime.partitioners import Broadcast, Forward, Hash, RoundRobin
from tidegate.engine.state.key_groups import key_group_range
from tidegate.operators.batch import Batch

whole = st.integers(-(2**63), 2**63 - 1)
keys = st.lists(st.one_of(st.text(max_size=5), whole, st.tuples(st.text(max_size=2), whole)), min_size=1)


def test_forward_keeps_everything_together():
    """The one channel gets the batch as it is."""
    batch = Batch([1, 2, 3])
    assert list(Forward().split(batch)) == [(0, batch)]


def test_round_robin_deals_out_whole_batches_in_turn():
    """Each channel gets every nth batch, beginning with the sender's own number."""
    robin = RoundRobin(3, first=1)
    batches = [Batch([number]) for number in range(4)]
    assert [channel for batch in batches for channel, _ in robin.split(batch)] == [1, 2, 0, 1]


def test_broadcast_gives_everything_to_everyone():
    """All channels get the batch."""
    batch = Batch([1])
    assert Broadcast(3).split(batch) == [(0, batch), (1, batch), (2, batch)]


@given(keys, st.integers(1, 6))
def test_hash_sends_equal_keys_one_way_and_keeps_their_order(found, channels):
    """A key's records stay in order, on the channel whose subtask owns the key's group."""
    batch = Batch([*range(len(found))], timestamps=[*range(len(found))], keys=found)
    parts = dict(Hash(channels, 16).split(batch))
    assert sorted(value for part in parts.values() for value in part.values) == batch.values
    for part in parts.values():
        assert part.values == sorted(part.values)
        assert part.timestamps == part.values
        assert part.keys == [found[value] for value in part.values]
    owners = [{repr(key) for key in part.keys} for part in parts.values()]
    assert sum(map(len, owners)) == len({key for owner in owners for key in owner})


@given(keys, st.integers(1, 6))
def test_hash_agrees_with_the_key_group_ranges(found, channels):
    """The channel a key takes is the subtask that restores its key group."""
    batch = Batch([*range(len(found))], keys=found)
    one = {part.keys[i]: channel for channel, part in Hash(16, 16).split(batch) for i in range(len(part))}
    for channel, part in Hash(channels, 16).split(batch):
        assert all(one[key] in key_group_range(channel, channels, 16) for key in part.keys)
