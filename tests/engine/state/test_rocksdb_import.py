"""Entries of any snapshot in a database: of dicts, of another number of key groups, of the portable format."""

from __future__ import annotations

import random
import tracemalloc
from pathlib import Path

import pytest
from tidegate.engine.errors import StateError
from tidegate.engine.savepoint.write import write_portable
from tidegate.engine.state import DictBackend, RocksDBBackend, SnapshotFiles, portable
from tidegate.engine.testing.state_cluster import MAX_PARALLELISM, StateCluster
from tidegate.operators.state import KeyedTableState, ValueState, WindowTableState

BACKEND = RocksDBBackend(block_cache_bytes=1 << 20, write_buffer_bytes=1 << 20)
TEXT: KeyedTableState[str] = KeyedTableState("text", str)
WINDOWS: WindowTableState[int] = WindowTableState("windows", int)
KEYS = range(5_000)


def _filled(folder: Path, backend: DictBackend | RocksDBBackend) -> StateCluster:
    cluster = StateCluster(backend, folder, [TEXT, WINDOWS])
    for key in KEYS:
        cluster.bind(TEXT, key).put(key, f"text {key}")
        cluster.bind(WINDOWS, key).open(key % 3)[key] = key
    return cluster


@pytest.mark.parametrize("max_parallelism", [MAX_PARALLELISM, 100])
@pytest.mark.parametrize("written_by", ["dict", "rocksdb", "portable"])
def test_what_another_wrote_is_restored(written_by: str, max_parallelism: int, tmp_path: Path) -> None:
    """Spread over three subtasks, windows known by their times."""
    cluster = _filled(tmp_path / "old", DictBackend() if written_by == "dict" else BACKEND)
    snapshots = cluster.snapshot()
    if written_by == "portable":
        ((snapshot, folder),) = snapshots
        files = write_portable(SnapshotFiles(snapshot, folder, (), {}), tmp_path / "portable", MAX_PARALLELISM)
        snapshots = [(files.snapshot, files.directory)]
    found = StateCluster(BACKEND, tmp_path / "new", [TEXT, WINDOWS], max_parallelism=max_parallelism)
    found.restore(snapshots, 3)
    assert sorted(pair for table in found.all(TEXT) for pair in table.items()) == [(k, f"text {k}") for k in KEYS]
    assert [sorted(table.namespaces()) for table in found.all(WINDOWS)] == [[0, 1, 2]] * 3
    assert sorted(key for table in found.all(WINDOWS) for key in table.read(1)) == [k for k in KEYS if k % 3 == 1]
    for key in KEYS[::500]:
        assert found.bind(TEXT, key).get(key) == f"text {key}"
    found.restore(found.snapshot(), 2)  # what was taken in is state like any other
    assert found.bind(TEXT, 7).get(7) == "text 7"
    found.close()
    cluster.close()


def test_values_are_upgraded_on_the_way(tmp_path: Path) -> None:
    """Each once."""
    cluster = StateCluster(DictBackend(), tmp_path / "old", [ValueState("n", int)])
    for key in range(20):
        cluster.bind(ValueState("n", int), key).set(key)
    upgraded: ValueState[str] = ValueState("n", str, version=2, upgrade=lambda version, value: f"{version}:{value}")
    found = StateCluster(BACKEND, tmp_path / "new", [upgraded], max_parallelism=7)
    found.restore(cluster.snapshot(), 2)
    assert [found.bind(upgraded, key).get() for key in range(20)] == [f"1:{key}" for key in range(20)]
    found.close()


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    """And nothing is half restored."""
    cluster = _filled(tmp_path / "old", BACKEND)
    ((snapshot, folder),) = cluster.snapshot()
    files = write_portable(SnapshotFiles(snapshot, folder, (), {}), tmp_path / "portable", MAX_PARALLELISM)
    path = files.directory / files.files[0]
    path.write_bytes(path.read_bytes()[:-1])
    found = StateCluster(BACKEND, tmp_path / "new", [TEXT, WINDOWS])
    with pytest.raises(StateError, match=path.name):
        found.restore([(files.snapshot, files.directory)], 1)
    cluster.close()


@pytest.mark.slow
@pytest.mark.parametrize("max_parallelism", [MAX_PARALLELISM, 7])
def test_memory_is_bounded_on_the_way(max_parallelism: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """State of 16 MB is written and restored with a small part of it in Python's memory."""
    monkeypatch.setattr(portable, "FILE_BYTES", 1 << 20)
    noise = random.Random("memory")
    cluster = StateCluster(BACKEND, tmp_path / "old", [TEXT], memory_budget_bytes=1 << 20)
    for key in range(1_000):
        cluster.bind(TEXT, key).put(key, noise.randbytes(8 << 10).hex())
        cluster.relieve()
    ((snapshot, folder),) = cluster.snapshot()
    cluster.close()
    found = StateCluster(BACKEND, tmp_path / "new", [TEXT], max_parallelism=max_parallelism)
    tracemalloc.start()
    files = write_portable(SnapshotFiles(snapshot, folder, (), {}), tmp_path / "portable", MAX_PARALLELISM)
    written_peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.reset_peak()
    found.restore([(files.snapshot, files.directory)], 1)
    restored_peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(files.files) > 5
    assert written_peak < 4 << 20
    assert restored_peak < 4 << 20
    assert sum(1 for _ in found.all(TEXT)[0].items()) == 1_000
    found.close()
