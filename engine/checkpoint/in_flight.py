"""Where records in flight were on their way to, and whether a plan still leads there. Pure."""

from __future__ import annotations

from itertools import zip_longest

from ..plan import Chained, Plan
from .manifest import InFlightEdge, InFlightEntry, Manifest


def receivers(plan: Plan) -> dict[str, InFlightEntry]:
    """The operators that channels lead to, each with its edges, and without anything in flight."""
    return {chain.head.name: InFlightEntry(chain.parallelism, _edges(chain)) for chain in plan.chains if chain.inputs}


def _edges(chain: Chained) -> tuple[InFlightEdge, ...]:
    return tuple(
        InFlightEdge(edge.upstream.name, edge.tag, edge.input, edge.partitioner, edge.channels_per_receiver)
        for edge in chain.inputs
    )


def way(upstream: str, tag: str | None, receiver: str) -> str:
    """What messages call an edge."""
    return f"the way from {upstream!r}{'' if tag is None else f' ({tag})'} to {receiver!r}"


def misfits(manifest: Manifest, plan: Plan) -> list[str]:
    """Why records in flight cannot be put back on their way, one sentence for each operator that they were on their way to,
    with the remedy; none when all can.

    Records in flight have been dealt out to subtasks already, and those have seen what came before: so everything that they
    were dealt out by must be as it was.
    """
    now = receivers(plan)
    problems = []
    for receiver, was in sorted(manifest.in_flight.items()):
        records = sum(subtask.records for subtask in was.subtasks)
        reason = _difference(receiver, was, now.get(receiver), manifest.max_parallelism, plan.max_parallelism)
        if records and reason:
            problems.append(
                f"{manifest.title} is unaligned, with {records} records in flight to {receiver!r}: {reason}; start once with "
                "everything as it was and stop with a savepoint, or take one: it has nothing in flight"
            )
    return problems


def fitting(manifest: Manifest, plan: Plan) -> dict[str, InFlightEntry]:
    """What was on its way to those operators that it still leads to as it did."""
    now = receivers(plan)
    return {
        receiver: was
        for receiver, was in manifest.in_flight.items()
        if not _difference(receiver, was, now.get(receiver), manifest.max_parallelism, plan.max_parallelism)
    }


def _difference(
    receiver: str, was: InFlightEntry, now: InFlightEntry | None, key_groups_then: int, key_groups_now: int
) -> str:
    """What has changed; empty when nothing has."""
    if now is None:
        return "it is not in the topology any more, or in the chain of another operator"
    if now.parallelism != was.parallelism:
        return f"its parallelism was {was.parallelism} and is now {now.parallelism}"
    for edge, found in zip_longest(was.edges, now.edges):
        if (
            edge is None
            or found is None
            or (edge.upstream, edge.tag, edge.input)
            != (
                found.upstream,
                found.tag,
                found.input,
            )
        ):
            ways = [", ".join(way(e.upstream, e.tag, receiver) for e in entry.edges) for entry in (was, now)]
            return f"what led to it was {ways[0]}, and is now {ways[1]}"
        if found.senders != edge.senders:
            return f"the parallelism of {edge.upstream!r} was {edge.senders} and is now {found.senders}"
        if found.partitioner != edge.partitioner:
            return f"{way(edge.upstream, edge.tag, receiver)} was {edge.partitioner} and is now {found.partitioner}"
        if edge.partitioner == "hash" and key_groups_then != key_groups_now:
            return f"max_parallelism was {key_groups_then} and is now {key_groups_now}, which deals keys out anew"
    return ""
