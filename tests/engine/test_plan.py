"""The physical graph."""

from __future__ import annotations

from tidegate.connectors import memory
from tidegate.engine import Topology
from tidegate.engine.plan import Plan, make_plan
from tidegate.operators import MultiInputOperator, agg


def _numbers(topology: Topology, name: str = "numbers", **settings):
    return topology.source(name, memory.source([1, 2, 3]), **settings)


def _chains(plan: Plan) -> list[list[str]]:
    return [[node.name for node in chain.nodes] for chain in plan.chains]


def _edges(plan: Plan) -> list[tuple[str, str, str, int]]:
    return [
        (edge.upstream.name, edge.receiver.head.name, edge.partitioner, edge.channels)
        for chain in plan.chains
        for edge in chain.outputs
    ]


def test_at_parallelism_one_everything_is_one_chain():
    """No record changes subtask, so no channel is needed, not even for keys."""
    topology = Topology("t")
    counted = _numbers(topology).map(str, name="a").key_by(lambda s: s, name="k").aggregate(n=agg.count(), name="c")
    counted.sink("out", memory.sink())
    assert _chains(make_plan(topology, 1, 128)) == [["numbers", "a", "k", "c", "out"]]


def test_keys_cut_a_chain_where_records_change_subtask():
    """Behind key_by the keyed operator heads a chain of its own, fed by hash."""
    topology = Topology("t")
    counted = _numbers(topology).key_by(str, name="k").aggregate(n=agg.count(), name="c")
    counted.sink("out", memory.sink())
    plan = make_plan(topology, 3, 128)
    assert _chains(plan) == [["numbers", "k"], ["c", "out"]]
    assert _edges(plan) == [("k", "c", "hash", 9)]
    assert [plan.key_groups(plan.chains[1], subtask) for subtask in range(3)] == [
        range(43),
        range(43, 86),
        range(86, 128),
    ]


def test_a_change_of_parallelism_deals_out_in_turn():
    """From one subtask to three, records go round."""
    topology = Topology("t")
    _numbers(topology, parallelism=1).map(str, name="a").sink("out", memory.sink(), parallelism=3)
    plan = make_plan(topology, 3, 128)
    assert _edges(plan) == [("numbers", "a", "round_robin", 3)]


def test_a_union_heads_a_chain_with_channels_from_each_stream():
    """Two inputs cannot be walked as one chain."""
    topology = Topology("t")
    left, right = _numbers(topology, "left"), _numbers(topology, "right")
    left.union(right).map(str, name="both").sink("out", memory.sink())
    plan = make_plan(topology, 2, 128)
    assert _chains(plan) == [["left"], ["right"], ["both", "out"]]
    assert _edges(plan) == [("left", "both", "forward", 2), ("right", "both", "forward", 2)]


def test_calls_in_flight_head_a_chain_of_their_own():
    """What waits for calls must not hold back what stands before it."""

    async def ask(n: int) -> int:
        return n

    topology = Topology("t")
    _numbers(topology).map_async(ask, name="ask", input_type=int).sink("out", memory.sink())
    assert _chains(make_plan(topology, 1, 128)) == [["numbers"], ["ask", "out"]]


def test_what_the_user_asked_for_wins():
    """Broadcast and round robin stay as they were asked for, also between equals."""
    topology = Topology("t")
    stream = _numbers(topology)
    stream.broadcast().map(str, name="all").sink("a", memory.sink())
    stream.round_robin().map(str, name="some").sink("b", memory.sink())
    assert _edges(make_plan(topology, 2, 128)) == [
        ("numbers", "all", "broadcast", 4),
        ("numbers", "some", "round_robin", 4),
    ]


def test_a_stream_used_twice_is_walked_twice():
    """Both uses are links of the same chain."""
    topology = Topology("t")
    stream = _numbers(topology).map(str, name="a")
    stream.sink("one", memory.sink())
    stream.sink("two", memory.sink())
    plan = make_plan(topology, 1, 128)
    assert [(up.name, tag, node.name) for up, tag, node in plan.chains[0].links] == [
        ("numbers", None, "a"),
        ("a", None, "one"),
        ("a", None, "two"),
    ]


class Both(MultiInputOperator):
    """Two inputs."""

    keyed = True


def test_an_operator_with_several_inputs_heads_a_chain():
    """Also at parallelism one, and where both its inputs are the same stream."""
    topology = Topology("t")
    keyed = _numbers(topology).key_by(str, name="k")
    keyed.apply(Both(), keyed, name="both").sink("out", memory.sink())
    plan = make_plan(topology, 1, 128)
    assert _chains(plan) == [["numbers", "k"], ["both", "out"]]
    assert [(edge.upstream.name, edge.input) for edge in plan.chains[1].inputs] == [("k", 0), ("k", 1)]
