"""The command line under its supervisor: worker and supervisor are killed and stopped, and results come exactly once."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

APP = """
from tidegate.connectors import files, formats, generator
from tidegate.engine import Topology

topology = Topology("counted")
numbers = topology.source("numbers", generator.records(lambda i: i, count={count}, type=int), rate_limit=1_500)
numbers.key_by(lambda n: n % 7).reduce(lambda a, b: a + b, name="sum").sink("out", files.lines("out", formats.json()))
"""
PATIENCE_S = 60


class Supervised:
    """`tidegate run --supervise`, and what it says."""

    def __init__(self, folder: Path, process: subprocess.Popen[str]) -> None:
        self.folder = folder
        self.process = process

    def until(self, name: str) -> dict[str, Any]:
        """The next event of this name."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            event: dict[str, Any] = json.loads(line)
            if event["event"] == name:
                return event
        raise AssertionError(f"no {name}: {(self.folder / 'errors').read_text()}")

    @property
    def worker(self) -> int:
        pid = self.process.pid
        (child,) = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return int(child)

    def ends(self) -> int:
        self.process.communicate(timeout=PATIENCE_S)
        return self.process.returncode


@contextmanager
def _supervised(folder: Path, *options: str, count: int = 1_000_000) -> Iterator[Supervised]:
    (folder / "app.py").write_text(APP.format(count=count))
    command = [sys.executable, "-m", "tidegate.engine.cli.main", "run", "app.py", "--checkpoints", "state", "--json"]
    command += ["--interval", "50ms", "--metrics-port", "none", "--supervise", *options]
    # Each start compiles nothing that the one before it has compiled.
    environ = os.environ | {"PYTHONPYCACHEPREFIX": str(folder / "bytecode"), "PYTHONDONTWRITEBYTECODE": ""}
    with (folder / "errors").open("w") as errors:
        process = subprocess.Popen(command, cwd=folder, env=environ, stdout=subprocess.PIPE, stderr=errors, text=True)
    with process:
        try:
            yield Supervised(folder, process)
        finally:
            process.kill()


def _sums(folder: Path) -> list[int]:
    return sorted(int(line) for part in folder.glob("out/part-*") for line in part.read_text().split())


def _expected(count: int) -> list[int]:
    sums = [0] * 7
    found = []
    for n in range(count):
        sums[n % 7] += n
        found.append(sums[n % 7])
    return sorted(found)


@pytest.mark.slow
def test_a_worker_that_is_killed_and_one_that_is_stopped_count_everything_once(tmp_path):
    """The supervisor starts it again each time, and ends with it."""
    with _supervised(tmp_path, "--supervise-timeout", "1s", count=3_000) as job:
        job.until("checkpoint_completed")
        for number in (signal.SIGKILL, signal.SIGSTOP):
            os.kill(job.worker, number)
            told = job.until("worker_restarting")
            assert (number.name in told["reason"]) is (number != signal.SIGSTOP), told
            assert job.until("job_running")["restored_from"] >= 1
        assert job.ends() == 0
    assert _sums(tmp_path) == _expected(3_000)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the worker drains within a second")
def test_no_worker_outlives_its_supervisor(tmp_path):
    """The kernel kills it; the next supervisor is not kept out by its lock, as one is beside a living one."""
    with _supervised(tmp_path) as job:
        job.until("checkpoint_completed")
        worker = job.worker
        job.process.kill()
        deadline = time.monotonic() + PATIENCE_S
        while Path(f"/proc/{worker}").exists() and time.monotonic() < deadline:
            time.sleep(0.01)
    with _supervised(tmp_path) as job:
        assert job.until("job_running")["restored_from"] >= 1
        with _supervised(tmp_path) as second:
            assert second.ends() == 3
        job.process.send_signal(signal.SIGTERM)
        assert job.ends() == 0
