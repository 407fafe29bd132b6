"""A checkpoint that the disk does not take fails alone: the job goes on, older checkpoints stay."""

from __future__ import annotations

import os
import re
import resource
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tidegate.connectors import memory
from tidegate.engine import CheckpointError, JobStatus, RunConfig, Topology, restart
from tidegate.engine.testing import BARRIER, CRASH, ScriptedSource, run_script
from tidegate.operators import ProcessFunction, ValueState

PADDING = 300_000
"""Bytes that each key's state takes, so that every snapshot is larger than what the disk has left."""


class Padded(ProcessFunction[str, tuple[str, int]]):
    """Counts, and keeps a large state."""

    COUNT = ValueState("count", int)
    PADDING = ValueState("padding", bytes)

    def states(self) -> Any:
        return [self.COUNT, self.PADDING]

    def open(self, context: Any) -> None:
        self.count, self.padding = context.state(self.COUNT), context.state(self.PADDING)

    def process(self, value: str, context: Any) -> Any:
        self.count.set((self.count.get() or 0) + 1)
        # Not compressible, and another one each time.
        self.padding.set(os.urandom(PADDING))
        yield (value, self.count.get())


EXPECTED = [("a", 1), ("a", 2), ("a", 3), ("a", 4), ("a", 5), ("b", 1), ("b", 2)]


async def _run_through(
    checkpoints: Path, backend: str, fail: Callable[[], None], mend: Callable[[], None], reason: str
) -> None:
    """The first checkpoint succeeds, the next is taken on a disk that fails; then the disk is mended and the job
    crashes."""
    source = ScriptedSource(["a", "b", BARRIER, "a", "a", BARRIER, "b", CRASH, "a", BARRIER, "a", CRASH])
    sink = memory.sink()
    topology = Topology("padded")
    topology.source("letters", source).key_by(lambda s: s, name="by").process(Padded(), name="count").sink("out", sink)
    failures: list[str] = []
    restored: list[Any] = []

    def on_event(name: str, facts: dict[str, Any]) -> None:
        if name == "checkpoint_completed" and facts["checkpoint_id"] == 1:
            fail()
        elif name == "checkpoint_failed":
            failures.append(facts["reason"])
            assert "0000000001" in os.listdir(checkpoints / "padded" / "checkpoints")
            mend()
        elif name == "job_running":
            restored.append(facts["restored_from"])

    config = RunConfig(
        checkpoints=checkpoints,
        checkpoint_interval="1h",
        state_backend=backend,  # type: ignore[arg-type]  # one of the two, by the parameter
        restart=restart.fixed_delay(10, "0ms"),
    )
    try:
        assert await run_script(topology, source, config, on_event=on_event) is JobStatus.FINISHED
    finally:
        mend()
    assert len(failures) == 1
    assert re.search(reason, failures[0]), failures[0]
    assert restored[1] == 1
    assert sorted(sink.values) == EXPECTED


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder on a disk of 48 megabytes."""
    folder = tmp_path / "small"
    folder.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=48m", "tidegate-test", folder], capture_output=True, check=False
    )
    if made.returncode:
        pytest.skip("mounting is not allowed here; the file size limit stands in for a full disk")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


@pytest.mark.parametrize("backend", ["dict", "rocksdb"])
async def test_a_full_disk_fails_the_checkpoint_and_not_the_job(backend, small_disk):
    """Nothing fits any more: the failure is told, the job goes on, and the checkpoint before is restored later."""
    ballast = small_disk / "ballast"

    def fill() -> None:
        with ballast.open("wb", buffering=0) as file:
            try:
                while file.write(bytes(65_536)):
                    pass
            except OSError:
                return

    await _run_through(
        small_disk, backend, fill, lambda: ballast.unlink(missing_ok=True), "(?i)disk is full|no space left"
    )


@pytest.mark.parametrize("backend", ["dict", "rocksdb"])
async def test_a_file_that_may_not_grow_fails_the_checkpoint_and_not_the_job(backend, tmp_path):
    """The limit on the size of files is met: as with a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (PADDING // 2, before[1]))

    def lift() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)

    await _run_through(tmp_path / "state", backend, limit, lift, "(?i)too large|larger than")


# Contents are staged first. In their own folder one whose prefix is there already would fail as from another mount.
@pytest.mark.parametrize("place", ["checkpoints", "staging"])
async def test_a_read_only_folder_fails_the_checkpoint_and_not_the_job(place, tmp_path):
    """Manifests, or contents, cannot be written for a while: the checkpoint is given up and the job goes on."""
    folder = tmp_path / "state" / "padded" / place
    mounted: list[Path] = []

    def protect() -> None:
        bind = subprocess.run(["mount", "--bind", folder, folder], capture_output=True, check=False)
        if bind.returncode == 0:
            mounted.append(folder)
            subprocess.run(["mount", "-o", "remount,bind,ro", folder], check=True)
        elif os.getuid() == 0:
            pytest.skip("root may write everywhere, and mounting is not allowed here")
        else:
            for inner in (folder, *(path for path in folder.rglob("*") if path.is_dir())):
                inner.chmod(0o555)

    def mend() -> None:
        while mounted:
            subprocess.run(["umount", "-l", mounted.pop()], check=True)
        if folder.exists():
            for inner in (folder, *(path for path in folder.rglob("*") if path.is_dir())):
                inner.chmod(0o755)

    await _run_through(tmp_path / "state", "dict", protect, mend, "read-only")


async def test_a_checkpoint_folder_that_cannot_be_made_is_one_clear_error(tmp_path):
    """A path that leads through a file is refused before anything runs."""
    (tmp_path / "file").write_text("here first")
    sink = memory.sink()
    topology = Topology("nowhere")
    topology.source("numbers", memory.source([1])).sink("out", sink)
    source = ScriptedSource([])
    with pytest.raises(CheckpointError, match=r"cannot write to checkpoint directory .*file/state"):
        await run_script(topology, source, RunConfig(checkpoints=tmp_path / "file" / "state"))
    assert sink.values == []
