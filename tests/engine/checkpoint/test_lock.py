"""The lock on a local checkpoint directory."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tidegate.engine.checkpoint.lock import DirectoryLock
from tidegate.engine.errors import CheckpointError, FencedError

HOLD = """
import sys
from pathlib import Path
from tidegate.engine.checkpoint.lock import DirectoryLock
lock = DirectoryLock(Path(sys.argv[1]), "job", 1_700_000_000_000)
lock.acquire()
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the lock."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / "job")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_a_second_lock_is_fenced(tmp_path: Path) -> None:
    """Also inside one process: two jobs of one name do not share a directory."""
    first, second = (DirectoryLock(tmp_path / "job", "job", 1_700_000_000_000) for _ in range(2))
    first.acquire()
    with pytest.raises(FencedError, match="of job 'job' is in use by process"):
        second.acquire()
    first.release()
    second.acquire()
    second.release()


def test_another_process_is_named(holder: subprocess.Popen[str], tmp_path: Path) -> None:
    """With its process id, since when, and what to do."""
    with pytest.raises(FencedError) as raised:
        DirectoryLock(tmp_path / "job", "job", 0).acquire()
    assert str(raised.value) == (
        f"checkpoint directory {tmp_path} of job 'job' is in use by process {holder.pid} "
        "since 2023-11-14 22:13:20 UTC; stop it or use another directory"
    )


def test_a_killed_process_gives_the_lock_back(holder: subprocess.Popen[str], tmp_path: Path) -> None:
    """By SIGKILL, without a chance to clean up."""
    holder.kill()
    holder.wait()
    lock = DirectoryLock(tmp_path / "job", "job", 0)
    lock.acquire()
    lock.release()


def test_a_lock_file_without_content_still_fences(tmp_path: Path) -> None:
    """The holder's name is a courtesy; on a full disk it may be missing."""
    lock = DirectoryLock(tmp_path / "job", "job", 0)
    lock.acquire()
    (tmp_path / "job/.lock").write_bytes(b"")
    with pytest.raises(FencedError, match="is in use by another process;"):
        DirectoryLock(tmp_path / "job", "job", 0).acquire()
    lock.release()


def test_releasing_twice_is_no_error(tmp_path: Path) -> None:
    """And releasing what was never held neither."""
    lock = DirectoryLock(tmp_path / "job", "job", 0)
    lock.release()
    lock.acquire()
    lock.release()
    lock.release()


def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    """A file stands in its place."""
    (tmp_path / "job").write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"cannot write to checkpoint directory .*make it writable or use"):
        DirectoryLock(tmp_path / "job", "job", 0).acquire()
