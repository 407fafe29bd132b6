"""Two processes on one checkpoint directory: the second is kept out, a superseded one cannot write."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tidegate.connectors import memory
from tidegate.engine import FencedError, JobStatus, RunConfig, Topology, restart, start
from tidegate.engine.checkpoint.storage import CheckpointStorage
from tidegate.engine.clock import SystemClock
from tidegate.engine.executor import InlineExecutor
from tidegate.engine.testing import BARRIER, CRASH, Pause, ScriptedSource, run_script

APP = """
from tidegate.connectors import files, formats
from tidegate.engine import Topology

topology = Topology("tail")
topology.source("lines", files.text("in.txt", follow=True)).sink("out", files.lines("out", formats.json()))
"""


def _topology(source: ScriptedSource[int]) -> Topology:
    topology = Topology("fenced")
    topology.source("numbers", source).sink("out", memory.sink())
    return topology


async def test_a_second_job_on_the_same_directory_is_fenced_and_the_first_goes_on(tmp_path):
    """The second job fails at once with a message that names the holder; the first one notices nothing."""
    config = RunConfig(checkpoints=tmp_path, state_backend="dict")
    source = ScriptedSource([1, 2, Pause(), 3])
    async with start(_topology(source), config) as first:
        await first.began.wait()
        with pytest.raises(FencedError, match=r"in use by process \d+ since .*; stop it or use another directory"):
            async with start(_topology(ScriptedSource([1])), config) as second:
                await second.wait()
        assert first.status is JobStatus.RUNNING
        assert await first.drain() is JobStatus.STOPPED


async def test_another_job_in_the_same_directory_is_no_trouble(tmp_path):
    """Jobs of other names have folders of their own."""
    source = ScriptedSource([1, Pause()])
    async with start(_topology(source), RunConfig(checkpoints=tmp_path, state_backend="dict")) as first:
        await first.began.wait()
        other = RunConfig(checkpoints=tmp_path, state_backend="dict", job="other")
        async with start(_topology(ScriptedSource([1])), other) as second:
            assert await second.wait() is JobStatus.FINISHED
        assert await first.drain() is JobStatus.STOPPED


async def test_an_attempt_that_was_taken_over_can_complete_no_checkpoint(tmp_path):
    """Where no lock reaches (object stores), the newer attempt's claim stops the older one; no restart follows."""
    source = ScriptedSource([1, 2, BARRIER, 3, BARRIER, 4])
    events: list[str] = []

    def on_event(name: str, facts: dict[str, object]) -> None:
        events.append(name)
        if name == "checkpoint_completed" and facts["checkpoint_id"] == 1:
            attempts = tmp_path / "fenced" / "attempts"
            newest = json.loads((attempts / "000001.json").read_bytes())
            (attempts / "000002.json").write_text(json.dumps({**newest, "attempt": 2}))

    config = RunConfig(
        checkpoints=tmp_path, checkpoint_interval="1h", state_backend="dict", restart=restart.fixed_delay(5, "0ms")
    )
    with pytest.raises(FencedError, match=r"has taken over .* attempt 1 may not write checkpoint 2"):
        await run_script(_topology(source), source, config, on_event=on_event)
    assert "job_restarting" not in events
    storage = CheckpointStorage(tmp_path, "fenced", InlineExecutor(), SystemClock())
    assert [info.checkpoint_id for info in await storage.list()] == [1]


async def test_a_process_that_was_taken_over_does_not_start_its_job_again(tmp_path):
    """It wakes and fails for some other reason: its restart must not throw out the newer process."""
    source = ScriptedSource([1, BARRIER, 2, CRASH, 3])
    events: list[str] = []

    def on_event(name: str, facts: dict[str, object]) -> None:
        events.append(name)
        if name == "checkpoint_completed" and facts["checkpoint_id"] == 1:
            attempts = tmp_path / "fenced" / "attempts"
            newest = json.loads((attempts / "000001.json").read_bytes())
            others = {**newest, "attempt": 2, "process": "another", "info": {"host": "elsewhere"}}
            (attempts / "000002.json").write_text(json.dumps(others))

    config = RunConfig(
        checkpoints=tmp_path, checkpoint_interval="1h", state_backend="dict", restart=restart.fixed_delay(5, "0ms")
    )
    with pytest.raises(
        FencedError, match=r"attempt 2 \(host elsewhere\) .* has taken over .* attempt 1 is not started again"
    ):
        await run_script(_topology(source), source, config, on_event=on_event)
    assert events.count("job_restarting") == 1
    assert sorted(path.name for path in (tmp_path / "fenced" / "attempts").iterdir()) == ["000001.json", "000002.json"]


def _start(folder: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tidegate.engine.cli.main", "run", "app.py:topology", "--checkpoints", "state"]
    return subprocess.Popen([*command, "--json"], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_a_second_process_ends_with_exit_code_3_and_one_line(tmp_path):
    """The command line says who holds the directory, without a traceback, and ends with 3."""
    (tmp_path / "app.py").write_text(APP)
    (tmp_path / "in.txt").write_text("one\ntwo\n")
    with _start(tmp_path) as first:
        assert first.stdout is not None
        for line in first.stdout:
            if "job_running" in line:
                break
        with _start(tmp_path) as second:
            _, errors = second.communicate(timeout=60)
        assert second.returncode == 3
        assert f"in use by process {first.pid} " in errors
        assert "Traceback" not in errors
        assert len(errors.strip().splitlines()) == 1
        first.send_signal(signal.SIGTERM)
        first.communicate(timeout=60)
    assert first.returncode == 0
    with _start(tmp_path) as third:
        assert third.stdout is not None
        for line in third.stdout:
            if "job_running" in line:
                break
        third.send_signal(signal.SIGTERM)
        third.communicate(timeout=60)
    assert third.returncode == 0
