"""What a running job counts. Plain numbers that the runtime adds to on the event loop, without locks;
whoever shows them reads them on the same loop."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

from ...operators.time import MAX_WATERMARK, MIN_WATERMARK
from .histogram import Histogram

__all__ = [
    "CheckpointMeasures",
    "Histogram",
    "JobMeasures",
    "OperatorMeasures",
    "SplitMeasures",
    "SubtaskMeasures",
    "watermark_lag_ms",
]

_OWN_COUNTERS: Final = {
    "errors": "errors",
    "dead_letters": "dead_letters",
    "late": "late",
    "bytes_in": "bytes_in",
    "bytes": "bytes_out",
}


def watermark_lag_ms(watermark_ms: int, now_ms: int) -> int | None:
    """How far a watermark is behind processing time; None before the first, 0 after the final one."""
    if watermark_ms == MIN_WATERMARK:
        return None
    return 0 if watermark_ms == MAX_WATERMARK else now_ms - watermark_ms


def _known(watermark_ms: int) -> int | None:
    return watermark_ms if MIN_WATERMARK < watermark_ms < MAX_WATERMARK else None


@dataclass(slots=True)
class OperatorMeasures:
    """One operator, source or sink in one subtask. All counts are since the start of the job, restarts
    included.

    Attributes:
        operator_id: which operator.
        subtask: in which subtask.
        kind: the word for it in plans (`map`, `window`, `source`, `sink`).
        records_in: records taken in; of a source, read.
        records_out: records given out; of a sink, written.
        bytes_in: bytes read by a source.
        bytes_out: bytes written by a sink.
        errors: records that raised.
        dead_letters: those of them that were sent to the side output `failed`.
        late: late records.
        counters: whatever else the operator counts, by name.
        watermark_ms: the newest watermark; `MIN_WATERMARK` before the first.
        state_memory_bytes: estimated size of its state's native objects in memory.
        state_disk_bytes: size of its database.
    """

    operator_id: str
    subtask: int
    kind: str = "operator"
    records_in: int = 0
    records_out: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    errors: int = 0
    dead_letters: int = 0
    late: int = 0
    counters: dict[str, int] = field(default_factory=dict)
    watermark_ms: int = MIN_WATERMARK
    state_memory_bytes: int = 0
    state_disk_bytes: int = 0

    def count(self, name: str, n: int = 1) -> None:
        """Add to a counter by name: `errors`, `dead_letters`, `late`, `bytes_in` and `bytes` (a sink's bytes
        out) are the attributes of that meaning, any other name is kept in `counters`."""
        own = _OWN_COUNTERS.get(name)
        if own is None:
            self.counters[name] = self.counters.get(name, 0) + n
        else:
            setattr(self, own, getattr(self, own) + n)

    def snapshot(self, now_ms: int) -> dict[str, Any]:
        """The measures as JSON values; the lag of the watermark is against `now_ms`."""
        return {
            "operator_id": self.operator_id,
            "subtask": self.subtask,
            "kind": self.kind,
            "records_in": self.records_in,
            "records_out": self.records_out,
            "bytes_in": self.bytes_in,
            "bytes_out": self.bytes_out,
            "errors": self.errors,
            "dead_letters": self.dead_letters,
            "late": self.late,
            "counters": dict(self.counters),
            "watermark_ms": _known(self.watermark_ms),
            "watermark_lag_ms": watermark_lag_ms(self.watermark_ms, now_ms),
            "state_memory_bytes": self.state_memory_bytes,
            "state_disk_bytes": self.state_disk_bytes,
        }


@dataclass(slots=True)
class SubtaskMeasures:
    """How a subtask spends its time, in seconds since the start of the job.

    Attributes:
        name: the chain's name.
        subtask: which parallel instance of the chain.
        operator_ids: the operators of the chain.
        busy_s: computing.
        idle_s: waiting for something to read.
        backpressured_s: waiting for slower receivers, or for a sink to take what it is given.
    """

    name: str
    subtask: int = 0
    operator_ids: tuple[str, ...] = ()
    busy_s: float = 0.0
    idle_s: float = 0.0
    backpressured_s: float = 0.0

    def snapshot(self) -> dict[str, Any]:
        """The measures as JSON values."""
        return {
            "name": self.name,
            "subtask": self.subtask,
            "operator_ids": list(self.operator_ids),
            "busy_s": self.busy_s,
            "idle_s": self.idle_s,
            "backpressured_s": self.backpressured_s,
        }


@dataclass(slots=True)
class SplitMeasures:
    """How far a split has been read.

    Attributes:
        operator_id: the source.
        split_id: the split.
        records: records read, since the split's beginning.
        record_lag: records not read yet, where the reader knows.
        byte_lag: bytes not read yet, where the reader knows.
        event_time_lag_ms: time between the newest record there is and the last one read, where the reader
            knows.
        watermark_ms: the split's own watermark; `MIN_WATERMARK` before the first.
        idle: nothing was read for the idle timeout: the split holds no watermark back.
        ended: it has no more records, ever.
    """

    operator_id: str
    split_id: str
    records: int = 0
    record_lag: int | None = None
    byte_lag: int | None = None
    event_time_lag_ms: int | None = None
    watermark_ms: int = MIN_WATERMARK
    idle: bool = False
    ended: bool = False

    def snapshot(self, now_ms: int) -> dict[str, Any]:
        """The measures as JSON values; the lag of the watermark is against `now_ms`."""
        return {
            "operator_id": self.operator_id,
            "split_id": self.split_id,
            "records": self.records,
            "record_lag": self.record_lag,
            "byte_lag": self.byte_lag,
            "event_time_lag_ms": self.event_time_lag_ms,
            "watermark_ms": _known(self.watermark_ms),
            "watermark_lag_ms": watermark_lag_ms(self.watermark_ms, now_ms),
            "idle": self.idle,
            "ended": self.ended,
        }


@dataclass(slots=True)
class CheckpointMeasures:
    """The checkpoints of a job since its start.

    Attributes:
        completed: how many became usable.
        failed: how many were given up.
        last_failure: why the last one was given up; empty when none was.
        last_id: the newest completed checkpoint; None before the first.
        last_completed_ms: when it completed, milliseconds since 1970 UTC; None before the first.
        last_duration_ms: from its trigger to its manifest.
        last_size_bytes: size of all files that it names.
        last_uploaded_bytes: size of those that were not there before.
        last_sync_ms: longest time that a subtask stood still for its snapshot.
        last_alignment_ms: longest time that a subtask held back inputs for it.
        last_in_flight_bytes: size of the records in flight in the last one; 0 unless it was unaligned.
        unaligned: how many of the completed ones were unaligned.
        durations: of all completed ones.
    """

    completed: int = 0
    failed: int = 0
    last_failure: str = ""
    last_id: int | None = None
    last_completed_ms: int | None = None
    last_duration_ms: float = 0.0
    last_size_bytes: int = 0
    last_uploaded_bytes: int = 0
    last_sync_ms: float = 0.0
    last_alignment_ms: float = 0.0
    last_in_flight_bytes: int = 0
    unaligned: int = 0
    durations: Histogram = field(default_factory=Histogram)

    def complete(
        self,
        checkpoint_id: int,
        completed_ms: int,
        duration_ms: float,
        *,
        size_bytes: int = 0,
        uploaded_bytes: int = 0,
        sync_ms: float = 0.0,
        alignment_ms: float = 0.0,
        in_flight_bytes: int = 0,
        unaligned: bool = False,
    ) -> None:
        """Count a checkpoint whose manifest is written."""
        self.completed += 1
        self.last_id = checkpoint_id
        self.last_completed_ms = completed_ms
        self.last_duration_ms = duration_ms
        self.last_size_bytes = size_bytes
        self.last_uploaded_bytes = uploaded_bytes
        self.last_sync_ms = sync_ms
        self.last_alignment_ms = alignment_ms
        self.last_in_flight_bytes = in_flight_bytes
        self.unaligned += unaligned
        self.durations.add(duration_ms / 1000)

    def fail(self, reason: str) -> None:
        """Count a checkpoint that was given up."""
        self.failed += 1
        self.last_failure = reason

    def age_ms(self, now_ms: int) -> int | None:
        """Time since the last checkpoint completed: what a failure now would repeat. None before the
        first.
        """
        return None if self.last_completed_ms is None else max(now_ms - self.last_completed_ms, 0)

    def snapshot(self, now_ms: int) -> dict[str, Any]:
        """The measures as JSON values."""
        return {
            "completed": self.completed,
            "failed": self.failed,
            "last_failure": self.last_failure,
            "last_id": self.last_id,
            "last_completed_ms": self.last_completed_ms,
            "last_duration_ms": self.last_duration_ms,
            "last_size_bytes": self.last_size_bytes,
            "last_uploaded_bytes": self.last_uploaded_bytes,
            "last_sync_ms": self.last_sync_ms,
            "last_alignment_ms": self.last_alignment_ms,
            "last_in_flight_bytes": self.last_in_flight_bytes,
            "unaligned": self.unaligned,
            "age_ms": self.age_ms(now_ms),
        }


class JobMeasures:
    """Everything that a job counts, over all its attempts.

    Attributes:
        job: the job's name.
        attempt: the running attempt, from 1.
        operators: by (operator id, subtask).
        subtasks: by (chain name, subtask).
        splits: by (operator id, split id).
        checkpoints: the checkpoints.
        latency: from a record's arrival in the source to the commit of the sink (to the write where the sink
            has no commit), in seconds.
        event_loop_lag: how much later than asked the event loop came back from a sleep, in seconds.
        restarts: how often the job was started again after a failure.
        recovery_ms: for each restart the time from the failure to running again, back-off included.
    """

    def __init__(self, job: str) -> None:
        self.job = job
        self.attempt = 1
        self.operators: dict[tuple[str, int], OperatorMeasures] = {}
        self.subtasks: dict[tuple[str, int], SubtaskMeasures] = {}
        self.splits: dict[tuple[str, str], SplitMeasures] = {}
        self.checkpoints = CheckpointMeasures()
        self.latency = Histogram()
        self.event_loop_lag = Histogram()
        self.restarts = 0
        self.recovery_ms: list[float] = []

    def operator(self, operator_id: str, subtask: int, kind: str = "operator") -> OperatorMeasures:
        """The measures of an operator in a subtask: the same object in every attempt, so counts go on."""
        found = self.operators.get((operator_id, subtask))
        if found is None:
            found = self.operators[operator_id, subtask] = OperatorMeasures(operator_id, subtask, kind)
        return found

    def subtask(self, name: str, subtask: int, operator_ids: tuple[str, ...] = ()) -> SubtaskMeasures:
        """The measures of a subtask: the same object in every attempt."""
        found = self.subtasks.get((name, subtask))
        if found is None:
            found = self.subtasks[name, subtask] = SubtaskMeasures(name, subtask, operator_ids)
        return found

    def split(self, operator_id: str, split_id: str) -> SplitMeasures:
        """The measures of a split: the same object in every attempt."""
        found = self.splits.get((operator_id, split_id))
        if found is None:
            found = self.splits[operator_id, split_id] = SplitMeasures(operator_id, split_id)
        return found

    def recovered(self, recovery_ms: float) -> None:
        """Count a restart that is running again."""
        self.restarts += 1
        self.recovery_ms.append(recovery_ms)

    @property
    def state_bytes(self) -> int:
        """Size of all state on disk and in memory, as last known."""
        return sum(o.state_memory_bytes + o.state_disk_bytes for o in self.operators.values())

    def snapshot(self, now_ms: int) -> dict[str, Any]:
        """All of it as JSON values, at processing time `now_ms`. A copy: it does not change any more."""
        return {
            "job": self.job,
            "attempt": self.attempt,
            "at_ms": now_ms,
            "operators": [operator.snapshot(now_ms) for operator in self.operators.values()],
            "subtasks": [subtask.snapshot() for subtask in self.subtasks.values()],
            "splits": [split.snapshot(now_ms) for split in self.splits.values()],
            "checkpoints": self.checkpoints.snapshot(now_ms),
            "latency": self.latency.snapshot(),
            "event_loop_lag": self.event_loop_lag.snapshot(),
            "state_bytes": self.state_bytes,
            "restarts": self.restarts,
            "recovery_ms": list(self.recovery_ms),
        }
