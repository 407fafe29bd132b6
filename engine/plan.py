"""The plan: the physical graph. Which operators share a subtask, how many subtasks, which channels between them."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..operators.operator import AsyncOperator, MultiInputOperator
from .state.key_groups import key_group_range
from .topology import Edge, Node, PartitionerKind, Topology


@dataclass(eq=False)
class PlannedEdge:
    """An edge between two chains: channels from every subtask of one to subtasks of the other.

    Attributes:
        upstream: the node it leaves, in the sending chain.
        tag: the side output it leaves by; None for the main output.
        partitioner: how records choose a channel.
        input: which input of the receiving chain's head it leads to.
    """

    sender: Chained
    receiver: Chained
    upstream: Node
    tag: str | None
    partitioner: PartitionerKind
    input: int = 0

    @property
    def channels(self) -> int:
        """How many channels it has."""
        return self.receiver.parallelism * self.channels_per_receiver

    @property
    def channels_per_receiver(self) -> int:
        """How many of them lead into one subtask of the receiving chain."""
        return 1 if self.partitioner == "forward" else self.sender.parallelism


@dataclass(eq=False)
class Chained:
    """A chain: nodes fused into one subtask, a tree with `head` at its root.

    Attributes:
        nodes: in topological order, the head first.
        links: (upstream, tag, node) for the links inside the chain.
    """

    head: Node
    parallelism: int
    nodes: list[Node] = field(default_factory=list)
    links: list[tuple[Node, str | None, Node]] = field(default_factory=list)
    inputs: list[PlannedEdge] = field(default_factory=list)
    outputs: list[PlannedEdge] = field(default_factory=list)

    def subtask_name(self, subtask: int) -> str:
        return f"{self.head.name}[{subtask}]"


@dataclass(eq=False)
class Plan:
    """Chains and the edges between them."""

    topology: Topology
    chains: list[Chained]
    max_parallelism: int

    def chain_of(self, node: Node) -> Chained:
        return next(chain for chain in self.chains if node in chain.nodes)

    def key_groups(self, chain: Chained, subtask: int) -> range:
        return key_group_range(subtask, chain.parallelism, self.max_parallelism)

    @property
    def wants_watermarks(self) -> bool:
        """Whether batches must carry `Batch.watermarks`."""
        return any(node.operator is not None and node.operator.wants_watermarks for node in self.topology.nodes)


def make_plan(topology: Topology, parallelism: int, max_parallelism: int) -> Plan:
    """Chain what can be chained: a node joins its upstream's chain when that is its only input, no record has to change
    subtask on the way, and it is not an operator with calls in flight."""
    widths = {node: node.parallelism or parallelism for node in topology.nodes}
    plan = Plan(topology, [], max_parallelism)
    chain_of: dict[Node, Chained] = {}
    for node in topology.nodes:  # a node is added after its inputs, so this order is topological
        edge = node.inputs[0] if len(node.inputs) == 1 else None
        if edge is not None and _chainable(node, edge, widths):
            chain = chain_of[edge.upstream]
            chain.links.append((edge.upstream, edge.tag, node))
        else:
            chain = Chained(node, widths[node])
            plan.chains.append(chain)
        chain.nodes.append(node)
        chain_of[node] = chain
        if chain.head is node:
            for edge in node.inputs:
                planned = PlannedEdge(
                    chain_of[edge.upstream],
                    chain,
                    edge.upstream,
                    edge.tag,
                    _partitioner(node, edge, widths),
                    edge.input,
                )
                planned.sender.outputs.append(planned)
                chain.inputs.append(planned)
    return plan


def _partitioner(node: Node, edge: Edge, widths: dict[Node, int]) -> PartitionerKind:
    if edge.partitioner is not None:
        return edge.partitioner
    if node.operator is not None and node.operator.keyed and edge.keyed:
        return "hash"
    return "forward" if widths[node] == widths[edge.upstream] else "round_robin"


def _chainable(node: Node, edge: Edge, widths: dict[Node, int]) -> bool:
    if isinstance(node.what, AsyncOperator | MultiInputOperator) or widths[node] != widths[edge.upstream]:
        return False
    return widths[node] == 1 or _partitioner(node, edge, widths) == "forward"
