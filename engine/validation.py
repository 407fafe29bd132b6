"""What is wrong with a topology, found before anything runs. Every message names the operator and what to do."""

from __future__ import annotations

from collections import Counter
from dataclasses import fields, is_dataclass
from difflib import get_close_matches
from typing import Any

import msgspec

from ..operators.operator import Operator
from .errors import TopologyError
from .topology import Node, Topology, sources_of


def validate(topology: Topology) -> None:
    """Check a topology.

    Raises:
        TopologyError: with every problem found.
    """
    problems = [*_shape(topology), *_names(topology)]
    for node in topology.nodes:
        problems += _event_time(node)
        if node.operator is not None:
            problems += _operator(node, node.operator)
    if problems:
        raise TopologyError(problems)


def _shape(topology: Topology) -> list[str]:
    problems = []
    if not any(node.kind == "source" for node in topology.nodes):
        problems.append(f"topology {topology.name!r} has no source: begin with topology.source(name, ...)")
    if not any(node.kind == "sink" for node in topology.nodes):
        problems.append(f"topology {topology.name!r} has no sink: end a stream with .sink(name, ...)")
    else:
        problems += [
            f"{node.word} {node.name!r} leads nowhere: end its stream with .sink(name, ...), or remove it"
            for node in topology.nodes
            if node.kind != "sink" and not any(topology.downstream(node))
        ]
    for node in topology.nodes:
        for edge in node.inputs:
            operator = edge.upstream.operator
            if edge.tag is None or edge.tag == "failed" or operator is None:
                continue
            if operator.side_outputs and edge.tag not in operator.side_outputs:
                known = ", ".join(map(repr, operator.side_outputs))
                problems.append(
                    f"{node.name!r} listens to side output {edge.tag!r} of {edge.upstream.name!r}, which has only {known}"
                )
    return problems


def _names(topology: Topology) -> list[str]:
    counts = Counter(node.name for node in topology.nodes)
    return [
        f"{count} operators are named {name!r}: state is kept under the name, so give each its own with name="
        for name, count in counts.items()
        if count > 1
    ]


def _event_time(node: Node) -> list[str]:
    field = None if node.source is None else node.source.event_time
    known = _fields(node.record_type)
    if not isinstance(field, str) or not known or field in known:
        return []
    close = get_close_matches(field, known, 1)
    meant = f", did you mean {close[0]!r}?" if close else f": it has {', '.join(known)}"
    return [f"source {node.name!r}: event_time={field!r} is not a field of {node.record_type.__name__}{meant}"]


def _fields(record_type: Any) -> list[str]:
    """The field names of a record type; none where they are not known before running."""
    if isinstance(record_type, type) and issubclass(record_type, msgspec.Struct):
        return [field.name for field in msgspec.structs.fields(record_type)]
    if isinstance(record_type, type) and is_dataclass(record_type):
        return [field.name for field in fields(record_type)]
    return []


def _operator(node: Node, operator: Operator[object, object]) -> list[str]:
    problems = []
    if operator.keyed and not all(edge.keyed or edge.partitioner == "broadcast" for edge in node.inputs):
        problems.append(f"{node.word} {node.name!r} needs a keyed stream: put .key_by(...) before it")
    if operator.needs_event_time:
        problems += [
            f"{node.word} {node.name!r} needs event time, but source {source.name!r} has none: "
            f"pass event_time= to topology.source({source.name!r}, ...)"
            for source in sources_of(node)
            if not source.has_event_time
        ]
    if operator.emits_only_on_watermark and not operator.needs_event_time:
        unbounded = [s for s in sources_of(node) if not getattr(s.what, "bounded", True)]
        problems += [
            f"{node.word} {node.name!r} gives out its result only at the end of the stream, and source {source.name!r} "
            "has none: give the window a trigger, or bound the source"
            for source in unbounded
        ]
    state_names = Counter(descriptor.name for descriptor in operator.states())
    problems += [
        f"{node.word} {node.name!r} declares the state {name!r} twice: give each state its own name"
        for name, count in state_names.items()
        if count > 1
    ]
    return problems
