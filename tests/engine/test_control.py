"""Steering a running job from another process."""

import asyncio
import json
import os
import socket
from pathlib import Path
from typing import Any

import pytest
from tidegate.engine.control import (
    NOTE_NAME,
    SOCKET_NAME,
    ControlError,
    ask,
    local_directory,
    running_jobs,
    serve_control,
)
from tidegate.engine.errors import CheckpointError
from tidegate.engine.metrics import JobMeasures
from tidegate.engine.testing.clock import ManualClock


class FakeJob:
    """A job that notes what it is told."""

    status = "running"

    def __init__(self) -> None:
        self.measures = JobMeasures("flights")
        self.told: list[Any] = []
        self.draining = asyncio.Event()
        self.stuck = asyncio.Event()

    def why_waiting(self) -> list[str]:
        return []

    async def savepoint(self, name: str) -> int:
        if name == "taken":
            raise CheckpointError("savepoint 'taken' exists")
        self.told.append(("savepoint", name))
        return 7

    async def stop(self, savepoint: str | None = None) -> None:
        self.told.append(("stop", savepoint))

    async def drain(self) -> None:
        self.told.append("drain")
        self.draining.set()
        await self.stuck.wait()

    async def cancel(self) -> None:
        self.told.append("cancel")


async def told(folder: Path, **request: Any) -> dict[str, Any]:
    """Ask as another process does; in a thread, for it blocks."""
    return await asyncio.to_thread(ask, folder, request, 5.0)


async def test_a_job_obeys(tmp_path: Path) -> None:
    """Every command reaches the job, with its argument."""
    job, folder = FakeJob(), tmp_path / "flights"
    async with serve_control(job, folder, ManualClock()):
        status = await told(folder, command="status")
        assert (status["status"], status["measures"]["job"]) == ("running", "flights")
        assert (await told(folder, command="savepoint", name="s1"))["checkpoint_id"] == 7
        assert (await told(folder, command="stop", savepoint="s2"))["ended"] is True
        await told(folder, command="cancel")
    assert job.told == [("savepoint", "s1"), ("stop", "s2"), "cancel"]


async def test_a_refusal_comes_back_as_an_error(tmp_path: Path) -> None:
    """The job's own message, or what is wrong with the request."""
    folder = tmp_path / "flights"
    async with serve_control(FakeJob(), folder, ManualClock()):
        with pytest.raises(ControlError, match="savepoint 'taken' exists"):
            await told(folder, command="savepoint", name="taken")
        with pytest.raises(ControlError, match="a savepoint needs a name"):
            await told(folder, command="savepoint")
        with pytest.raises(ControlError, match="unknown command 'fly'"):
            await told(folder, command="fly")
        with pytest.raises(ControlError, match="a request is a JSON object"):
            await told(folder, no="command")


async def test_a_job_that_is_gone_before_it_can_answer_has_ended(tmp_path: Path) -> None:
    """The request was taken; the end of the connection is the answer."""
    job, folder = FakeJob(), tmp_path / "flights"
    async with asyncio.TaskGroup() as group:
        async with serve_control(job, folder, ManualClock()):
            asking = group.create_task(told(folder, command="drain"))
            await job.draining.wait()
            job.stuck.set()
    assert asking.result() == {"ok": True, "ended": True}


async def test_nothing_is_left_when_the_block_ends(tmp_path: Path) -> None:
    """Neither the socket nor an asyncio task of a client that says nothing."""
    folder = tmp_path / "flights"
    async with serve_control(FakeJob(), folder, ManualClock()) as path:
        assert path.stat().st_mode & 0o777 == 0o600
        _, writer = await asyncio.open_unix_connection(path)
        writer.close()
        await writer.wait_closed()
    assert list(folder.iterdir()) == []
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_path_too_long_for_a_socket_is_replaced(tmp_path: Path) -> None:
    """A note in the job's folder says where it is."""
    folder = tmp_path / ("deep" * 30) / "flights"
    async with serve_control(FakeJob(), folder, ManualClock()) as path:
        assert len(os.fsencode(path)) <= 100
        assert running_jobs(folder.parent) == [folder]
        assert (await told(folder, command="status"))["ok"] is True
    assert not path.exists()
    assert not (folder / NOTE_NAME).exists()


async def test_the_socket_of_a_killed_job_is_replaced(tmp_path: Path) -> None:
    """The lock says that nobody serves it any more."""
    folder = tmp_path / "flights"
    folder.mkdir()
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(folder / SOCKET_NAME))
    with pytest.raises(ControlError, match="no job is running"):
        await told(folder, command="status")
    async with serve_control(FakeJob(), folder, ManualClock()):
        assert (await told(folder, command="status"))["ok"] is True


async def test_noise_is_answered_and_does_no_harm(tmp_path: Path) -> None:
    """A line that is no request, and one far too long."""
    folder = tmp_path / "flights"
    async with serve_control(FakeJob(), folder, ManualClock()) as path:
        for noise in (b"hello\n", b"x" * 200_000 + b"\n"):
            reader, writer = await asyncio.open_unix_connection(path)
            writer.write(noise)
            answer = await reader.read()
            writer.close()
            assert not answer or json.loads(answer)["ok"] is False
        assert (await told(folder, command="status"))["ok"] is True


def test_only_a_directory_of_this_machine_can_hold_a_socket() -> None:
    """URLs of stores cannot."""
    assert local_directory("file:///a/b") == Path("/a/b")
    assert local_directory(Path("a")) == Path("a")
    assert local_directory("s3://bucket/a") is None
