"""A topology between simulated streams in place of its own sources and sinks."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ....connectors.source import Split
from ...errors import TopologyError
from ...topology import Node, Topology
from ..contexts import ManualSourceContext
from .process import Process
from .streams import Ledger, SimulatedSink, SimulatedSource, Topic
from .world import World


def rewired(topology: Topology, process: Process, topics: Mapping[str, Topic]) -> Topology:
    """The same graph for one process; the operators are shared, they are copied when they are deployed."""
    made = copy.copy(topology)
    nodes: dict[Node, Node] = {}
    for node in topology.nodes:
        what = node.what
        if node.kind == "source":
            what = SimulatedSource(process, node.name, topics[node.name], node.what)
        elif node.kind == "sink":
            what = SimulatedSink(process, ledger_of(process.world, node.name))
        inputs = [replace(edge, upstream=nodes[edge.upstream]) for edge in node.inputs]
        nodes[node] = replace(node, what=what, inputs=inputs)
    made.nodes = list(nodes.values())
    return made


def ledger_of(world: World, name: str) -> Ledger:
    """The outside of a sink."""
    if name not in world.ledgers:
        world.ledgers[name] = Ledger(world, name)
    found: Ledger = world.ledgers[name]
    return found


def read_inputs(topology: Topology, given: Mapping[str, Sequence[Any]] | None, most: int) -> dict[str, list[list[Any]]]:
    """What each source has to give, by split, as (value, timestamp): what is given for it, or else what it reads by itself.

    Args:
        given: source → records, or lists of records, one for each split.
        most: how many records to read of each split of a source that nothing is given for.

    Raises:
        TopologyError: a source has no end and nothing is given for it; or there is no such source.
    """
    names = {node.name for node in topology.nodes if node.kind == "source"}
    unknown = [name for name in given or {} if name not in names]
    if unknown:
        raise TopologyError([f"there is no source {name!r} to give records for" for name in unknown])
    found: dict[str, list[list[Any]]] = {}
    for node in topology.nodes:
        if node.kind != "source":
            continue
        if given is not None and node.name in given:
            records = list(given[node.name])
            splits = records if records and all(isinstance(split, list) for split in records) else [records]
            found[node.name] = [[(value, None) for value in split] for split in splits]
        elif not node.what.bounded:  # type: ignore[union-attr]  # it is a source
            raise TopologyError(
                f"source {node.name!r} has no end: give the simulation records for it, inputs={{{node.name!r}: [...]}}"
            )
        else:
            found[node.name] = asyncio.run(_read(node.what, most))
    return found


async def _read(source: Any, most: int) -> list[list[Any]]:
    context = ManualSourceContext()
    reader = source.reader(context)
    try:
        splits: list[Split] = await source.discover(context, frozenset())
        return [await _read_split(reader, split, most) for split in splits]
    finally:
        await reader.close()


async def _read_split(reader: Any, split: Split, most: int) -> list[Any]:
    await reader.open(split, None)
    found: list[Any] = []
    while len(found) < most:
        fetch = await reader.read(split.id, most - len(found))
        found += zip(fetch.values, fetch.timestamps or [None] * len(fetch.values), strict=True)
        if fetch.end:
            break
    return found
