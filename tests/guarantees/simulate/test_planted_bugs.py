"""The simulator is worth something: each of these defects, planted into the engine, is found within 2,000 histories."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from tidegate.engine import RunConfig
from tidegate.engine.checkpoint import contents, decisions
from tidegate.engine.checkpoint.attempts import Attempts
from tidegate.engine.checkpoint.coordinator import CheckpointCoordinator
from tidegate.engine.checkpoint.manifest import FileEntry
from tidegate.engine.runtime import recovery
from tidegate.engine.runtime.alignment import Aligner
from tidegate.engine.runtime.attempt import Attempt
from tidegate.engine.runtime.chain import Chain
from tidegate.engine.runtime.channel import Gate
from tidegate.engine.runtime.elements import Barrier, Watermark
from tidegate.engine.runtime.outputs import ChannelOutput
from tidegate.engine.runtime.recording import RestoredInputs
from tidegate.engine.runtime.source_subtask import SourceSubtask
from tidegate.engine.runtime.split_progress import SplitProgress
from tidegate.engine.runtime.subtask import Subtask
from tidegate.engine.runtime.watermarks import InputWatermarks, lowest
from tidegate.engine.state.timers import TimerService
from tidegate.engine.testing.simulate import SimulationError, simulate
from tidegate.operators.pattern_match import PatternMatch

Patch = pytest.MonkeyPatch


def _manifest_before_upload(patch: Patch) -> None:
    """Files are stored a while after they are said to be."""

    async def store_file(self: Any, path: Any, name: str, sha256: str | None, is_wanted: Any) -> FileEntry:
        sha256 = sha256 or contents.sha256_of(path)
        data, address = path.read_bytes(), self.path(sha256)

        async def later() -> None:
            await asyncio.sleep(0.001)
            await self._executor.run(self._blobs.put, address, data)

        asyncio.get_running_loop().create_task(later())
        return FileEntry(name, len(data), sha256)

    patch.setattr(contents.Contents, "_store_file", store_file)


def _commit_before_manifest(patch: Patch) -> None:
    """Sinks commit as soon as all subtasks have acknowledged."""
    complete = CheckpointCoordinator._complete

    async def commit_first(self: Any, current: Any) -> None:
        for checkpoint_id, sink, found in self._prepared:
            if checkpoint_id <= current.checkpoint_id:
                await self._committer.commit(sink, found)
        await complete(self, current)

    patch.setattr(CheckpointCoordinator, "_complete", commit_first)


def _offset_off_by_one(patch: Patch) -> None:
    """The offset in the checkpoint is that of the last record, not of the next."""
    position = SplitProgress.position

    def one_less(self: Any) -> Any:
        found = position(self)
        return (
            found
            if not found.offset
            else type(found)(found.split, found.offset - 1, found.ended, found.watermark_ms, found.records)
        )

    patch.setattr(SplitProgress, "position", one_less)


def _barrier_dropped_when_idle(patch: Patch) -> None:
    """A source that has nothing to read misses the trigger."""
    trigger = SourceSubtask.trigger

    def only_when_busy(self: Any, barrier: Barrier) -> None:
        now = self._clock.monotonic()
        if not all(progress.parked_until > now for progress in self.splits.values()):
            trigger(self, barrier)

    patch.setattr(SourceSubtask, "trigger", only_when_busy)


def _alignment_lets_records_through(patch: Patch) -> None:
    """Inputs whose barrier has come are read on."""
    patch.setattr(Aligner, "blocked", lambda self, channel: False)


def _timer_lost_at_restore(patch: Patch) -> None:
    """The earliest timers of a snapshot are not restored."""
    fetch = recovery._fetch
    lose: list[TimerService] = []
    init = TimerService.__init__
    set_event = TimerService.set_event

    def remember(self: Any, *tables: Any) -> None:
        init(self, *tables)
        self.restored = bool(lose)

    async def fetch_and_lose(*args: Any) -> Any:
        found = await fetch(*args)
        lose.append(found)
        return found

    def first_is_lost(self: Any, watermark_ms: int) -> Any:
        if getattr(self, "restored", False) and self.next_event() is not None:
            self.restored = False
            self._event.take(self.next_event())
        return due(self, watermark_ms)

    due = TimerService.due_event
    patch.setattr(recovery, "_fetch", fetch_and_lose)
    patch.setattr(TimerService, "__init__", remember)
    patch.setattr(TimerService, "due_event", first_is_lost)
    patch.setattr(TimerService, "set_event", set_event)


def _committables_not_replayed(patch: Patch) -> None:
    """A restart does not commit what the manifest names."""
    recover = Attempt._recover_sinks

    async def forgetful(self: Any, sinks: Any, manifest: Any) -> None:
        await recover(self, sinks, manifest and msgspec.structs.replace(manifest, committables={}))

    patch.setattr(Attempt, "_recover_sinks", forgetful)


def _shared_file_deleted_too_early(patch: Patch) -> None:
    """Retention deletes the files of a checkpoint although a newer one names them too."""
    patch.setattr(decisions, "named_contents", lambda infos: set())


def _watermark_behind_the_barrier(patch: Patch) -> None:
    """A watermark and the barrier after it change places, and a restored source does not tell its watermark again."""
    flush, tell = ChannelOutput.flush, SourceSubtask._raise_watermark

    async def held_until_next(self: Any, arrived: float) -> None:
        held = vars(self).setdefault("held", [])
        barriers = [entry for entry in self._pending if isinstance(entry[1], Barrier)]
        others = [entry for entry in self._pending if not isinstance(entry[1], Barrier)]
        self._pending, self.held = [*barriers, *held, *others], []
        while self._pending and isinstance(self._pending[-1][1], Watermark) and not barriers:
            self.held.insert(0, self._pending.pop())
        await flush(self, arrived)

    async def not_at_the_start(self: Any, arrived: float) -> None:
        if vars(self).setdefault("told", not any(p.records for p in self.splits.values())):
            await tell(self, arrived)
        else:
            self.merged = lowest((p.watermark.watermark_ms, p.idle) for p in self.splits.values() if not p.ended)
        self.told = True

    patch.setattr(ChannelOutput, "flush", held_until_next)
    patch.setattr(SourceSubtask, "_raise_watermark", not_at_the_start)


def _zombie_commit(patch: Patch) -> None:
    """A start takes the number of the one before it: nobody can tell an old process from a new one."""
    claim = Attempts.claim

    def same_number(self: Any, *args: Any, **how: Any) -> Any:
        return self.newest() or claim(self, *args, **how)

    patch.setattr(Attempts, "claim", same_number)


def _barrier_before_the_snapshot(patch: Patch) -> None:
    """A subtask acknowledges a checkpoint before its snapshot is taken: records behind the barrier are in it."""
    barrier_of = Chain.barrier

    async def late(self: Any, barrier: Barrier, splits: Any, *how: Any) -> None:
        if self.nodes and not splits:
            self._spawn(_after(self, barrier, splits, *how))
        else:
            await barrier_of(self, barrier, splits, *how)

    async def _after(self: Any, *args: Any) -> None:
        await asyncio.sleep(0.001)
        await barrier_of(self, *args)

    patch.setattr(Chain, "barrier", late)


def _key_groups_lost_in_a_rescale(patch: Patch) -> None:
    """Of the old snapshots that a new subtask needs it gets the first only."""
    assign = recovery.assign_snapshots
    patch.setattr(recovery, "assign_snapshots", lambda *args, **how: [found[:1] for found in assign(*args, **how)])


def _recording_ends_at_the_snapshot(patch: Patch) -> None:
    """What comes before a late barrier, but after the snapshot that it was late for, is left out of the recording."""

    def only_barriers(self: Any, recording: Any, index: int, element: Any) -> None:
        if isinstance(element, Barrier):
            record(self, recording, index, element)

    record = Gate._record
    patch.setattr(Gate, "_record", only_barriers)


def _recording_goes_on_behind_the_barrier(patch: Patch) -> None:
    """What stands behind the barrier in its channel is recorded too."""

    def everything(self: Any, recording: Any) -> bool:
        behind = []
        for index, queue in enumerate(self._queues):
            barriers = [n for n, (found, _) in enumerate(queue) if found == Barrier(recording.checkpoint_id)]
            behind += [(index, found) for found, _ in list(queue)[barriers[0] :]] if barriers else []
        for index, element in behind:
            recording.add(index, element)
        return overtake(self, recording)

    overtake = Gate.overtake
    patch.setattr(Gate, "overtake", everything)


def _in_flight_restored_twice(patch: Patch) -> None:
    """What was in flight is put back twice."""
    restore = Subtask.restore

    def twice(self: Any, restored: RestoredInputs) -> None:
        restore(self, restored)
        restore(self, restored)

    patch.setattr(Subtask, "restore", twice)


def _in_flight_not_restored(patch: Patch) -> None:
    """What was in flight is not put back."""

    def not_at_all(self: Any, restored: RestoredInputs) -> None:
        restore(self, dataclasses.replace(restored, elements=()))

    restore = Subtask.restore
    patch.setattr(Subtask, "restore", not_at_all)


def _in_flight_before_its_watermark(patch: Patch) -> None:
    """What was in flight is put back without the watermark that stood before it."""
    patch.setattr(InputWatermarks, "restore", lambda self, *how: None)


def _overtaken_barrier_counts_again(patch: Patch) -> None:
    """A barrier that has overtaken is taken for a new one when its turn comes: its channel is held back."""

    def forgets(self: Any, checkpoint_id: int) -> None:
        overtake(self, checkpoint_id)
        self.passed = 0

    overtake = Aligner.overtake
    patch.setattr(Aligner, "overtake", forgets)


def _end_of_an_attempt_lost_at_restore(patch: Patch) -> None:
    """The earliest moment at which attempts of a pattern are over is not restored."""
    open_ = PatternMatch.open

    def and_lose(self: Any, context: Any) -> None:
        open_(self, context)
        first = self._timers.first()
        if first is not None:
            self._timers.drop(first)

    patch.setattr(PatternMatch, "open", and_lose)


PLANTS: dict[Callable[[Patch], None], str] = {
    _manifest_before_upload: "running",
    _commit_before_manifest: "stateless",
    _offset_off_by_one: "stateless",
    _barrier_dropped_when_idle: "running",
    _alignment_lets_records_through: "join",
    _timer_lost_at_restore: "timers",
    _committables_not_replayed: "stateless",
    _shared_file_deleted_too_early: "sessions",
    _watermark_behind_the_barrier: "mostly-late",
    _zombie_commit: "stateless",
    _barrier_before_the_snapshot: "running",
    _key_groups_lost_in_a_rescale: "windows",
    _recording_ends_at_the_snapshot: "windows",
    _recording_goes_on_behind_the_barrier: "running",
    _in_flight_restored_twice: "join",
    _in_flight_not_restored: "async",
    _in_flight_before_its_watermark: "mostly-behind",
    _overtaken_barrier_counts_again: "running",
    _end_of_an_attempt_lost_at_restore: "pattern",
}


AGAIN: list[tuple[Callable[[Patch], None], str]] = [
    (_in_flight_restored_twice, "regular"),
    (_in_flight_not_restored, "ranking"),
]
"""Other kinds find them too."""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("plant", "kind"), [*PLANTS.items(), *AGAIN], ids=lambda given: getattr(given, "__name__", str(given)).strip("_")
)
def test_a_planted_bug_is_found(plant, kind, build, monkeypatch):
    """Within 2,000 seeds, mostly within a few."""
    plant(monkeypatch)
    with pytest.raises(SimulationError) as found:
        simulate(lambda: build(kind), seeds=2000, config=RunConfig(parallelism=2))
    print(f"\n{plant.__name__}: seed {found.value.outcome.seed}: {found.value.outcome.violation}")
