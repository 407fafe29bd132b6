"""A replay reads what it is told to, exactly, and leaves the job alone."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tidegate.connectors import files, formats, memory
from tidegate.connectors.sink import SinkError
from tidegate.engine import (
    CheckpointError,
    ConfigError,
    Job,
    JobStatus,
    ReplayOf,
    RunConfig,
    Topology,
    start,
    start_replay,
)
from tidegate.engine.executor import InlineExecutor
from tidegate.engine.testing import BARRIER, ManualClock, Pause, ScriptedSource, run_script
from tidegate.operators import Watermarks, agg, windows


class PassingSource(ScriptedSource[Any]):
    """A scripted source that waits at no barrier, and writes down what its readers are told of checkpoints."""

    def __init__(self, *scripts: Any, **settings: Any) -> None:
        super().__init__(*scripts, **settings)
        self.on_barrier = self.release
        self.told: list[Any] = []

    def reader(self, context: Any) -> Any:
        reader = super().reader(context)

        async def checkpointed(offsets: Any) -> None:
            self.told.append(offsets)

        reader.checkpointed = checkpointed  # type: ignore[attr-defined]
        return reader


def counted(source: Any, sink: Any) -> Topology:
    """Records of times, counted in windows of ten."""
    topology = Topology("counted")
    stream = topology.source("times", source, event_time=lambda t: t)
    results = stream.key_by(lambda t: t % 2, name="by", key_type=int).window(windows.tumbling("10ms"))
    results.aggregate(n=agg.count(), name="count").map(lambda w: (w.key, w.start_ms, w.n)).sink("out", sink)
    return topology


def config(folder: Path | str, **more: Any) -> RunConfig:
    """Settings of a job whose checkpoints are taken by hand and kept."""
    settings: dict[str, Any] = {"checkpoints": folder, "checkpoint_interval": "1h", "retain": 100}
    return RunConfig(**(settings | {"state_backend": "dict"} | more))


async def replayed(topology: Topology, settings: RunConfig, of: ReplayOf, **sinks: Any) -> JobStatus:
    """Replay to the end."""
    async with await start_replay(topology, settings, of, sinks, executor=InlineExecutor()) as job:
        return await job.wait()


async def reached(source: ScriptedSource[Any]) -> None:
    """Let the job run until a split stands at a pause."""
    for _ in range(10_000):
        if source.at_pause:
            return
        await asyncio.sleep(0)
    raise AssertionError("no split has come to a pause")


def contents(folder: Path) -> dict[Path, bytes]:
    """Every file below a folder."""
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def _between(sink: Any, after: int, until: int) -> list[Any]:
    """What a memory sink has committed with the checkpoints behind one and up to another."""
    return sorted(value for n, _, values in sink._committed if after < n <= until for value in values)


SCRIPT = st.lists(st.integers(0, 60), max_size=30).map(sorted)


@pytest.mark.slow
@settings(max_examples=60)
@given(scripts=st.lists(SCRIPT, min_size=1, max_size=3), cuts=st.lists(st.integers(0, 30), min_size=2, max_size=4),
       parallelism=st.integers(1, 2), data=st.data())  # fmt: skip
def test_between_two_checkpoints_a_replay_writes_what_the_job_wrote(
    tmp_path_factory: pytest.TempPathFactory,
    scripts: list[list[int]],
    cuts: list[int],
    parallelism: int,
    data: st.DataObject,
) -> None:
    """Every split ends at its offset in the later one, and windows that were open there stay open."""
    folder = tmp_path_factory.mktemp("replay")
    marked: list[list[Any]] = [list(script) for script in scripts]
    for number, cut in enumerate(sorted(cuts, reverse=True)):
        script = marked[number % len(marked)]
        script.insert(min(cut, len(script)), BARRIER)

    async def run() -> None:
        source, written = ScriptedSource(*marked, fetch_sizes=[3, 1]), memory.sink()
        how = config(folder, parallelism=parallelism)
        await run_script(counted(source, written), source, how, executor=InlineExecutor())
        taken = sorted(int(path.name) for path in (folder / "counted" / "checkpoints").iterdir())
        until = data.draw(st.sampled_from(taken))
        after = data.draw(st.sampled_from([0, *(n for n in taken if n < until)]))
        shadow = memory.sink()
        of = ReplayOf(start=after or None, to=until)
        await replayed(counted(PassingSource(*marked), memory.sink()), how, of, out=shadow)
        assert sorted(shadow.values) == _between(written, after, until)

    asyncio.run(run())


async def _job(folder: Path, values: Sequence[int], stops: Sequence[int]) -> None:
    """A job over some numbers that is stopped after so many of them, again and again: a checkpoint each time."""
    topology = counted(memory.source(list(values)), memory.sink())
    for stop in stops:
        async with start(topology, config(folder, stop_after_records=stop), executor=InlineExecutor()) as job:
            await job.wait()


async def test_a_replay_ends_at_given_offsets(tmp_path: Path) -> None:
    """A number for a list."""
    await _job(tmp_path, range(100), [10])
    topology = Topology("counted")
    topology.source("times", memory.source([*range(100)])).sink("out", memory.sink())
    shadow = memory.sink()
    settings = config(tmp_path, allow_dropped=frozenset({"count"}))
    await replayed(topology, settings, ReplayOf(to_offsets={"times": {"0": 35}}), out=shadow)
    assert shadow.values == [*range(10, 35)]


async def test_an_end_of_a_split_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    """The replay would not end."""
    await _job(tmp_path, range(100), [10])
    of = ReplayOf(to_offsets={"times": {"7": 35}})
    with pytest.raises(ConfigError, match="source 'times' has no split '7' to end at 35; it has 0"):
        await replayed(counted(memory.source([*range(100)]), memory.sink()), config(tmp_path), of, out=None)


async def test_a_replay_of_a_file_ends_at_a_byte(tmp_path: Path) -> None:
    """Lines of different lengths: it ends between the very two that the offset stands between."""
    lines = [f"{n * n * n}\n" for n in range(500)]
    (tmp_path / "in.jsonl").write_text("".join(lines))

    def topology(sink: Any) -> Topology:
        made = Topology("lines")
        made.source("in", files.lines(tmp_path / "in.jsonl", formats.json(int))).sink("out", sink)
        return made

    settings = config(tmp_path / "state", stop_after_records=7)
    async with start(topology(memory.sink()), settings, executor=InlineExecutor()) as job:
        await job.wait()
    shadow = memory.sink()
    end = {"byte": sum(map(len, lines[:333]))}
    of = ReplayOf(to_offsets={"in": {"in.jsonl": end}}, count=1000)
    await replayed(topology(memory.sink()), settings, of, out=shadow)
    assert shadow.values == [n * n * n for n in range(7, 333)]


@pytest.mark.parametrize("parallelism", [1, 3])
async def test_a_replay_ends_after_exactly_so_many_records(tmp_path: Path, parallelism: int) -> None:
    """Whatever the number of subtasks that read."""
    topology = Topology("counted")
    topology.source("times", memory.source([*range(1000)], splits=3)).sink("out", memory.sink())
    shadow = memory.sink()
    settings = config(tmp_path, parallelism=parallelism)
    assert await replayed(topology, settings, ReplayOf(start=None, count=123), out=shadow) is JobStatus.STOPPED
    assert len(shadow.values) == 123


@pytest.mark.parametrize("bounded", [True, False])
async def test_until_a_time_windows_that_reach_beyond_do_not_fire(tmp_path: Path, bounded: bool) -> None:
    """They have not got all their records. So it is for sources that never end as well."""
    source = PassingSource([*range(40)], bounded=bounded)
    shadow = memory.sink()
    of = ReplayOf(start=None, until_ms=25)
    status = await replayed(counted(source, memory.sink()), config(tmp_path), of, out=shadow)
    assert status is JobStatus.STOPPED
    assert sorted(shadow.values) == [(0, 0, 5), (0, 10, 5), (1, 0, 5), (1, 10, 5)]


async def test_until_a_time_a_silent_split_is_not_waited_for_for_ever(tmp_path: Path) -> None:
    """After the idle timeout it is taken to have nothing before that time."""
    clock, shadow = ManualClock(0), memory.sink()
    source = PassingSource([*range(40)], [3, Pause()], bounded=False)
    made = await start_replay(
        counted(source, memory.sink()),
        config(tmp_path),
        ReplayOf(start=None, until_ms=25),
        {"out": shadow},
        clock=clock,
        executor=InlineExecutor(),
    )
    async with made as job:
        for _ in range(100):
            await clock.run(1.0, 0.5)
            if job.over.is_set():
                break
        assert await job.wait() is JobStatus.STOPPED
    assert sorted(shadow.values) == [(0, 0, 5), (0, 10, 5), (1, 0, 6), (1, 10, 5)]


async def test_until_a_time_that_never_comes_a_bounded_source_ends_as_ever(tmp_path: Path) -> None:
    """Its stream has ended: everything fires."""
    shadow = memory.sink()
    of = ReplayOf(start=None, until_ms=1000)
    status = await replayed(counted(PassingSource([1, 2, 3]), memory.sink()), config(tmp_path), of, out=shadow)
    assert status is JobStatus.FINISHED
    assert sorted(shadow.values) == [(0, 0, 1), (1, 0, 2)]


async def test_a_split_that_did_not_move_does_not_hold_the_others_back(tmp_path: Path) -> None:
    """In the job it was idle, and windows closed without it."""

    def topology(source: Any, sink: Any) -> Topology:
        made = Topology("idle")
        stream = made.source("times", source, event_time=lambda t: t, watermarks=Watermarks(idle_timeout="5s"))
        stream.key_by(lambda t: 0, name="by", key_type=int).window(windows.tumbling("10ms")).aggregate(
            n=agg.count(), name="count"
        ).map(lambda w: (w.start_ms, w.n)).sink("out", sink)
        return made

    clock, written = ManualClock(0), memory.sink()
    settings = config(tmp_path, parallelism=2)
    job = start(topology(PassingSource([5, 15, 25], [], bounded=False), written), settings, clock=clock,
                executor=InlineExecutor())  # fmt: skip
    async with job:
        await job.began.wait()
        await clock.run(8.0, 0.1)
        for _ in range(200):
            await asyncio.sleep(0)
        assert await job.stop() is JobStatus.STOPPED
    assert written.values == [(0, 1), (10, 1), (20, 1)]
    shadow = memory.sink()
    source = PassingSource([5, 15, 25, 35, 45], [1], bounded=False)
    await replayed(topology(source, memory.sink()), settings, ReplayOf(start=None, to="latest"), out=shadow)
    assert shadow.values == written.values


async def test_nothing_of_the_job_is_touched(tmp_path: Path) -> None:
    """Its checkpoints and its output stay as they are byte for byte, and nobody is told how far the replay has read."""

    def topology(source: Any) -> Topology:
        made = Topology("numbers")
        made.source("in", source).sink("out", files.lines(tmp_path / "out", formats.json()))
        return made

    script = [1, 2, BARRIER, 3, 4]
    source = ScriptedSource(script)
    await run_script(topology(source), source, config(tmp_path / "state"), executor=InlineExecutor())
    before = contents(tmp_path)
    again, shadow = PassingSource(script), memory.sink()
    made = topology(again)
    sinks = [node.what for node in made.nodes]
    await replayed(made, config(tmp_path / "state"), ReplayOf(start=1), out=shadow)
    assert shadow.values == [3, 4]
    assert again.told == []
    assert [node.what for node in made.nodes] == sinks
    assert contents(tmp_path) == before


async def test_a_replay_into_the_jobs_own_folder_is_refused(tmp_path: Path) -> None:
    """The folder knows whose it is, and a replay is not the job."""

    def topology() -> Topology:
        made = Topology("numbers")
        made.source("in", memory.source([1, 2, 3])).sink("out", files.lines(tmp_path / "out", formats.json()))
        return made

    async with start(topology(), config(tmp_path / "state"), executor=InlineExecutor()) as job:
        await job.wait()
    before = contents(tmp_path / "out")
    with pytest.raises(SinkError, match="belongs to the sink 'out' of the job 'numbers'"):
        await replayed(
            topology(),
            config(tmp_path / "state"),
            ReplayOf(start=None),
            out=files.lines(tmp_path / "out", formats.json()),
        )
    assert contents(tmp_path / "out") == before


async def test_a_source_that_cannot_be_read_again_is_refused(tmp_path: Path) -> None:
    """It would take records away from the job."""
    topology = Topology("live")
    topology.source("orders", memory.channel()).sink("out", memory.sink())
    with pytest.raises(ConfigError, match="source 'orders' cannot be read again"):
        await start_replay(topology, config(tmp_path), ReplayOf(start=None), {"out": None})


async def test_every_sink_is_named(tmp_path: Path) -> None:
    """None is written a second time by accident, and none is made up."""
    topology = counted(memory.source([1]), memory.sink())
    with pytest.raises(ConfigError, match="say where else out should write"):
        await start_replay(topology, config(tmp_path), ReplayOf(start=None), {})
    with pytest.raises(ConfigError, match="there is no sink 'other'; the topology has out"):
        await start_replay(topology, config(tmp_path), ReplayOf(start=None), {"out": None, "other": None})


@pytest.mark.parametrize(
    ("of", "error", "message"),
    [
        (ReplayOf(start=2, to=1), CheckpointError, "a replay ends behind its start: checkpoint 1"),
        (ReplayOf(start=2, to=2), CheckpointError, "or is the same"),
        (ReplayOf(start=9), CheckpointError, "there is no checkpoint 9"),
        (ReplayOf(start="before"), CheckpointError, "there is no savepoint 'before'"),
        (ReplayOf(to_offsets={"x": {"0": 1}}), ConfigError, "no source 'x'; the topology has times"),
        (ReplayOf(to_offsets={"times": {"0": "x"}}), ConfigError, "does not say how far"),
        (ReplayOf(to_offsets={"times": {"0": 3}}), ConfigError, "starts at 15, behind its end at 3"),
        (ReplayOf(start=1, to=2, to_offsets={"times": {"7": 3}}), ConfigError, "knows no split '7'"),
    ],
)
async def test_what_cannot_be_replayed_is_one_clear_error(
    tmp_path: Path, of: ReplayOf, error: type[Exception], message: str
) -> None:
    """Before anything runs."""
    await _job(tmp_path, range(100), [10, 5])
    topology = counted(memory.source([*range(100)]), memory.sink())
    with pytest.raises(error, match=message):
        await start_replay(topology, config(tmp_path), of, {"out": None}, executor=InlineExecutor())


async def test_new_code_may_have_new_names(tmp_path: Path) -> None:
    """`rename` says what they were, in both checkpoints."""
    await _job(tmp_path, range(100), [20, 20])
    topology, shadow = Topology("counted"), memory.sink()
    topology.source("moments", memory.source([*range(100)])).sink("out", memory.sink())
    settings = config(tmp_path, rename={"times": "moments"}, allow_dropped=frozenset({"count"}))
    await replayed(topology, settings, ReplayOf(start=1, to=2), out=shadow)
    assert shadow.values == [*range(20, 40)]


async def test_an_end_on_another_branch_is_an_error(tmp_path: Path) -> None:
    """The job went back behind the start before it took it."""
    await _job(tmp_path, range(100), [10, 30])
    topology, settings = counted(memory.source([*range(100)]), memory.sink()), config(tmp_path, stop_after_records=5)
    async with start(topology, dataclasses.replace(settings, restore=1), executor=InlineExecutor()) as job:
        await job.wait()
    with pytest.raises(CheckpointError, match="checkpoint 3 does not come after checkpoint 2: split '0'"):
        await start_replay(topology, config(tmp_path), ReplayOf(start=2, to=3), {"out": None})


async def test_a_source_that_the_end_does_not_know_is_an_error(tmp_path: Path) -> None:
    """One could not say where to end it."""
    await _job(tmp_path, range(100), [10, 5])
    topology = counted(memory.source([*range(100)]), memory.sink())
    topology.source("more", memory.source([1])).sink("out-2", memory.sink())
    with pytest.raises(ConfigError, match="checkpoint 2 knows nothing of source 'more'"):
        await start_replay(topology, config(tmp_path), ReplayOf(start=1, to=2), {"out": None, "out-2": None})


async def test_a_replay_needs_a_place_to_read_checkpoints_from() -> None:
    """Also one from the beginning: it goes by the job's settings."""
    with pytest.raises(ConfigError, match="--checkpoints DIR"):
        await start_replay(counted(memory.source([1]), memory.sink()), RunConfig(), ReplayOf(), {"out": None})


async def test_a_replay_starts_from_a_savepoint(tmp_path: Path) -> None:
    """By its name, however many checkpoints have been taken since."""
    source = ScriptedSource([*range(20), Pause(), *range(20, 40)])
    async with start(counted(source, memory.sink()), config(tmp_path), executor=InlineExecutor()) as job:
        await reached(source)
        await job.savepoint("early")
        await job.checkpoint()
        source.release()
        await job.wait()
    shadow = memory.sink()
    made: Job = await start_replay(
        counted(PassingSource([*range(20), Pause(0), *range(20, 40)]), memory.sink()),
        config(tmp_path),
        ReplayOf(start="early"),
        {"out": shadow},
    )
    assert made.name == "counted.replay"
    async with made as job:
        await job.wait()
    assert sum(n for _, _, n in shadow.values) == 30  # the first window had fired
