"""The folder for the databases of a job."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tidegate.engine import JobError, RunConfig
from tidegate.engine.working_directory import WorkingDirectory


def test_beside_local_checkpoints_what_was_left_is_cleared(tmp_path: Path) -> None:
    """The lock of the job keeps others out."""
    config = RunConfig(checkpoints=tmp_path)
    first = WorkingDirectory(config, "job")
    (first.path / "left").write_bytes(b"")
    second = WorkingDirectory(config, "job")
    assert second.path == first.path == tmp_path / "job" / "work"
    assert list(second.path.iterdir()) == []


def test_of_two_live_processes_each_has_its_own(tmp_path: Path) -> None:
    """In `state_dir`; both go when they are removed."""
    config = RunConfig(checkpoints="s3://bucket", state_dir=tmp_path / "state")
    first, second = WorkingDirectory(config, "job"), WorkingDirectory(config, "job")
    assert first.path.is_dir()
    assert second.path.is_dir()
    assert first.path != second.path
    first.remove()
    second.remove()
    assert list((tmp_path / "state").glob("tidegate-*")) == []


def test_what_a_dead_process_left_goes_with_the_next_start(tmp_path: Path) -> None:
    """Its lock went with it; the files that it kept for the next start stay."""
    config = RunConfig(checkpoints="s3://bucket", state_dir=tmp_path, local_recovery=True)
    dead = WorkingDirectory(config, "job")
    dead.copies.mkdir()
    (dead.copies / "content").write_bytes(b"kept")
    assert dead._lock is not None
    os.close(dead._lock)  # as the system does
    live = WorkingDirectory(config, "job")
    assert not dead.path.exists()
    assert (live.copies / "content").read_bytes() == b"kept"
    live.remove()
    assert (live.copies / "content").exists()


def test_a_folder_that_cannot_be_made_is_named_with_its_remedy(tmp_path: Path) -> None:
    """One clear error."""
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(JobError, match=r"cannot make a working directory in .*file: .*; set RunConfig\(state_dir="):
        WorkingDirectory(RunConfig(checkpoints="s3://bucket", state_dir=tmp_path / "file"), "job")
