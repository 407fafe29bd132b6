"""Why nothing comes out: what `Job.why_waiting` says."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..operators.time import MAX_WATERMARK, MIN_WATERMARK, format_ms
from .clock import Clock

if TYPE_CHECKING:
    from .runtime.attempt import Attempt
    from .runtime.source_subtask import SourceSubtask


def why_waiting(status: str, attempt: Attempt | None, clock: Clock) -> list[str]:
    """One sentence for each thing that holds results back."""
    if attempt is None or attempt.worker is None:
        return [f"the job is {status}"]
    reasons: list[str] = []
    for source in attempt.worker.sources:
        reasons += _source(source, clock.monotonic())
    for subtask in attempt.worker.subtasks:
        gate = subtask.gate
        if gate.aligner.aligning:
            held = [str(c) for c in range(gate.channels) if gate.aligner.blocked(c)]
            reasons.append(
                f"{subtask.name}: checkpoint {gate.aligner.checkpoint_id}'s barrier has come on channels {', '.join(held)}; "
                "they are held back until it has come on the others"
            )
        behind = min(range(gate.channels), key=lambda c: subtask.watermarks.marks[c])
        marks = subtask.watermarks.marks
        if gate.channels > 1 and max(marks) > marks[behind] and not subtask.watermarks.idle_channels[behind]:
            reasons.append(
                f"{subtask.name}: input channel {behind} holds the watermark back at {_shown(marks[behind])}; "
                f"the others are up to {_shown(max(marks))}"
            )
        if gate.queued >= gate.channels:
            reasons.append(f"{subtask.name}: {gate.queued} batches wait for it: it is slower than what feeds it")
    missing = attempt.coordinator.missing if attempt.coordinator is not None else ()
    if missing:
        reasons.append(f"a checkpoint waits for {', '.join(missing)}")
    return reasons


def _source(source: SourceSubtask, now: float) -> list[str]:
    if source.draining:
        return [f"{source.name}: is drained and reads no more"]
    waiting = [progress for progress in source.splits.values() if not progress.ended]
    if not waiting:
        return []
    reasons = [
        f"{source.name}: split {progress.split.id} has given no record yet"
        for progress in waiting
        if progress.records == 0
    ]
    lowest = min(waiting, key=lambda progress: progress.watermark.watermark_ms)
    mark = lowest.watermark.watermark_ms
    if mark == MIN_WATERMARK and lowest.records > 0:
        return reasons
    silent_ms = round((now - lowest.last_record) * 1000)
    if not lowest.idle and (len(waiting) > 1 or silent_ms > 1000) and lowest.records:
        reasons.append(
            f"{source.name}: split {lowest.split.id} holds the watermark at {_shown(mark)}; "
            f"its last record came {format_ms(max(silent_ms, 0))} ago"
        )
    return reasons


def _shown(watermark_ms: int) -> str:
    from datetime import UTC, datetime, timedelta

    if watermark_ms == MIN_WATERMARK:
        return "its start"
    if watermark_ms >= MAX_WATERMARK:
        return "the end"
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=watermark_ms)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
