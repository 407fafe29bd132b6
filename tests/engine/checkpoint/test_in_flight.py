"""Whether records in flight still find their way."""

from __future__ import annotations

import msgspec
import pytest
from tidegate.connectors import memory
from tidegate.engine import Topology
from tidegate.engine.checkpoint.in_flight import fitting, misfits, receivers
from tidegate.engine.checkpoint.manifest import InFlightEdge, InFlightSubtask, Manifest
from tidegate.engine.plan import Plan, make_plan
from tidegate.operators import agg

replace = msgspec.structs.replace


def _plan(parallelism: int = 2, max_parallelism: int = 128, **names: str) -> Plan:
    topology = Topology("flights")
    left, right = (topology.source(names.get(side, side), memory.source([1])) for side in ("left", "right"))
    keyed = left.union(right).key_by(lambda n: n, name=names.get("key", "key"))
    counted = keyed.aggregate(n=agg.count(), name=names.get("count", "count"))
    counted.sink("out", memory.sink(), parallelism=1)
    return make_plan(topology, parallelism, max_parallelism)


def _manifest(plan: Plan, records: int = 3) -> Manifest:
    subtask = InFlightSubtask(0, 0, (0, 0), (False, False), records)
    return Manifest(
        job="job",
        topology="flights",
        topology_version="1",
        fingerprint="abc",
        checkpoint_id=5,
        attempt=1,
        triggered_at_ms=0,
        completed_at_ms=0,
        max_parallelism=plan.max_parallelism,
        in_flight={name: replace(entry, subtasks=(subtask,)) for name, entry in receivers(plan).items()},
    )


def test_the_receivers_of_a_plan_are_the_heads_of_its_chains():
    """Each with the edges that lead to it, in the order of its channels."""
    found = receivers(_plan())
    assert sorted(found) == ["count", "key", "out"]
    assert found["key"].edges == (
        InFlightEdge("left", None, 0, "forward", 1),
        InFlightEdge("right", None, 0, "forward", 1),
    )
    assert found["count"].edges == (InFlightEdge("key", None, 0, "hash", 2),)
    assert (found["out"].parallelism, found["out"].edges[0].partitioner) == (1, "round_robin")


def test_a_plan_fits_what_it_wrote():
    """Nothing is in the way."""
    assert misfits(_manifest(_plan()), _plan()) == []
    assert sorted(fitting(_manifest(_plan()), _plan())) == ["count", "key", "out"]


@pytest.mark.parametrize(
    ("changed", "wrong"),
    [
        (
            {"parallelism": 3},
            [
                "'count': its parallelism was 2 and is now 3",
                "'key': its parallelism was 2 and is now 3",
                "'out': the parallelism of 'count' was 2 and is now 3",
            ],
        ),
        ({"max_parallelism": 64}, ["'count': max_parallelism was 128 and is now 64"]),
        (
            {"count": "tally"},
            [
                "'count': it is not in the topology any more",
                "'out': what led to it was the way from 'count' to 'out', and is now the way from 'tally' to 'out'",
            ],
        ),
        (
            {"left": "first"},
            [
                "'key': what led to it was the way from 'left' to 'key', the way from 'right' to 'key', and is now the way"
            ],
        ),
        (
            {"parallelism": 1},
            [
                "'count': it is not in the topology any more, or in the chain of another",
                "'key': its parallelism was 2 and is now 1",
                "'out': it is not in the topology any more, or in the chain of another",
            ],
        ),
    ],
)
def test_whatever_has_changed_on_the_way_is_named(changed, wrong):
    """One sentence for each receiver, with what to do."""
    found = misfits(_manifest(_plan()), _plan(**changed))
    assert len(found) == len(wrong)
    for sentence, part in zip(found, wrong, strict=True):
        assert sentence.startswith("checkpoint 5 is unaligned, with 3 records in flight to ")
        assert part in sentence
        assert sentence.endswith("stop with a savepoint, or take one: it has nothing in flight")


def test_where_nothing_was_in_flight_nothing_has_to_fit():
    """What the subtask had heard of its inputs is left out then."""
    manifest = _manifest(_plan(), records=0)
    assert misfits(manifest, _plan(3)) == []
    assert fitting(manifest, _plan(3)) == {}
