"""What a job tells the process that watches it."""

from __future__ import annotations

import asyncio
import io
import os
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tidegate.connectors import memory
from tidegate.engine import ConfigError, JobStatus, OperatorError, RunConfig, Topology, run
from tidegate.engine.clock import SystemClock
from tidegate.engine.supervised import SUPERVISED, Supervised


class Watcher:
    """Listens as systemd does."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "notify"
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(self.path))
        self.socket.setblocking(False)

    def heard(self) -> list[str]:
        lines = []
        while True:
            try:
                lines.append(self.socket.recv(4096).decode())
            except BlockingIOError:
                return lines


@pytest.fixture
def watcher() -> Iterator[Watcher]:
    """A socket that is listened on, in a folder whose name is short enough for one."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        listening = Watcher(Path(folder))
        with listening.socket:
            yield listening


def test_without_a_watcher_nothing_is_told():
    """The usual case."""
    assert Supervised.of({}) == Supervised()


def test_systemd_is_told_that_the_job_runs_and_stops(watcher, monkeypatch, tmp_path):
    """READY=1 when it runs, not when it is being restored."""
    monkeypatch.setenv("NOTIFY_SOCKET", str(watcher.path))
    order: list[str] = []

    def on_event(name: str, facts: dict[str, Any]) -> None:
        order.extend([name, *watcher.heard()])

    topology = Topology("told")
    topology.source("numbers", memory.source([1])).sink("out", memory.sink())
    run(topology, RunConfig(checkpoints=tmp_path), stream=io.StringIO(), on_event=on_event)
    order += watcher.heard()
    assert [line for line in order if "=" in line] == ["READY=1", "STOPPING=1"]
    assert order[0] == "job_running"


def test_restarts_of_the_process_are_counted(watcher, monkeypatch):
    """And the time from the death of the one before to running again."""
    monkeypatch.setenv("NOTIFY_SOCKET", str(watcher.path))
    monkeypatch.setenv(SUPERVISED, f"{os.getppid()} 3 {SystemClock().monotonic() - 5:.3f}")
    out = io.StringIO()
    topology = Topology("told")
    topology.source("numbers", memory.source([1])).sink("out", memory.sink())
    run(topology, stream=out, json=True)
    assert '"restarts":3' in out.getvalue()


async def test_signs_of_life_come_in_a_quarter_of_the_time_that_is_waited_for_one(watcher):
    """Twice would be enough."""
    watched = Supervised.of({"NOTIFY_SOCKET": str(watcher.path), "WATCHDOG_USEC": "20000"})
    assert watched.interval_s == 0.005
    async with watched.signs_of_life(SystemClock(), lambda: None):
        loop = asyncio.get_running_loop()
        assert [await loop.sock_recv(watcher.socket, 100) for _ in range(2)] == [b"WATCHDOG=1"] * 2


async def test_a_supervisor_that_is_gone_is_noticed(tmp_path):
    """Where the kernel does not end the worker with it."""
    environ = {"NOTIFY_SOCKET": str(tmp_path / "gone"), SUPERVISED: f"{os.getppid()} 0"}
    abandoned = asyncio.Event()
    async with Supervised.of(environ).signs_of_life(SystemClock(), abandoned.set):
        await abandoned.wait()


async def test_systemd_may_be_away_for_a_while(tmp_path):
    """It is no parent whose end would be ours."""
    environ = {"NOTIFY_SOCKET": str(tmp_path / "gone"), "WATCHDOG_USEC": "4000"}
    abandoned = asyncio.Event()
    async with Supervised.of(environ).signs_of_life(SystemClock(), abandoned.set) as tell:
        await asyncio.sleep(0.01)
        tell("READY=1")
    assert not abandoned.is_set()


def test_a_watcher_that_does_not_read_holds_nothing_up(watcher, monkeypatch):
    """Its queue is full: what cannot be told is not told."""
    watched = Supervised.of({"NOTIFY_SOCKET": str(watcher.path)})

    async def tell_often() -> None:
        async with watched.signs_of_life(SystemClock(), lambda: None) as tell:
            for _ in range(5_000):
                tell("STATUS=busy")

    asyncio.run(tell_often())
    assert 0 < len(watcher.heard()) < 5_000


def test_addresses_without_a_file_are_written_with_an_at_sign():
    """As systemd has them."""
    assert Supervised.of({"NOTIFY_SOCKET": "@one"}).address == "\0one"


def test_what_is_meant_for_another_process_is_left_alone(tmp_path):
    """A worker's own children inherit its environment."""
    environ = {"NOTIFY_SOCKET": "/n", "WATCHDOG_USEC": "1000", "WATCHDOG_PID": "1", SUPERVISED: "1 7 5.0"}
    assert Supervised.of(environ) == Supervised("/n")


def test_a_watchdog_time_that_is_none_is_refused():
    """It names the variable."""
    with pytest.raises(ConfigError, match="WATCHDOG_USEC: 'soon'"):
        Supervised.of({"WATCHDOG_USEC": "soon"})


def test_a_job_that_is_abandoned_drains(tmp_path, monkeypatch):
    """It ends in order, and at once if it has not begun."""
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "gone"))
    monkeypatch.setenv(SUPERVISED, f"{os.getppid()} 0")
    sink = memory.sink()
    topology = Topology("abandoned")
    topology.source("numbers", memory.source([*range(100_000)])).sink("out", sink)
    config = RunConfig(checkpoints=tmp_path / "state", max_batch=10)
    assert run(topology, config, stream=io.StringIO()) is JobStatus.STOPPED
    assert sink.values == [*range(len(sink.values))]
    assert len(sink.values) < 100_000


def test_a_job_that_fails_under_a_watcher_raises_what_it_raises_without_one(watcher, monkeypatch):
    """The exit code depends on it."""
    monkeypatch.setenv("NOTIFY_SOCKET", str(watcher.path))
    monkeypatch.setenv("WATCHDOG_USEC", "1000000")
    topology = Topology("failing")
    topology.source("numbers", memory.source([0])).map(lambda n: 1 // n, name="divide").sink("out", memory.sink())
    with pytest.raises(OperatorError, match="'divide' failed"):
        run(topology, stream=io.StringIO())
