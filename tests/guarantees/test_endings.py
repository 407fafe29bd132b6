"""Every way in which a job can end: as documented, without a hang, and with nothing left behind."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from tidegate.connectors import SinkError, SourceError, files, formats, memory
from tidegate.engine import JobStatus, OperatorError, RunConfig, Topology, restart, start
from tidegate.engine.testing import Pause, ScriptedSource
from tidegate.operators import agg

APP = """
import sys
from tidegate.connectors import files, formats, generator
from tidegate.engine import Topology

def work(n):
    if n == {fail_at}:
        raise ValueError("the user's own error")
    return n

topology = Topology("numbers")
topology.source("numbers", files.lines("in.jsonl", formats.json(int), follow=True)).map(work, name="work").sink(
    "out", files.lines("out", formats.json()))
"""


def _open_files() -> set[str]:
    """The files and folders that this process holds open. Not the event loops' own handles, which have no path."""
    found = set()
    for name in os.listdir("/proc/self/fd"):
        with suppress(OSError):
            found.add(f"{name} {os.readlink(f'/proc/self/fd/{name}')}")
    return {entry for entry in found if " /" in entry and " /proc/" not in entry}


@pytest.fixture
def nothing_left() -> Iterator[None]:
    """No file, thread or child process more than before."""
    files_before, threads_before = _open_files(), threading.active_count()
    yield
    # The loop of the test itself is still there: it was made before this fixture.
    assert _open_files() - files_before == set()
    assert threading.active_count() <= threads_before


def _topology(source: Any, sink: Any, function: Any = None) -> Topology:
    topology = Topology("endings")
    stream = topology.source("numbers", source)
    if function is not None:
        stream = stream.map(function, name="user")
    counted = stream.key_by(lambda n: n % 3, name="by", key_type=int).aggregate(n=agg.count(), name="count")
    counted.map(lambda r: (r.key, r.n), name="flat").sink("out", sink)
    return topology


def _config(folder: Path, **more: Any) -> RunConfig:
    settings = {"checkpoints": folder / "state", "checkpoint_interval": "20ms", "restart": restart.never()}
    return RunConfig(**(settings | more))


def _tasks() -> set[asyncio.Task[Any]]:
    return asyncio.all_tasks() - {asyncio.current_task()}  # type: ignore[arg-type]  # a test runs in a task


class Refusing(memory.ListSink[Any]):
    """A sink that fails in one of its methods."""

    def __init__(self, where: str, retriable: bool) -> None:
        super().__init__()
        self.where = where
        self.retriable = retriable

    def fail(self, where: str) -> None:
        """Raise, if this is the place."""
        if where == self.where:
            raise SinkError(f"the outside world is away, in {where}", retriable=self.retriable)

    def writer(self, context: Any) -> Any:
        return RefusingWriter(self, super().writer(context))

    async def commit(self, context: Any, committables: Any) -> None:
        if committables:
            self.fail("commit")
        await super().commit(context, committables)

    async def recover(self, context: Any, checkpoint_id: Any, committables: Any) -> None:
        self.fail("recover")
        await super().recover(context, checkpoint_id, committables)


class RefusingWriter:
    """The writer of a `Refusing` sink."""

    def __init__(self, sink: Refusing, writer: Any) -> None:
        self.sink = sink
        self.writer = writer
        self.closed = 0

    async def open(self) -> None:
        self.sink.fail("open")
        await self.writer.open()

    async def write(self, batch: Any) -> None:
        self.sink.fail("write")
        await self.writer.write(batch)

    async def prepare_commit(self, checkpoint_id: int) -> Any:
        self.sink.fail("prepare_commit")
        return await self.writer.prepare_commit(checkpoint_id)

    async def close(self) -> None:
        await self.writer.close()


class FailingSource(memory.ListSource[int]):
    """A source that fails in one of its methods."""

    def __init__(self, where: str, error: Exception) -> None:
        super().__init__([1, 2, 3])
        self.where = where
        self.error = error

    async def discover(self, context: Any, known: Any) -> Any:
        if self.where == "discover":
            raise self.error
        return await super().discover(context, known)

    def reader(self, context: Any) -> Any:
        reader = super().reader(context)

        async def fail(*_: Any) -> Any:
            raise self.error

        if self.where in ("open", "read"):
            setattr(reader, self.where, fail)
        return reader


async def test_the_end_of_the_stream_finishes_the_job(tmp_path, nothing_left):
    """All input read, all output committed, nothing left behind."""
    async with start(_topology(memory.source([1, 2, 3]), memory.sink()), _config(tmp_path)) as job:
        assert await job.wait() is JobStatus.FINISHED
    assert _tasks() == set()


@pytest.mark.parametrize("how", ["drain", "stop", "cancel", "leave", "raise"])
async def test_each_way_to_end_a_running_job(how, tmp_path, nothing_left):
    """Drain and stop commit what was read, cancel and leaving do not wait for it; none leaves anything behind."""
    source, sink = ScriptedSource([1, 2, 3, Pause(), 4]), memory.sink()

    async def live() -> Any:
        async with start(_topology(source, sink), _config(tmp_path, checkpoint_interval="1h")) as job:
            while not source.at_pause:
                await job.clock.sleep(0)
            if how == "drain":
                await job.drain()
            elif how == "stop":
                await job.stop("the-end")
            elif how == "cancel":
                await job.cancel()
            elif how == "raise":
                raise ZeroDivisionError("the program around the job")
        return job.status

    if how == "raise":
        with pytest.raises(ZeroDivisionError):
            await live()
    else:
        ends = {"drain": JobStatus.STOPPED, "stop": JobStatus.STOPPED}
        assert await live() is ends.get(how, JobStatus.CANCELLED)
    assert len(sink.values) == (3 if how in ("drain", "stop") else 0)
    assert _tasks() == set()


@pytest.mark.parametrize("backend", ["dict", "rocksdb"])
async def test_an_exception_in_user_code_fails_the_job(backend, tmp_path, nothing_left):
    """The error names the operator and keeps the user's exception; nothing is left behind."""
    topology = _topology(memory.source([1, 0, 2]), memory.sink(), lambda n: 1 // n)
    with pytest.raises(OperatorError, match="operator 'user' failed on the record at 1") as caught:
        async with start(topology, _config(tmp_path, state_backend=backend)) as job:
            await job.wait()
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    assert job.status is JobStatus.FAILED
    assert _tasks() == set()


async def test_leaving_the_block_raises_what_nobody_waited_for(tmp_path, nothing_left):
    """A failure does not pass in silence when the program never asked for it."""
    topology = _topology(memory.source([1, 0, 2]), memory.sink(), lambda n: 1 // n)
    with pytest.raises(OperatorError):
        async with start(topology, _config(tmp_path)) as job:
            await job.over.wait()


@pytest.mark.parametrize("where", ["recover", "open", "write", "prepare_commit", "commit"])
async def test_an_exception_in_a_sink_fails_the_job(where, tmp_path, nothing_left):
    """Wherever the sink fails for good, the job fails with the sink's words."""
    sink = Refusing(where, retriable=False)
    with pytest.raises(Exception, match=f"away, in {where}"):
        async with start(_topology(memory.source([1, 2, 3]), sink), _config(tmp_path)) as job:
            await job.wait()
    assert job.status is JobStatus.FAILED
    assert sink.values == []
    assert _tasks() == set()


async def test_a_sink_that_comes_back_is_waited_for(tmp_path, nothing_left):
    """A commit that may work later is tried again until it does; the job does not restart for it."""
    sink = Refusing("commit", retriable=True)
    retried = []

    def on_event(name: str, facts: dict[str, Any]) -> None:
        if name == "commit_retried":
            retried.append(facts["tries"])
            sink.where = "nowhere"

    async with start(_topology(memory.source([1, 2, 3]), sink), _config(tmp_path), on_event=on_event) as job:
        assert await job.wait() is JobStatus.FINISHED
    assert retried == [1]
    assert sorted(sink.values) == [(0, 1), (1, 1), (2, 1)]
    assert _tasks() == set()


@pytest.mark.parametrize("where", ["discover", "open", "read"])
@pytest.mark.parametrize("error", [SourceError("the outside world is away"), RuntimeError("the outside world is away")])
async def test_an_exception_in_a_source_fails_the_job(where, error, tmp_path, nothing_left):
    """Wherever the source fails, the job fails with the source's words."""
    with pytest.raises(Exception, match="the outside world is away"):
        async with start(_topology(FailingSource(where, error), memory.sink()), _config(tmp_path)) as job:
            await job.wait()
    assert job.status is JobStatus.FAILED
    assert _tasks() == set()


async def test_a_failure_during_many_restarts_leaves_nothing_behind(tmp_path, nothing_left):
    """Twenty attempts, with RocksDB and files: handles and threads are those of one."""
    topology = _topology(memory.source([1, 0, 2]), files.lines(tmp_path / "out", formats.json()), lambda n: 1 // n)
    config = _config(tmp_path, restart=restart.fixed_delay(19, "0ms"))
    with pytest.raises(OperatorError):
        async with start(topology, config) as job:
            await job.wait()
    assert job.measures.attempt == 20
    assert _tasks() == set()


async def test_two_jobs_in_one_process_do_not_meet(tmp_path, nothing_left):
    """One fails, the other goes on to its end."""
    good, sink = _topology(memory.source([*range(100)]), memory.sink()), memory.sink()
    bad = _topology(memory.source([0]), sink, lambda n: 1 // n)
    async with start(good, _config(tmp_path / "good")) as first:
        with pytest.raises(OperatorError):
            async with start(bad, _config(tmp_path / "bad")) as second:
                await second.wait()
        assert await first.wait() is JobStatus.FINISHED
    assert _tasks() == set()


def _start(folder: Path, fail_at: int = -1) -> subprocess.Popen[str]:
    (folder / "app.py").write_text(APP.format(fail_at=fail_at))
    (folder / "in.jsonl").write_text("".join(f"{n}\n" for n in range(1000)))
    command = [sys.executable, "-m", "tidegate.engine.cli.main", "run", "app.py:topology", "--checkpoints", "state"]
    return subprocess.Popen(
        [*command, "--interval", "100ms", "--json"],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _read_until(process: subprocess.Popen[str], word: str) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        if word in line:
            return


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_the_command_line_with_a_last_checkpoint(number, tmp_path):
    """The first signal drains: everything read is committed, and the exit code is 0."""
    with _start(tmp_path) as process:
        _read_until(process, "checkpoint_completed")
        process.send_signal(number)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    lines = [line for part in (tmp_path / "out").glob("part-*") for line in part.read_text().split()]
    assert sorted(map(int, lines)) == [*range(1000)]
    assert "Traceback" not in errors


STUBBORN = """
from tidegate.connectors import SinkError, memory
from tidegate.engine import Topology

class Away(memory.ListSink):
    async def commit(self, context, committables):
        if committables:
            raise SinkError("the database is away")

topology = Topology("stubborn")
topology.source("numbers", memory.channel()).sink("out", memory.sink())
topology.source("more", memory.source([1, 2, 3])).sink("away", Away())
"""


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_second_signal_cancels_a_job_that_cannot_be_drained(number, code, tmp_path):
    """A sink that is away keeps a job from committing: the second signal ends it at once with 130 or 143."""
    (tmp_path / "app.py").write_text(STUBBORN)
    command = [sys.executable, "-m", "tidegate.engine.cli.main", "run", "app.py:topology", "--json"]
    with subprocess.Popen(
        [*command, "--interval", "50ms"], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            _read_until(process, "commit_retried")
            process.send_signal(number)
            _read_until(process, '"signal"')
            errors = _insist(process, number)
        finally:
            process.kill()
    assert process.returncode == code, errors
    assert "Traceback" not in errors


def _insist(process, number):
    """The signal once more, late enough not to count as the echo of the first; what the process says on stderr."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.communicate(timeout=0.2)
    process.send_signal(number)
    return process.communicate(timeout=60)[1]


@pytest.mark.slow
def test_an_error_in_user_code_ends_the_command_line_with_1(tmp_path):
    """The message names the operator, the record and the user's line; our own frames are not shown."""
    command = [sys.executable, "-m", "tidegate.engine.cli.main", "run", "app.py:topology"]
    with _start(tmp_path, fail_at=17) as first:
        first.kill()
        first.communicate(timeout=60)
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 1
    assert "operator 'work' failed on the record at" in ended.stderr
    assert "the user's own error" in ended.stderr
    assert "in work" in ended.stderr
    assert "runtime/" not in ended.stderr
