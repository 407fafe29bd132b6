"""From what the subtasks reported to the manifest. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from msgspec.structs import replace

from ...connectors.sink import Committable
from ..runtime.chain import SubtaskReport
from .manifest import InFlightEntry, InFlightSubtask, Manifest, OperatorEntry, SplitEntry, SubtaskState


@dataclass(frozen=True)
class StatefulOperator:
    """What the manifest says about an operator besides its snapshots."""

    kind: str
    parallelism: int


@dataclass(frozen=True)
class JobFacts:
    """What every manifest of the attempt says.

    Attributes:
        receivers: the operators that channels lead to, each with its edges and without subtasks.
    """

    job: str
    topology: str
    topology_version: str
    fingerprint: str
    attempt: int
    max_parallelism: int
    restored_from: int | None
    operators: Mapping[str, StatefulOperator]
    receivers: Mapping[str, InFlightEntry] = field(default_factory=dict)


def assemble(
    facts: JobFacts,
    reports: Sequence[SubtaskReport],
    states: Mapping[str, Sequence[SubtaskState]],
    in_flight: Mapping[str, Sequence[InFlightSubtask]],
    committables: dict[str, list[Committable]],
    *,
    checkpoint_id: int,
    kind: Literal["checkpoint", "savepoint"],
    name: str | None,
    triggered_at_ms: int,
    completed_at_ms: int,
    total_ms: float,
    finished: bool,
    first: bool,
) -> Manifest:
    """The manifest of a checkpoint that all subtasks have acknowledged."""
    sources: dict[str, dict[str, SplitEntry]] = {}
    for report in reports:
        for source, positions in report.splits.items():
            sources.setdefault(source, {}).update(
                {
                    split_id: SplitEntry(p.split, p.offset, p.ended, p.watermark_ms, p.records, p.idle)
                    for split_id, p in positions.items()
                }
            )
    # Where nothing was on its way it is a checkpoint as any other.
    overtaken = in_flight if any(subtask.files for found in in_flight.values() for subtask in found) else {}
    return Manifest(
        format_version=2 if overtaken else 1,
        job=facts.job,
        topology=facts.topology,
        topology_version=facts.topology_version,
        fingerprint=facts.fingerprint,
        checkpoint_id=checkpoint_id,
        attempt=facts.attempt,
        kind=kind,
        name=name,
        triggered_at_ms=triggered_at_ms,
        completed_at_ms=completed_at_ms,
        durations_ms={
            "alignment": round(max((r.alignment_ms for r in reports), default=0)),
            "sync": round(max((r.sync_ms for r in reports), default=0)),
            "snapshot": round(max((r.snapshot_ms for r in reports), default=0)),
            "total": round(total_ms),
        },
        max_parallelism=facts.max_parallelism,
        operators={
            operator_id: OperatorEntry(
                operator.kind,
                operator.parallelism,
                tuple(sorted(states.get(operator_id, []), key=lambda state: state.snapshot.subtask)),
            )
            for operator_id, operator in facts.operators.items()
        },
        sources=sources,
        committables=committables,
        restored_from=facts.restored_from,
        finished=finished,
        first=first,
        in_flight={
            receiver: replace(
                facts.receivers[receiver], subtasks=tuple(sorted(found, key=lambda subtask: subtask.subtask))
            )
            for receiver, found in overtaken.items()
        },
    )
