"""What will run, for people: the plan as text and as Mermaid."""

from __future__ import annotations

from typing import Any, cast

from ..connectors.source import Source
from ..operators.operator import MultiInputOperator, Operator
from .plan import Chained, Plan, PlannedEdge
from .topology import Node, sources_of


def explain(plan: Plan, *, code: bool = False) -> str:
    """The plan as text: chains, subtasks, key groups, states, channels, and where exactly-once ends and why.

    Args:
        plan: what to show.
        code: also the inner loops that were generated.
    """
    topology = plan.topology
    lines = [
        f"topology {topology.name} version {topology.version}  (fingerprint {topology.fingerprint})",
        f"{len(plan.chains)} chains, {sum(c.parallelism for c in plan.chains)} subtasks, "
        f"{plan.max_parallelism} key groups",
    ]
    for number, chain in enumerate(plan.chains, 1):
        lines += ["", f"chain {number}: {chain.head.name}   {_subtasks(plan, chain)}"]
        for node in chain.nodes:
            lines += _node(node, _depth(chain, node))
        lines += [f"    → {_edge(edge)}" for edge in chain.outputs]
    lines += ["", "guarantees:"]
    lines += [f"  {guarantee}" for guarantee in guarantees(plan)]
    generated = [node.name for node in topology.nodes if node.generated and node.stateful]
    if generated:
        lines += ["", "state is kept under generated names, which change when operators are added before them; "]
        lines[-1] += f"give name= to: {', '.join(generated)}"
    if code:
        for node in topology.nodes:
            lines += _code(node)
    return "\n".join(lines)


def guarantees(plan: Plan) -> list[str]:
    """For each sink, what it promises end to end, and if that is less than exactly once, why."""
    found = []
    for node in plan.topology.nodes:
        if node.kind != "sink":
            continue
        weak = [source.name for source in sources_of(node) if not cast("Source[Any]", source.what).replayable]
        guarantee = getattr(node.what, "guarantee", "at_least_once")
        if weak:
            found.append(
                f"{node.name}: at most once for what source {', '.join(weak)} gave since the last checkpoint: it cannot be "
                "read again"
            )
        elif guarantee == "exactly_once":
            found.append(
                f"{node.name}: exactly once, with checkpoints: output is prepared at the barrier and made visible after the "
                "checkpoint exists"
            )
        else:
            found.append(
                f"{node.name}: at least once: the sink shows records as they are written, so those since the last checkpoint "
                "come again after a failure"
            )
    return found


def mermaid(plan: Plan) -> str:
    """The plan as a Mermaid flow chart: one box per chain."""
    lines = ["flowchart LR"]
    ids = {node: f"n{number}" for number, node in enumerate(plan.topology.nodes)}
    for number, chain in enumerate(plan.chains):
        lines.append(f'  subgraph c{number}["{chain.head.name} × {chain.parallelism}"]')
        for node in chain.nodes:
            left, right = ("[(", ")]") if node.stateful else ("[", "]")
            lines.append(f'    {ids[node]}{left}"{node.name}<br/>{_what(node)}"{right}')
        lines += [f"    {ids[up]} --{_tag(tag)}> {ids[node]}" for up, tag, node in chain.links]
        lines.append("  end")
    for chain in plan.chains:
        for edge in chain.outputs:
            label = edge.partitioner if edge.tag is None else f"{edge.tag}, {edge.partitioner}"
            lines.append(f"  {ids[edge.upstream]} == {label} ==> {ids[edge.receiver.head]}")
    return "\n".join(lines)


def _tag(tag: str | None) -> str:
    return "-" if tag is None else f" {tag} --"


def _subtasks(plan: Plan, chain: Chained) -> str:
    if chain.parallelism == 1:
        return "1 subtask"
    text = f"{chain.parallelism} subtasks"
    if any(node.stateful for node in chain.nodes):
        groups = [plan.key_groups(chain, subtask) for subtask in range(chain.parallelism)]
        text += ", key groups " + " ".join(f"{g.start}-{g.stop - 1}" for g in groups)
    return text


def _depth(chain: Chained, node: Node) -> int:
    parents = {child: upstream for upstream, _, child in chain.links}
    depth = 0
    while node in parents:
        node = parents[node]
        depth += 1
    return depth


def _node(node: Node, depth: int) -> list[str]:
    indent = "  " * (depth + 1)
    tags = dict.fromkeys(f"({edge.tag})" for edge in node.inputs if edge.tag is not None)
    name = node.name + (" (generated)" if node.generated and node.stateful else "")
    lines = [f"{indent}{' '.join([*tags, name])}: {_what(node)}"]
    if node.operator is not None:
        states = [f"{d.name} v{d.version}" for d in node.operator.states()]
        if node.operator.uses_timers:
            states.append("timers")
        if states:
            lines.append(f"{indent}    state: {', '.join(states)}")
    return lines


def _what(node: Node) -> str:
    if isinstance(node.what, Operator):
        assigner = getattr(node.what, "assigner", None)
        return node.what.kind if assigner is None else f"{node.what.kind} {assigner}"
    return f"{node.kind} {node.what.describe()}"


def _edge(edge: PlannedEdge) -> str:
    tag = "" if edge.tag is None else f"({edge.tag}) "
    channels = "1 channel" if edge.channels == 1 else f"{edge.channels} channels"
    return f"{tag}{_receiver(edge)}   {edge.partitioner}, {channels}"


def _receiver(edge: PlannedEdge) -> str:
    operator = edge.receiver.head.operator
    name = edge.receiver.head.name
    return f"{name}.{operator.inputs[edge.input]}" if isinstance(operator, MultiInputOperator) else name


def _code(node: Node) -> list[str]:
    source: Any = getattr(node.what, "code", None)
    if not callable(source):
        return []
    return ["", f"generated for {node.name}:", *(f"    {line}" for line in source().splitlines())]
