"""A job through its life: states, checkpoints asked for, restores and what refuses them."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest
from tidegate.connectors import AtLeastOnce, SinkFencedError, memory
from tidegate.engine import (
    CheckpointError,
    ConfigError,
    FencedError,
    JobError,
    JobStatus,
    RunConfig,
    Topology,
    TopologyError,
    restart,
    start,
)
from tidegate.engine.checkpoint.storage import CheckpointStorage
from tidegate.engine.executor import InlineExecutor
from tidegate.engine.testing import BARRIER, CRASH, ManualClock, Pause, ScriptedSource, run_script
from tidegate.operators import ProcessFunction, ValueState


class Count(ProcessFunction[int, int]):
    """How many records there have been."""

    STATE: Any = ValueState("count", int)

    def states(self) -> Any:
        return [self.STATE]

    def open(self, context: Any) -> None:
        self.count = context.state(self.STATE)

    def process(self, value: int, context: Any) -> Any:
        self.count.set((self.count.get() or 0) + 1)
        yield self.count.get()


class CountText(Count):
    """The same count as text: another type under the same name."""

    STATE: Any = ValueState("count", str)

    def process(self, value: int, context: Any) -> Any:
        self.count.set(str(int(self.count.get() or 0) + 1))
        yield int(self.count.get())


def _topology(source: Any, sink: Any, name: str = "count", function: Any = None) -> Topology:
    topology = Topology("counting")
    keyed = topology.source("numbers", source).key_by(lambda n: 0, name="by", key_type=int)
    keyed.process(function or Count(), name=name).sink("out", sink)
    return topology


def _config(folder: Any, **more: Any) -> RunConfig:
    return RunConfig(
        **({"checkpoints": folder, "checkpoint_interval": "1h", "restart": restart.never()} | more)  # type: ignore[arg-type]  # settings by name
    )


async def _paused(job: Any, source: ScriptedSource[Any]) -> None:
    while not source.at_pause:
        await job.clock.sleep(0)


async def test_a_job_is_created_runs_and_finishes():
    """The states follow each other, and `began` and `over` tell when."""
    source = ScriptedSource([1, Pause(), 2])
    job = start(_topology(source, memory.sink()), RunConfig(state_backend="dict"))
    assert job.status is JobStatus.CREATED
    async with job:
        await job.began.wait()
        assert job.status is JobStatus.RUNNING
        await _paused(job, source)
        source.release()
        assert await job.wait() is JobStatus.FINISHED
        assert await job.wait() is JobStatus.FINISHED
    assert job.status.over


async def test_asking_for_a_checkpoint_commits_what_was_read(tmp_path):
    """When `checkpoint` returns, the output is visible."""
    source, sink = ScriptedSource([1, 2, Pause(), 3]), memory.sink()
    async with start(_topology(source, sink), _config(tmp_path)) as job:
        await _paused(job, source)
        assert sink.values == []
        assert await job.checkpoint() == 1
        assert sink.values == [1, 2]
        assert await job.checkpoint() == 2
        await job.cancel()


async def test_a_checkpoint_needs_a_place_and_a_running_job(tmp_path):
    """Each refusal says what to do."""
    source = ScriptedSource([1, Pause()])
    async with start(_topology(source, memory.sink())) as job:
        await job.began.wait()
        with pytest.raises(CheckpointError, match=r"has no place for checkpoints: set RunConfig\(checkpoints="):
            await job.checkpoint()
        await job.cancel()
    job = start(_topology(source, memory.sink()), _config(tmp_path))
    with pytest.raises(CheckpointError, match="is created: it can be checkpointed while it runs"):
        await job.checkpoint()


async def test_a_running_job_that_ends_for_want_of_checkpoints_has_failed(tmp_path):
    """Other than one that cannot start without: the error says which."""
    source = ScriptedSource([1, Pause()])
    with pytest.raises(JobError, match=r"1 checkpoints in a row have failed.* a part of the path is a file"):
        async with start(_topology(source, memory.sink()), _config(tmp_path, checkpoint_failure_limit=0)) as job:
            await _paused(job, source)
            (tmp_path / "counting" / "checkpoints").write_text("no folder")
            with pytest.raises(CheckpointError, match="a part of the path is a file"):
                await job.checkpoint()
            await job.wait()


class AsksLate(AtLeastOnce):
    """A sink that asks its job for a checkpoint when it is closed: the coordinator has ended, the job has not."""

    job: Any = None
    told: str = ""

    def writer(self, context: Any) -> Any:
        return self

    async def open(self) -> None: ...
    async def write(self, batch: Any) -> None: ...
    async def prepare_commit(self, checkpoint_id: int) -> Any:
        return []

    async def close(self) -> None:
        assert not self.job.over.is_set()
        try:
            await self.job.checkpoint()
        except CheckpointError as error:
            self.told = str(error)


class TakenOver(AtLeastOnce):
    """A sink that another copy of the job has taken over, which it finds out when it does `at`."""

    def __init__(self, at: str) -> None:
        self._at = at

    def _do(self, what: str) -> None:
        if what == self._at:
            raise SinkFencedError("another copy of the job has taken over")

    def writer(self, context: Any) -> Any:
        return TakenOverWriter(self._do)

    async def commit(self, context: Any, committables: Any) -> None:
        self._do("commit")


class TakenOverWriter:
    """Its writer."""

    def __init__(self, do: Any) -> None:
        self._do = do

    async def open(self) -> None: ...
    async def write(self, batch: Any) -> None:
        self._do("write")

    async def prepare_commit(self, checkpoint_id: int) -> Any:
        self._do("prepare")
        return [{"n": checkpoint_id}]

    async def close(self) -> None: ...


@pytest.mark.parametrize("at", ["write", "prepare", "commit"])
async def test_a_job_whose_sink_was_taken_over_is_fenced(at, tmp_path):
    """Wherever the sink finds out: the job ends, is not started again, and says why."""
    config = _config(tmp_path, restart=restart.fixed_delay(5, "0ms"))
    events: list[str] = []
    topology = _topology(ScriptedSource([1, 2]), TakenOver(at))
    job = start(topology, config, on_event=lambda name, facts: events.append(name))
    with pytest.raises(FencedError, match=r"^another copy of the job has taken over$"):
        async with job:
            await job.wait()
    assert job.status is JobStatus.FAILED
    assert "job_restarting" not in events


class Overhearing:
    """Waits for ever, once, and takes being cancelled for the end of it, as `asyncio.wait_for` may: what connectors do."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()

    async def wait(self) -> None:
        if self.begun.is_set():
            return
        self.begun.set()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        for _ in range(3):  # nor does it hear who says it again just then
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(0)


class OverhearingSink(AtLeastOnce):
    """A sink that does so when it writes."""

    def __init__(self, overhearing: Overhearing) -> None:
        self._overhearing = overhearing

    def writer(self, context: Any) -> Any:
        return self

    async def open(self) -> None: ...
    async def write(self, batch: Any) -> None:
        await self._overhearing.wait()

    async def prepare_commit(self, checkpoint_id: int) -> Any:
        return []

    async def close(self) -> None: ...


class OverhearingSource(ScriptedSource[int]):
    """A source that does so when it looks for new splits."""

    finds_splits = True

    def __init__(self, overhearing: Overhearing) -> None:
        super().__init__([Pause()], bounded=False)
        self._overhearing = overhearing

    async def discover(self, context: Any, known: frozenset[str]) -> Any:
        if known:
            await self._overhearing.wait()
        return await super().discover(context, known)


@pytest.mark.parametrize("where", ["sink", "source"])
async def test_a_job_that_has_failed_ends_though_a_connector_overhears_it(where):
    """Nobody waits for ever for what goes on as if nothing had happened."""
    overhearing = Overhearing()
    topology = Topology("overhears")
    if where == "sink":
        topology.source("ones", ScriptedSource([1, Pause()])).sink("deaf", OverhearingSink(overhearing))
    else:
        topology.source("ones", OverhearingSource(overhearing)).sink("out", memory.sink())
    failing = ScriptedSource([Pause(), 1])
    topology.source("twos", failing).sink("fails", TakenOver("write"))
    config = RunConfig(state_backend="dict", restart=restart.never(), discovery_interval="1ms")
    async with asyncio.timeout(10):
        with pytest.raises(FencedError):
            async with start(topology, config) as job:
                await overhearing.begun.wait()
                await _paused(job, failing)
                failing.release()
                await job.wait()


async def test_a_checkpoint_asked_for_while_the_job_ends_is_an_error(tmp_path):
    """Nobody is left to take it, so nobody must wait for it."""
    sink = AsksLate()
    async with start(_topology(ScriptedSource([1]), sink), _config(tmp_path)) as job:
        sink.job = job
        async with asyncio.timeout(20):
            assert await job.wait() is JobStatus.FINISHED
    assert sink.told == "no checkpoint can be taken any more: the attempt has ended"


class StopsLate(AsksLate):
    """A sink that stops its job with a savepoint while the last checkpoint is being taken."""

    async def prepare_commit(self, checkpoint_id: int) -> Any:
        with pytest.raises(CheckpointError) as told:
            await self.job.stop("late")
        self.told = str(told.value)
        return []

    async def close(self) -> None: ...


async def test_a_savepoint_asked_for_when_the_streams_have_ended_is_an_error(tmp_path):
    """The last checkpoint is under way and is none; the job ends as it would have."""
    sink = StopsLate()
    async with start(_topology(ScriptedSource([1]), sink), _config(tmp_path)) as job:
        sink.job = job
        async with asyncio.timeout(20):
            assert await job.wait() is JobStatus.FINISHED
        with pytest.raises(CheckpointError, match="is finished: it can be checkpointed while it runs"):
            await job.stop("later")
    assert sink.told.startswith(
        "job 'counting' is ending already, so its last checkpoint cannot become savepoint 'late'"
    )


async def test_a_job_that_is_being_stopped_takes_no_other_savepoint(tmp_path):
    """Whoever asks for one that will not be is told; the same one may be asked for twice."""
    source = ScriptedSource([1, Pause()])
    async with start(_topology(source, memory.sink()), _config(tmp_path)) as job:
        await _paused(job, source)
        with pytest.raises(ConfigError, match="savepoint name '7' cannot be used"):
            await job.stop("7")
        job.request_stop("first")
        job.request_stop("first")
        with pytest.raises(CheckpointError, match=r"is ending already, .* savepoint 'second'"):
            await job.stop("second")
        assert await job.drain() is JobStatus.STOPPED
    assert [path.name for path in (tmp_path / "counting" / "savepoints").iterdir()] == ["first"]


@pytest.mark.parametrize("backend", ["dict", "rocksdb"])
async def test_a_savepoint_can_be_started_from_by_name_long_after(backend, tmp_path):
    """Checkpoints after it do not matter, and retention does not take it."""
    script = [1, 2, Pause(), 3, 4, Pause(), 5]
    source, sink = ScriptedSource(script), memory.sink()
    async with start(_topology(source, sink), _config(tmp_path, state_backend=backend, retain=1)) as job:
        await _paused(job, source)
        await job.savepoint("two")
        with pytest.raises(CheckpointError, match="'two' exists already"):
            await job.savepoint("two")
        source.release()
        await job.clock.sleep(0)
        await _paused(job, source)
        for _ in range(3):
            await job.checkpoint()
        await job.cancel()
    assert sink.values == [1, 2, 3, 4]
    config = _config(tmp_path, state_backend=backend, restore="two")
    async with start(_topology(ScriptedSource([1, 2, Pause(), 30]), sink), config) as job:
        assert await job.wait() is JobStatus.FINISHED
    assert sink.values == [1, 2, 3]


async def test_stopping_and_starting_goes_on_where_it_was(tmp_path):
    """A stopped job reads each record once over all its lives."""
    sink, script = memory.sink(), [1, Pause(), 2, Pause(), 3]
    for ends in (JobStatus.STOPPED, JobStatus.STOPPED, JobStatus.FINISHED):
        source = ScriptedSource(script)
        async with start(_topology(source, sink), _config(tmp_path)) as job:
            if ends is JobStatus.STOPPED:
                await _paused(job, source)
                await job.stop()
            assert await job.wait() is ends
    assert sink.values == [1, 2, 3]


async def test_a_finished_job_started_again_has_nothing_to_do(tmp_path):
    """Everything is read and committed: the second start ends at once and doubles nothing."""
    sink = memory.sink()
    for _ in range(2):
        async with start(_topology(memory.source([1, 2]), sink), _config(tmp_path)) as job:
            assert await job.wait() is JobStatus.FINISHED
    assert sink.values == [1, 2]


@pytest.mark.parametrize("backend", ["dict", "rocksdb"])
async def test_a_renamed_operator_refuses_to_start_until_it_may_be_dropped(backend, tmp_path):
    """State without an operator is a mistake, unless the user says that it is not."""
    config = _config(tmp_path, state_backend=backend)
    source, sink = ScriptedSource([1, Pause(), 2]), memory.sink()
    async with start(_topology(source, sink), config) as job:
        await _paused(job, source)
        await job.stop()
    renamed = _topology(ScriptedSource([1, Pause(), 2]), sink, name="renamed")
    with pytest.raises(TopologyError, match=r"'count'.*"):
        async with start(renamed, config) as job:
            await job.wait()
    renamed = _topology(ScriptedSource([1, Pause(), 2]), sink, name="renamed")
    allowed = _config(tmp_path, state_backend=backend, allow_dropped={"count"})
    async with start(renamed, allowed) as job:
        assert await job.wait() is JobStatus.FINISHED
    assert sink.values == [1, 1]


@pytest.mark.parametrize("backend", ["dict", "rocksdb"])
async def test_a_rename_may_stay_set_while_the_job_restarts(backend, tmp_path):
    """Also where a new operator has the old name: what was renamed once is not renamed again."""
    source, sink = ScriptedSource([1, Pause(), 2]), memory.sink()
    async with start(_topology(source, sink), _config(tmp_path, state_backend=backend)) as job:
        await _paused(job, source)
        await job.stop()
    source = ScriptedSource([1, Pause(0.0), 2, BARRIER, 3, CRASH, 4])
    topology = _topology(source, sink, name="tally")
    numbers = topology.source("more", memory.source([10, 20])).key_by(lambda n: 0, name="by-more", key_type=int)
    others = memory.sink()
    numbers.process(Count(), name="count").sink("others", others)
    config = _config(tmp_path, state_backend=backend, rename={"count": "tally"}, restart=restart.fixed_delay(1, "0ms"))
    assert await run_script(topology, source, config) is JobStatus.FINISHED
    assert sink.values == [1, 2, 3, 4]
    assert others.values == [1, 2]


@pytest.mark.parametrize("backend", ["dict", "rocksdb"])
async def test_a_savepoint_leaves_the_files_of_checkpoints_shared(backend, tmp_path):
    """Its portable files come on top; the checkpoint after it names those that the one before it stored."""
    source, sink = ScriptedSource([1, Pause()]), memory.sink()
    async with start(_topology(source, sink), _config(tmp_path, state_backend=backend)) as job:
        await _paused(job, source)
        before = await job.checkpoint()
        await job.savepoint("deploy")
        after = await job.checkpoint()
        await job.cancel()
    storage = CheckpointStorage(tmp_path, "counting", InlineExecutor(), ManualClock())
    (first, savepoint, second) = [await storage.read(which) for which in (before, "deploy", after)]
    (state,) = savepoint.operators["count"].subtasks
    assert state.snapshot.backend == "portable"
    assert {file.name for file in state.files} == {"000-000000.tgstate"}
    suffix = ".sst" if backend == "rocksdb" else ".msgpack"
    shared = [{f.sha256 for f in found.files() if f.name.endswith(suffix)} for found in (first, second)]
    assert shared[0] == shared[1] != set()


@pytest.mark.parametrize("backend", ["dict", "rocksdb"])
async def test_a_retyped_state_refuses_to_start_and_names_both_types(backend, tmp_path):
    """Nothing is read before the refusal."""
    config = _config(tmp_path, state_backend=backend)
    source, sink = ScriptedSource([1, Pause(), 2]), memory.sink()
    async with start(_topology(source, sink), config) as job:
        await _paused(job, source)
        await job.stop()
    retyped = _topology(ScriptedSource([1, Pause(), 2]), sink, function=CountText())
    with pytest.raises(TopologyError, match=r"count.*int.*str|count.*str.*int"):
        async with start(retyped, config) as job:
            await job.wait()
    assert sink.values == [1]


async def test_restoring_nothing_begins_anew_and_takes_back_the_output(tmp_path):
    """With restore None the checkpoints are left alone and the sink's earlier records are taken away."""
    sink = memory.sink()
    async with start(_topology(memory.source([1, 2]), sink), _config(tmp_path)) as job:
        await job.wait()
    async with start(_topology(memory.source([7]), sink), _config(tmp_path, restore=None)) as job:
        await job.wait()
    assert sink.values == [1]


async def test_events_tell_of_restarts_in_order(tmp_path):
    """Who listens sees each attempt, why it ended, and the end of the job."""
    source, events = ScriptedSource([1, CRASH, 2]), []
    config = _config(tmp_path, restart=restart.fixed_delay(1, "0ms"))
    topology = _topology(source, memory.sink())
    await run_script(topology, source, config, on_event=lambda name, facts: events.append((name, facts)))
    names = [name for name, _ in events]
    assert names == ["job_running", "job_restarting", "job_running", "checkpoint_completed", "job_ended"]
    assert "the script of split 0 crashes at 1" in events[1][1]["reason"]
    assert [facts["attempt"] for name, facts in events if name == "job_running"] == [1, 2]


async def test_a_delay_before_a_restart_is_the_clocks(tmp_path):
    """The job waits in the state RESTARTING until the clock has moved, and a stop ends that wait."""
    clock, source = ManualClock(), ScriptedSource([1, CRASH, 2])
    config = _config(tmp_path, state_backend="dict", restart=restart.fixed_delay(1, "30s"))
    async with start(_topology(source, memory.sink()), config, clock=clock, executor=InlineExecutor()) as job:
        for _ in range(1000):
            await clock.run(0.01)
            if job.status is JobStatus.RESTARTING:
                break
        await clock.run(10, 1)
        assert job.status is JobStatus.RESTARTING
        assert job.why_waiting() == ["the job is restarting"]
        assert await job.drain() is JobStatus.STOPPED


@pytest.mark.parametrize("checkpoints", [True, False])
async def test_memory_is_all_a_job_needs(checkpoints, tmp_path):
    """Without checkpoints everything is committed at the end."""
    sink = memory.sink()
    config = _config(tmp_path if checkpoints else None)
    async with start(_topology(memory.source([5, 6]), sink), config) as job:
        await job.wait()
    assert sink.values == [1, 2]
    assert [path.name for path in tmp_path.iterdir()] == (["counting"] if checkpoints else [])


@pytest.mark.parametrize(("end", "status"), [("stop", JobStatus.STOPPED), ("cancel", JobStatus.CANCELLED)])
async def test_a_job_that_is_ended_before_its_first_step_ends(end, status):
    """Whoever waits for it is told, and nothing has been read."""
    sink = memory.sink()
    topology = Topology("early")
    topology.source("numbers", memory.source([1])).sink("out", sink)
    async with start(topology) as job:
        await getattr(job, end)()
    assert (job.status, sink.values) == (status, [])


async def test_calls_in_flight_keep_their_order_over_a_crash(tmp_path):
    """Each subtask makes its own again, before what it reads next."""
    answering = asyncio.Event()

    async def ask(n: int) -> int:
        await answering.wait()
        return n

    def on_event(name: str, facts: Any) -> None:
        if name == "job_restarting":
            answering.set()

    scripts = [[*range(n, n + 7), BARRIER, n + 7, CRASH, n + 8] for n in (0, 100)]
    source, sink = ScriptedSource(*scripts, type=int), memory.sink()
    topology = Topology("asking")
    topology.source("numbers", source).map_async(ask, name="ask").sink("out", sink)
    await run_script(
        topology,
        source,
        _config(tmp_path, parallelism=2, restart=restart.fixed_delay(2, "0ms"), state_backend="dict"),
        on_event=on_event,
    )
    assert [n for n in sink.values if n < 100] == [*range(9)]
    assert [n for n in sink.values if n >= 100] == [*range(100, 109)]
