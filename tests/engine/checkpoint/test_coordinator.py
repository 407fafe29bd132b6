"""The coordinator, with workers that do what the test says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
from tidegate.connectors import SinkError
from tidegate.engine import CheckpointError, CommitError, FencedError, RunConfig
from tidegate.engine.checkpoint.assembly import JobFacts
from tidegate.engine.checkpoint.commit import CommittingSink
from tidegate.engine.checkpoint.coordinator import CheckpointCoordinator
from tidegate.engine.checkpoint.manifest import InFlightEdge, InFlightEntry
from tidegate.engine.checkpoint.storage import CheckpointStorage
from tidegate.engine.executor import InlineExecutor
from tidegate.engine.metrics.measures import JobMeasures
from tidegate.engine.runtime.chain import SubtaskReport
from tidegate.engine.runtime.elements import Barrier
from tidegate.engine.runtime.recording import InFlightFiles, UnrecordableChannelError
from tidegate.engine.state.backend import SnapshotFiles, StateSchema, StoreSnapshot

RECEIVERS = {"b": InFlightEntry(1, (InFlightEdge("a", None, 0, "hash", 1), InFlightEdge("a", "late", 0, "forward", 1)))}


class ScriptedWorkers:
    """Two subtasks that acknowledge when the test says so."""

    def __init__(self) -> None:
        self.names = ["a[0]", "b[0]"]
        self.barriers: list[Barrier] = []
        self.drained = False
        self.overtaken: list[int] = []
        self.given_up: list[int] = []
        self.told: list[int] = []

    def completed(self, checkpoint_id: int) -> None:
        self.told.append(checkpoint_id)

    def trigger(self, barrier: Barrier) -> None:
        self.barriers.append(barrier)

    def overtake(self, checkpoint_id: int) -> None:
        self.overtaken.append(checkpoint_id)

    def give_up(self, checkpoint_id: int) -> None:
        self.given_up.append(checkpoint_id)

    def drain(self) -> None:
        self.drained = True


class RecordingSink:
    """Notes what is committed; fails while `failures` are left."""

    def __init__(self) -> None:
        self.committed: list[Any] = []
        self.failures: list[Exception] = []

    async def commit(self, context: Any, committables: Any) -> None:
        if self.failures:
            raise self.failures.pop(0)
        self.committed.append([found["name"] for found in committables])


class Stage:
    """A coordinator at work, and everything around it."""

    def __init__(self, storage: Any, clock: Any, **config: Any) -> None:
        self.clock = clock
        self.storage = storage
        self.workers = ScriptedWorkers()
        self.sink = RecordingSink()
        self.measures = JobMeasures("job")
        self.events: list[tuple[str, dict[str, Any]]] = []
        self.end: Any = None
        facts = JobFacts("job", "topology", "1", "abc", 1, 128, None, {}, RECEIVERS)
        self.coordinator = CheckpointCoordinator(
            facts,
            RunConfig(checkpoint_interval="10s", checkpoint_timeout="1m", **config),
            storage,
            {"out": CommittingSink(self.sink, None)},  # type: ignore[arg-type]  # the sink uses no context
            first_checkpoint_id=1,
            clock=clock,
            executor=InlineExecutor(),
            measures=self.measures,
            on_event=lambda name, facts: self.events.append((name, facts)),
        )
        self.coordinator.attach(self.workers)
        self.spawned: list[Coroutine[Any, Any, Any]] = []

    async def acknowledge(self, checkpoint_id: int, *names: str, failure: Exception | None = None) -> None:
        """Subtasks report; each has prepared one piece of output of its name."""
        for name in names or self.workers.names:
            found = {"out": [{"name": f"{checkpoint_id}-{name}"}]}
            report = SubtaskReport(name, checkpoint_id, committables=found)
            await self.coordinator.acknowledge(report, failure)

    async def settle(self) -> None:
        """Let everybody run."""
        for _ in range(20):
            await asyncio.sleep(0)

    async def pass_time(self, seconds: float, step: float) -> None:
        """Move time on in steps, letting everybody run after each."""
        for _ in range(round(seconds / step)):
            self.clock.advance(step)
            await self.settle()

    @property
    def told(self) -> list[str]:
        """The events' names."""
        return [name for name, _ in self.events]

    @property
    def triggered(self) -> list[int]:
        """The ids of the barriers sent."""
        return [barrier.checkpoint_id for barrier in self.workers.barriers]


@pytest.fixture
def stage(open_storage, clock) -> Any:
    """Puts a coordinator to work: `async with stage(setting=...) as at_work`."""

    @asynccontextmanager
    async def work(*, stored: bool = True, **config: Any) -> AsyncIterator[Stage]:
        storage = open_storage() if stored else None
        if storage is not None:
            await storage.claim_attempt()
        found = Stage(storage, clock, **config)
        async with asyncio.TaskGroup() as group:
            driving = group.create_task(found.coordinator.drive(group.create_task))
            await found.settle()
            yield found
            driving.cancel()

    return work


async def test_a_checkpoint_is_opened_every_interval(stage):
    """From the start of one to the start of the next."""
    async with stage() as at_work:
        await at_work.pass_time(9.5, 0.5)
        assert at_work.triggered == []
        await at_work.pass_time(1, 0.5)
        assert at_work.triggered == [1]
        await at_work.acknowledge(1)
        await at_work.pass_time(10, 0.5)
        assert at_work.triggered == [1, 2]


async def test_one_checkpoint_at_a_time(stage):
    """While one is under way, none is opened, however late it is."""
    async with stage() as at_work:
        await at_work.pass_time(35, 0.5)
        assert at_work.triggered == [1]


async def test_output_is_committed_once_the_manifest_is_there(stage):
    """Not at the first acknowledgement, and with the pieces of all subtasks."""
    async with stage() as at_work:
        await at_work.pass_time(11, 0.5)
        await at_work.acknowledge(1, "a[0]")
        assert at_work.sink.committed == []
        assert at_work.coordinator.missing == ("b[0]",)
        await at_work.acknowledge(1, "b[0]")
        assert at_work.sink.committed == [["1-a[0]", "1-b[0]"]]
        manifest = await at_work.storage.read(1)
        assert manifest.committables == {"out": [{"name": "1-a[0]"}, {"name": "1-b[0]"}]}
        assert at_work.measures.checkpoints.completed == 1
        assert at_work.workers.told == [1]


async def test_a_subtask_that_cannot_snapshot_fails_the_checkpoint_and_its_output_goes_with_the_next(stage):
    """The failure is counted and told; the records will not come again, so their output is not lost."""
    async with stage() as at_work:
        await at_work.pass_time(11, 0.5)
        await at_work.acknowledge(1, "a[0]")
        await at_work.acknowledge(1, "b[0]", failure=OSError("disk full"))
        assert at_work.told == ["checkpoint_failed"]
        assert "disk full" in at_work.measures.checkpoints.last_failure
        assert at_work.measures.checkpoints.failed == 1
        await at_work.pass_time(11, 0.5)
        await at_work.acknowledge(2)
        assert at_work.sink.committed == [["1-a[0]", "1-b[0]", "2-a[0]", "2-b[0]"]]
        assert at_work.workers.told == [2]  # of one that was given up nobody is told


async def test_a_checkpoint_that_takes_too_long_is_given_up(stage):
    """After the timeout the next may begin; what still comes for the old one is kept for the next."""
    async with stage() as at_work:
        await at_work.pass_time(11, 0.5)
        await at_work.acknowledge(1, "a[0]")
        await at_work.pass_time(65, 1)
        assert "checkpoint_failed" in at_work.told
        assert at_work.triggered[:2] == [1, 2]
        await at_work.acknowledge(1, "b[0]")
        await at_work.acknowledge(2)
        assert at_work.sink.committed == [["1-a[0]", "1-b[0]", "2-a[0]", "2-b[0]"]]


async def test_whoever_asks_for_a_checkpoint_gets_its_id_or_its_failure(stage):
    """After the commit, or with the reason."""
    async with stage() as at_work, asyncio.TaskGroup() as group:
        asked = group.create_task(at_work.coordinator.checkpoint("savepoint", "mine"))
        await at_work.settle()
        await at_work.acknowledge(1)
        assert await asked == 1
        assert (await at_work.storage.read("mine")).checkpoint_id == 1

        async def fails() -> None:
            with pytest.raises(CheckpointError, match=r"checkpoint 2 was given up: .*broken"):
                await at_work.coordinator.checkpoint("checkpoint", None)

        group.create_task(fails())
        await at_work.settle()
        await at_work.acknowledge(2, "a[0]", failure=RuntimeError("broken"))


async def test_output_of_a_checkpoint_that_was_given_up_is_not_left_out_of_the_next(stage):
    """Its report is on its way when the next is complete: the records are before the offsets of that one."""
    async with stage() as at_work:
        await at_work.pass_time(11, 0.5)
        await at_work.acknowledge(1, "a[0]")
        late = at_work.coordinator.acknowledge(
            SubtaskReport("b[0]", 1, committables={"out": [{"name": "1-b[0]"}]}), None
        )
        await at_work.pass_time(65, 1)
        await at_work.acknowledge(2)
        await late
        assert at_work.sink.committed == [["1-a[0]", "1-b[0]", "2-a[0]", "2-b[0]"]]


async def test_a_snapshot_that_cannot_be_read_back_fails_the_savepoint_and_not_the_job(stage, tmp_path):
    """Whoever asked is told why, and nothing of it is left; the next checkpoint is taken as ever."""
    snapshot = StoreSnapshot("dict", "count", 0, (0, 128), (StateSchema("total", "keyed", 1, ("int",)),))
    folder = tmp_path / "snapshot"
    folder.mkdir()
    (folder / "state.msgpack").write_bytes(b"\xc1")
    report = SubtaskReport("a[0]", 1, snapshots=[SnapshotFiles(snapshot, folder, ("state.msgpack",), {})])
    async with stage() as at_work, asyncio.TaskGroup() as group:

        async def fails() -> None:
            with pytest.raises(CheckpointError, match=r"checkpoint 1 was given up: .*state.msgpack cannot be read"):
                await at_work.coordinator.checkpoint("savepoint", "mine")

        group.create_task(fails())
        await at_work.settle()
        await at_work.coordinator.acknowledge(report, None)
        assert at_work.told == ["checkpoint_failed"]
        assert list(tmp_path.glob("snapshot*")) == []
        await at_work.pass_time(11, 0.5)
        await at_work.acknowledge(2)
        assert [info.title for info in await at_work.storage.list()] == ["checkpoint 2"]


async def test_a_commit_is_retried_with_growing_pauses(stage):
    """A sink that may come back is asked again; the checkpoint completes when it does."""
    async with stage() as at_work, asyncio.TaskGroup() as group:
        at_work.sink.failures = [SinkError("away")] * 3
        await at_work.pass_time(11, 0.5)
        group.create_task(at_work.acknowledge(1))
        await at_work.settle()
        await at_work.pass_time(0.65, 0.01)
        assert at_work.told == ["commit_retried"] * 3
        await at_work.pass_time(0.2, 0.01)
        assert at_work.sink.committed == [["1-a[0]", "1-b[0]"]]
        assert at_work.told[-1] == "checkpoint_completed"


@pytest.mark.parametrize(("error", "limit"), [(SinkError("gone", retriable=False), None), (SinkError("away"), 0)])
async def test_a_commit_that_cannot_succeed_fails_the_job(error, limit, stage):
    """The message says that the output is safe in the checkpoint."""
    async with stage(commit_retry_limit=limit) as at_work:
        at_work.sink.failures = [error]
        await at_work.pass_time(11, 0.5)
        with pytest.raises(CommitError, match=r"'out' could not commit 2 pieces .* committed at the next start"):
            await at_work.acknowledge(1)


async def test_a_newer_attempt_fences_the_manifest(stage):
    """The checkpoint does not exist, and the error names who has taken over."""
    async with stage() as at_work:
        await at_work.pass_time(11, 0.5)
        await at_work.storage.claim_attempt()
        with pytest.raises(FencedError, match="taken over"):
            await at_work.acknowledge(1)
        assert at_work.sink.committed == []


async def test_drain_ends_with_a_last_checkpoint(stage):
    """Sources are told first; when all have acknowledged, the coordinator is done and has not finished the streams."""
    async with stage() as at_work:
        at_work.coordinator.drain("last")
        await at_work.settle()
        assert at_work.workers.drained
        assert at_work.triggered == [1]
        await at_work.acknowledge(1)
        assert (await at_work.storage.read("last")).kind == "savepoint"
        assert not at_work.coordinator.finished


async def test_the_end_of_all_streams_ends_with_a_last_checkpoint(stage):
    """It is marked as the end, so that a later start knows."""
    async with stage() as at_work:
        at_work.coordinator.ended("a[0]")
        await at_work.settle()
        assert at_work.triggered == []
        at_work.coordinator.ended("b[0]")
        await at_work.settle()
        assert at_work.triggered == [1]
        await at_work.acknowledge(1)
        assert (await at_work.storage.read(1)).finished
        assert at_work.coordinator.finished


async def test_a_last_checkpoint_that_fails_is_tried_again_and_then_fails_the_job(stage):
    """Three times; then the error says why."""
    async with stage() as at_work:
        at_work.coordinator.drain(None)
        for checkpoint_id in (1, 2):
            await at_work.settle()
            await at_work.acknowledge(checkpoint_id, "a[0]", failure=OSError("disk full"))
        await at_work.settle()
        assert at_work.triggered == [1, 2, 3]
        with pytest.raises(CheckpointError, match="disk full"):
            await at_work.acknowledge(3, "a[0]", failure=OSError("disk full"))


async def test_without_storage_a_barrier_only_commits(stage):
    """Nothing is stored; the barrier says so to the subtasks."""
    async with stage(stored=False) as at_work:
        await at_work.pass_time(11, 0.5)
        assert [barrier.stateless for barrier in at_work.workers.barriers] == [True]
        await at_work.acknowledge(1)
        assert at_work.sink.committed == [["1-a[0]", "1-b[0]"]]


async def test_nobody_waits_for_ever_when_the_attempt_ends(stage):
    """Requests, the one under way and those behind it, fail with the reason."""
    failures = []

    async def ask(at_work: Stage) -> None:
        try:
            await at_work.coordinator.checkpoint("checkpoint", None)
        except CheckpointError as error:
            failures.append(str(error))

    with suppress(asyncio.CancelledError):
        async with asyncio.TaskGroup() as group:
            async with stage() as at_work:
                group.create_task(ask(at_work))
                group.create_task(ask(at_work))
                await at_work.settle()
                assert at_work.triggered == [1]
    assert len(failures) == 2
    assert all("the attempt has ended" in failure for failure in failures)


async def test_an_attempt_that_has_ended_takes_no_more_checkpoints(stage):
    """Who asks too late is told at once."""
    async with stage() as at_work:
        await at_work.settle()
    for kind, name in (("checkpoint", None), ("savepoint", "late")):
        with pytest.raises(CheckpointError, match=f"no {kind} can be taken any more: the attempt has ended"):
            await at_work.coordinator.checkpoint(kind, name)


async def test_more_failures_in_a_row_than_may_be_end_the_attempt(stage):
    """The error counts them and gives the last reason."""
    async with stage(checkpoint_failure_limit=1) as at_work:
        await at_work.pass_time(11, 0.5)
        await at_work.acknowledge(1, "a[0]", failure=OSError("disk full"))
        await at_work.pass_time(10, 0.5)
        with pytest.raises(
            CheckpointError,
            match=r"2 checkpoints in a row have failed, and checkpoint_failure_limit is 1; .*checkpoint 2 .*disk full",
        ):
            await at_work.acknowledge(2, "a[0]", failure=OSError("disk full"))


async def test_a_checkpoint_that_times_out_counts_as_one_that_failed(stage):
    """Then it is the coordinator's own task that ends."""
    with pytest.raises(ExceptionGroup) as raised:
        async with stage(checkpoint_failure_limit=0) as at_work:
            await at_work.pass_time(75, 1)
    assert raised.group_contains(CheckpointError, match="1 checkpoints in a row have failed, .* timed out waiting for")


async def test_a_checkpoint_that_completes_forgives_those_before(stage):
    """What counts is in a row; savepoints do not count, for whoever asked for one is told."""
    async with stage(checkpoint_failure_limit=1) as at_work, asyncio.TaskGroup() as group:
        for checkpoint_id in (1, 2, 3, 4, 5, 6):
            await at_work.pass_time(11, 0.5)
            failure = OSError("disk full") if checkpoint_id % 2 else None
            await at_work.acknowledge(checkpoint_id, *(["a[0]"] if failure else []), failure=failure)

        async def fails() -> None:
            with pytest.raises(CheckpointError, match="disk full"):
                await at_work.coordinator.checkpoint("savepoint", "mine")

        for checkpoint_id in (7, 8, 9):
            group.create_task(fails())
            await at_work.settle()
            await at_work.acknowledge(checkpoint_id, "a[0]", failure=OSError("disk full"))
        assert at_work.measures.checkpoints.failed == 6


class SlowStorage(CheckpointStorage):
    """Stores files for as long as the test wants, and remembers whether they were still wanted then."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.goes_on = asyncio.Event()
        self.wanted: list[bool] = []

    async def store_files(self, files: Any, known: Any, is_wanted: Any = lambda: True) -> Any:
        await self.goes_on.wait()
        self.wanted.append(is_wanted())
        return await super().store_files(files, known, is_wanted)


@pytest.fixture
def uploading(tmp_path, clock, make_snapshot) -> Any:
    """A coordinator whose subtask `a[0]` has acknowledged checkpoint 1, and its files are being stored."""

    @asynccontextmanager
    async def work(**config: Any) -> AsyncIterator[Stage]:
        storage = SlowStorage(tmp_path / "state", "job", InlineExecutor(), clock)
        await storage.claim_attempt()
        found = Stage(storage, clock, **config)
        async with asyncio.TaskGroup() as group:
            driving = group.create_task(found.coordinator.drive(group.create_task))
            found.end = driving.cancel
            await found.settle()
            await found.pass_time(10, 0.5)
            report = SubtaskReport("a[0]", 1, snapshots=[make_snapshot({"a": b"a"})])
            storing = group.create_task(found.coordinator.acknowledge(report, None))
            await found.settle()
            yield found
            storage.goes_on.set()
            await storing
            driving.cancel()

    return work


async def test_a_checkpoint_that_is_still_being_stored_holds_the_next_one_back(uploading):
    """However late that one is; after its end comes the pause, and then the next."""
    async with uploading(checkpoint_min_pause="5s") as at_work:
        await at_work.acknowledge(1, "b[0]")
        await at_work.pass_time(40, 0.5)
        assert at_work.triggered == [1]
        assert at_work.coordinator.missing == ("a[0]",)
        at_work.storage.goes_on.set()
        await at_work.settle()
        assert at_work.told == ["checkpoint_completed"]
        await at_work.pass_time(4.5, 0.5)
        assert at_work.triggered == [1]
        await at_work.pass_time(1, 0.5)
        assert at_work.triggered == [1, 2]


async def test_what_is_stored_for_a_checkpoint_that_timed_out_is_no_longer_wanted(uploading):
    """The next one shall have the way to the store for itself."""
    async with uploading() as at_work:
        await at_work.pass_time(61, 1)
        assert at_work.told == ["checkpoint_failed"]
        at_work.storage.goes_on.set()
        await at_work.settle()
        assert at_work.storage.wanted == [False]
        assert at_work.storage.pinned == frozenset()


async def test_what_is_stored_when_the_attempt_ends_is_no_longer_wanted(uploading):
    """The process does not wait for a store that is slow."""
    with suppress(asyncio.CancelledError):
        async with uploading() as at_work:
            at_work.end()
            await at_work.settle()
            at_work.storage.goes_on.set()
            await at_work.settle()
            assert at_work.storage.wanted == [False]
            assert at_work.storage.pinned == frozenset()


async def test_barriers_overtake_after_the_alignment_timeout(stage):
    """Not before, and once for each checkpoint; a checkpoint that is through in time stays aligned."""
    async with stage(alignment_timeout="3s") as at_work:
        await at_work.pass_time(12.5, 0.5)
        assert at_work.workers.overtaken == []
        await at_work.pass_time(1, 0.5)
        assert at_work.workers.overtaken == [1]
        await at_work.pass_time(5, 0.5)
        await at_work.acknowledge(1)
        await at_work.pass_time(2, 0.5)
        assert at_work.triggered == [1, 2]
        await at_work.acknowledge(2)
        await at_work.pass_time(9, 0.5)
        assert at_work.workers.overtaken == [1]


@pytest.mark.parametrize("setting", [None, "0ms"])
async def test_barriers_overtake_never_or_at_once(stage, setting):
    """As the setting says."""
    async with stage(alignment_timeout=setting) as at_work:
        await at_work.pass_time(10, 0.5)
        assert at_work.triggered == [1]
        await at_work.pass_time(40, 5)
        assert at_work.workers.overtaken == ([] if setting is None else [1])


@pytest.mark.parametrize("kind", ["savepoint", "last", "stateless"])
async def test_some_barriers_never_overtake(stage, kind):
    """Those of savepoints and of the last checkpoint wait; without storage there is nowhere to keep what is in flight."""
    async with stage(alignment_timeout="0ms", stored=kind != "stateless") as at_work:
        if kind == "savepoint":
            asking = asyncio.ensure_future(at_work.coordinator.checkpoint("savepoint", "before"))
        elif kind == "last":
            at_work.coordinator.drain(None)
        await at_work.pass_time(20, 1)
        assert len(at_work.triggered) == 1
        assert at_work.workers.overtaken == []
        await at_work.acknowledge(1)
        if kind == "savepoint":
            assert await asking == 1


async def test_a_checkpoint_that_is_given_up_is_taken_back_from_the_workers(stage):
    """Nobody goes on recording for it."""
    async with stage(alignment_timeout="0ms") as at_work:
        await at_work.pass_time(75, 5)
        assert at_work.workers.given_up == [1]


async def test_what_was_in_flight_is_part_of_the_checkpoint(stage, tmp_path):
    """Its file is stored, named and counted as all others; where nothing was in flight the checkpoint is as any other."""
    async with stage(alignment_timeout="0ms") as at_work:
        await at_work.pass_time(10, 1)
        folder = tmp_path / "recorded"
        folder.mkdir()
        (folder / "in-flight.msgpack").write_bytes(b"content")
        found = InFlightFiles("b", 0, 7, (7, 9), (False, True), 3, folder, ("in-flight.msgpack",))
        await at_work.acknowledge(1, "a[0]")
        await at_work.coordinator.acknowledge(SubtaskReport("b[0]", 1, in_flight=found), None)
        assert not folder.exists()
        await at_work.pass_time(10, 1)
        empty = InFlightFiles("b", 0, 7, (7, 9), (False, True), 0, folder, ())
        await at_work.acknowledge(2, "a[0]")
        await at_work.coordinator.acknowledge(SubtaskReport("b[0]", 2, in_flight=empty), None)
        unaligned, aligned = [await at_work.storage.read(checkpoint_id) for checkpoint_id in (1, 2)]
        assert (unaligned.format_version, aligned.format_version) == (2, 1)
        assert aligned.in_flight == {}
        (subtask,) = unaligned.in_flight["b"].subtasks
        assert unaligned.in_flight["b"].edges == RECEIVERS["b"].edges
        assert (subtask.watermark_ms, subtask.watermarks, subtask.idle, subtask.records) == (
            7,
            (7, 9),
            (False, True),
            3,
        )
        assert (unaligned.in_flight_records, unaligned.in_flight_bytes, unaligned.state_bytes) == (3, 7, 7)
        assert await at_work.storage.verify(1) == []
        told = [facts["in_flight_records"] for name, facts in at_work.events if name == "checkpoint_completed"]
        assert told == [3, 0]
        assert at_work.measures.checkpoints.unaligned == 1


async def test_what_cannot_be_recorded_is_told_once_for_each_edge(stage):
    """Every subtask of the receiver finds it out for itself."""
    async with stage() as at_work:
        for edge in ("one", "two", "one"):
            at_work.coordinator.not_recordable(UnrecordableChannelError(edge, "app.Opaque"))
        told = [(facts["edge"], facts["type"]) for name, facts in at_work.events if name == "checkpoint_stays_aligned"]
        assert told == [("one", "app.Opaque"), ("two", "app.Opaque")]
