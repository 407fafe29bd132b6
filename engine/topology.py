"""The topology: the logical graph that the user wrote."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypeVar

import msgspec

from ..connectors.sink import Sink
from ..connectors.source import Source
from ..operators.errors import OnError
from ..operators.operator import Operator
from ..operators.watermarks import Watermarks
from .errors import TopologyError
from .runtime.event_time import EventTimeField

if TYPE_CHECKING:
    from .fluent import Stream

T = TypeVar("T")

PartitionerKind: TypeAlias = Literal["forward", "hash", "round_robin", "broadcast"]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


@dataclass(eq=False)
class Edge:
    """A link from a node's output to another node.

    Attributes:
        upstream: where the records come from.
        tag: the side output they come from; None for the main output.
        partitioner: asked for by the user; None leaves it to the plan.
        keyed: whether the records carry keys.
        input: which input of the node it leads to, where that has several (`MultiInputOperator`).
    """

    upstream: Node
    tag: str | None = None
    partitioner: PartitionerKind | None = None
    keyed: bool = False
    input: int = 0


@dataclass(eq=False)
class SourceSettings:
    """What `Topology.source` takes besides the source."""

    event_time: EventTimeField | None
    watermarks: Watermarks
    on_error: OnError
    rate_limit: float | None


@dataclass(eq=False)
class Node:
    """A source, an operator or a sink of the topology.

    Attributes:
        name: the `operator_id`.
        generated: whether the name was made from kind and position, not given by the user.
        what: the description.
        inputs: the edges into it; none for a source.
        parallelism: asked for by the user; None leaves it to the plan.
        record_type: the type of the records it gives out, where it is known.
        key_type: the type of the keys its state is kept under, where the user gave it.
        has_event_time: whether the records it gives out carry timestamps.
    """

    name: str
    generated: bool
    what: Source[Any] | Operator[Any, Any] | Sink[Any]
    kind: Literal["source", "operator", "sink"]
    inputs: list[Edge] = field(default_factory=list)
    parallelism: int | None = None
    source: SourceSettings | None = None
    record_type: Any = None
    key_type: Any = None
    has_event_time: bool = False

    @property
    def operator(self) -> Operator[Any, Any] | None:
        """The operator, when it is one."""
        return self.what if isinstance(self.what, Operator) else None

    @property
    def stateful(self) -> bool:
        operator = self.operator
        return operator is not None and (bool(operator.states()) or operator.uses_timers)

    @property
    def word(self) -> str:
        """What a plan calls it."""
        return self.kind if self.operator is None else self.operator.kind


class Topology:
    """A directed graph of sources, operators and sinks.

    Args:
        name: names the job and its checkpoints; letters, digits, `.`, `_`, `-`.
        version: yours; recorded in every checkpoint.

    Raises:
        TopologyError: the name cannot be used.

    >>> from tidegate.connectors import memory
    >>> numbers, doubled = memory.source([1, 2, 3]), memory.sink()
    >>> topology = Topology("doubling")
    >>> topology.source("numbers", numbers).map(lambda n: 2 * n).sink("doubled", doubled)
    >>> from tidegate.engine import run
    >>> run(topology)
    <JobStatus.FINISHED: 'finished'>
    >>> doubled.values
    [2, 4, 6]
    """

    def __init__(self, name: str, *, version: str = "1") -> None:
        if not _NAME.fullmatch(name):
            raise TopologyError(
                f"topology name {name!r} cannot be used: it names folders, so use letters, digits, '.', '_' and '-'"
            )
        self.name = name
        self.version = version
        self.nodes: list[Node] = []

    def source(
        self,
        name: str,
        source: Source[T],
        *,
        event_time: EventTimeField | None = None,
        watermarks: Watermarks | None = None,
        on_error: OnError = "fail",
        rate_limit: float | None = None,
        parallelism: int | None = None,
    ) -> Stream[T]:
        """Read records.

        Args:
            name: the source's operator id: its offsets are kept under it.
            source: what to read.
            event_time: field name, or function of the record, giving `int` milliseconds since 1970 UTC or a `datetime`;
                may be left out where the source brings timestamps itself.
            watermarks: how far out of order the records may be, and when a split counts as idle.
            on_error: what to do with a record that cannot be decoded or has no usable event time: `"fail"` the job,
                `"skip"` (counted), or `"dead_letter"` (to the side output `failed`).
            rate_limit: at most this many records per second and subtask.
            parallelism: how many subtasks read; the job's parallelism when None.
        """
        from .fluent import Stream

        node = self.add(
            Node(
                self.checked_name(name),
                generated=False,
                what=source,
                kind="source",
                parallelism=parallelism,
                source=SourceSettings(event_time, watermarks or Watermarks(), on_error, rate_limit),
                record_type=getattr(source, "type", None),
                has_event_time=event_time is not None or source.has_timestamps,
            )
        )
        return Stream(self, [Edge(node)])

    def add(self, node: Node) -> Node:
        """Take a node into the graph; for the fluent face."""
        if node.parallelism is not None and node.parallelism < 1:
            raise TopologyError(f"{node.name!r}: parallelism must be at least 1, not {node.parallelism}")
        self.nodes.append(node)
        return node

    def generate_name(self, kind: str) -> str:
        """A name from kind and position: `map-2`."""
        taken = {node.name for node in self.nodes}
        number = 1 + sum(node.word == kind for node in self.nodes)
        while f"{kind}-{number}" in taken:
            number += 1
        return f"{kind}-{number}"

    @staticmethod
    def checked_name(name: str) -> str:
        """The name, if it can be an operator id.

        Raises:
            TopologyError: it cannot.
        """
        if not _NAME.fullmatch(name):
            raise TopologyError(
                f"operator name {name!r} cannot be used: letters, digits, '.', '_' and '-', at most 100 characters"
            )
        return name

    def downstream(self, node: Node) -> Iterator[tuple[Node, Edge]]:
        """The nodes that a node's outputs lead to."""
        for other in self.nodes:
            for edge in other.inputs:
                if edge.upstream is node:
                    yield other, edge

    @property
    def fingerprint(self) -> str:
        """Changes when the graph does: names, kinds and links. Recorded in every checkpoint."""
        shape = [
            (
                node.name,
                node.word,
                [
                    (edge.upstream.name, edge.tag, edge.partitioner, *([edge.input] if edge.input else []))
                    for edge in node.inputs
                ],
            )
            for node in self.nodes
        ]
        return hashlib.sha256(msgspec.json.encode(shape)).hexdigest()[:16]

    def __repr__(self) -> str:
        return f"Topology({self.name!r}, {len(self.nodes)} nodes)"


def sources_of(node: Node) -> list[Node]:
    """The sources whose records reach a node."""
    found: dict[Node, None] = {}
    seen: set[Node] = set()
    stack = [node]
    while stack:
        current = stack.pop()
        if current not in seen:
            seen.add(current)
            if current.kind == "source":
                found[current] = None
            stack.extend(edge.upstream for edge in current.inputs)
    return list(found)
