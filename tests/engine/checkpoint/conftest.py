"""What the tests of checkpoints share: manifests, storages and snapshots made in one line."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tidegate.engine.checkpoint.manifest import FileEntry, Manifest, OperatorEntry, SubtaskState
from tidegate.engine.checkpoint.storage import CheckpointStorage
from tidegate.engine.executor import InlineExecutor, ThreadExecutor
from tidegate.engine.state.backend import SnapshotFiles, StateSchema, StoreSnapshot
from tidegate.engine.testing import ManualClock

MakeManifest = Callable[..., Manifest]
OpenStorage = Callable[..., CheckpointStorage]
MakeSnapshot = Callable[..., SnapshotFiles]


def _snapshot(
    operator_id: str = "count", subtask: int = 0, key_groups: tuple[int, int] = (0, 128), kind: str = "keyed"
) -> StoreSnapshot:
    return StoreSnapshot("dict", operator_id, subtask, key_groups, (StateSchema("total", kind, 1, ("int",)),))


@pytest.fixture
def make_store_snapshot() -> Callable[..., StoreSnapshot]:
    """Makes descriptions of snapshots: `make_store_snapshot("count", subtask=1, key_groups=(0, 64))`."""
    return _snapshot


@pytest.fixture
def make_manifest() -> MakeManifest:
    """Makes manifests: `make_manifest(7, files=[...])`; further arguments are attributes."""

    def make(checkpoint_id: int, files: Any = (), **attributes: Any) -> Manifest:
        entries = tuple(f if isinstance(f, FileEntry) else FileEntry(f, 1, f[0] * 64) for f in files)
        values: dict[str, Any] = {
            "job": "job",
            "topology": "flights",
            "topology_version": "1",
            "fingerprint": "abc",
            "checkpoint_id": checkpoint_id,
            "attempt": 1,
            "triggered_at_ms": 1_000,
            "completed_at_ms": 1_050,
            "max_parallelism": 128,
        }
        if entries:
            state = SubtaskState(_snapshot(), entries)
            values["operators"] = {"count": OperatorEntry("aggregate", 1, (state,))}
        if "name" in attributes:
            values["kind"] = "savepoint"
        return Manifest(**(values | attributes))

    return make


@pytest.fixture
def clock() -> ManualClock:
    """A clock that stands still."""
    return ManualClock()


@pytest.fixture
def open_storage(tmp_path: Path, clock: ManualClock) -> Iterator[OpenStorage]:
    """Opens storages in the test's own directory (or elsewhere, with `location`) and lets go of them at the
    end."""
    opened: list[tuple[CheckpointStorage, Any]] = []

    def open_one(location: Any = None, *, threads: int = 0, job: str = "job", **more: Any) -> CheckpointStorage:
        executor = ThreadExecutor(threads) if threads else InlineExecutor()
        location = tmp_path / "state" if location is None else location
        storage = CheckpointStorage(location, job, executor, clock, **more)
        opened.append((storage, executor))
        return storage

    yield open_one
    for storage, executor in opened:
        storage.unlock()
        executor.close()


@pytest.fixture
def make_snapshot(tmp_path: Path) -> MakeSnapshot:
    """Makes snapshots on disk: `make_snapshot({"a.sst": b"..."}, immutable=["a.sst"])`, each in a new
    directory."""
    made = 0

    def make(contents: dict[str, bytes], immutable: Any = ()) -> SnapshotFiles:
        nonlocal made
        made += 1
        directory = tmp_path / f"snapshot-{made}"
        directory.mkdir()
        for name, content in contents.items():
            (directory / name).parent.mkdir(parents=True, exist_ok=True)
            (directory / name).write_bytes(content)
        return SnapshotFiles(_snapshot(), directory, tuple(contents), {name: f"id-{name}" for name in immutable})

    return make
