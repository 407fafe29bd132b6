"""The rocksdb backend keeps the contract of state backends, and what it promises beyond it."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tidegate.engine.errors import StateError
from tidegate.engine.state import RocksDBBackend, StateBackend, finish_at_once
from tidegate.engine.testing.state_cases import KEYED, LOCAL, MAP, WINDOWS
from tidegate.engine.testing.state_cluster import StateCluster
from tidegate.engine.testing.state_suite import StateBackendSuite
from tidegate.operators.state import KeyedTableState, StateDescriptor

BACKEND = RocksDBBackend(block_cache_bytes=1 << 20, write_buffer_bytes=1 << 20)
TEXT: KeyedTableState[str] = KeyedTableState("text", str)


class TestContract(StateBackendSuite):
    """Every test of the suite, with the rocksdb backend."""

    def make_backend(self) -> StateBackend:
        return BACKEND


def _cluster(folder: Path, *states: StateDescriptor[Any], budget: int = 1 << 30) -> StateCluster:
    return StateCluster(BACKEND, folder, states, memory_budget_bytes=budget)


def test_sst_files_are_shared_between_snapshots(tmp_path: Path) -> None:
    """What has not changed is the same file, by name and content, in the next snapshot."""
    cluster = _cluster(tmp_path, KEYED)
    for key in range(1000):
        cluster.bind(KEYED, key).put(key, [key])
    first = finish_at_once(cluster.stores[0].begin_snapshot(tmp_path / "first"))
    cluster.bind(KEYED, 1).load(1).append(1)
    second = finish_at_once(cluster.stores[0].begin_snapshot(tmp_path / "second"))
    shared = set(first.immutable.items()) & set(second.immutable.items())
    assert shared
    for name, _ in shared:
        assert (tmp_path / "first" / name).samefile(tmp_path / "second" / name)
    assert len(second.immutable) > len(shared)
    cluster.close()


def test_an_operator_with_local_state_only_needs_no_database(tmp_path: Path) -> None:
    """Its snapshot is two small files."""
    cluster = _cluster(tmp_path, LOCAL)
    cluster.all(LOCAL)[0].items = ["a"]
    files = finish_at_once(cluster.stores[0].begin_snapshot(tmp_path / "snapshot"))
    assert not any(name.endswith(".sst") for name in files.files)
    cluster.restore([(files.snapshot, files.directory)], 1)
    assert cluster.all(LOCAL)[0].items == ["a"]
    cluster.close()


def test_memory_stays_near_the_budget(tmp_path: Path) -> None:
    """However much state there is, and nothing is lost."""
    cluster = _cluster(tmp_path, KEYED, WINDOWS, MAP, budget=100_000)
    store = cluster.stores[0]
    for key in range(2000):
        cluster.bind(KEYED, key).put(key, [key])
        cluster.bind(WINDOWS, key).open(key % 7)[key] = [key]
        cluster.bind(MAP, key).put("x", key)
        if key % 100 == 0:
            cluster.relieve()
            assert store.memory_bytes <= 100_000
    assert dict(cluster.bind(KEYED, 0).items()) == {key: [key] for key in range(2000)}
    assert cluster.bind(WINDOWS, 0).take(3) == {key: [key] for key in range(3, 2000, 7)}
    assert [cluster.bind(MAP, key).get("x") for key in range(2000)] == list(range(2000))
    cluster.close()


def test_growing_values_are_noticed(tmp_path: Path) -> None:
    """A list that grows in place takes a store over its budget."""
    cluster = _cluster(tmp_path, KEYED, budget=1_000_000)
    store = cluster.stores[0]
    cluster.bind(KEYED, 0).put(0, [])
    assert not store.over_budget
    cluster.bind(KEYED, 0).live[0].extend(range(1000, 101_000))
    assert any(store.over_budget for _ in range(100))
    cluster.close()


def test_a_pending_snapshot_allows_twice_the_budget(tmp_path: Path) -> None:
    """The store may not write meanwhile."""
    cluster = _cluster(tmp_path, TEXT, budget=100_000)
    store = cluster.stores[0]
    for key in range(80):
        cluster.bind(TEXT, key).put(key, "x" * 1500)
    pending = store.begin_snapshot(tmp_path / "snapshot")
    pending.advance(10)
    assert store.memory_bytes > 100_000
    assert store.drop_unchanged()
    assert store.memory_bytes > 100_000
    finish_at_once(pending)
    assert store.over_budget
    store.evict()
    assert not store.over_budget
    cluster.close()


def test_a_directory_in_use_is_refused(tmp_path: Path) -> None:
    """State of another run is never mixed in."""
    cluster = _cluster(tmp_path, KEYED)
    spec = dataclasses.replace(cluster.spec(0, 1), directory=tmp_path / "1")
    for make in (lambda: BACKEND.create(spec), lambda: BACKEND.restore(spec, [])):
        with pytest.raises(StateError, match="already holds state"):
            make()
    cluster.close()


def test_a_snapshot_of_an_unknown_backend_is_refused(tmp_path: Path) -> None:
    """The message says which backend wrote it."""
    cluster = _cluster(tmp_path, KEYED)
    snapshots = [(msgspec.structs.replace(snapshot, backend="lmdb"), folder) for snapshot, folder in cluster.snapshot()]
    with pytest.raises(StateError, match="backend 'lmdb', which this version cannot read"):
        cluster.restore(snapshots, 1)


@pytest.mark.parametrize("parallelism", [1, 2])
@pytest.mark.parametrize("damage", ["corrupt", "missing", "truncated"])
def test_a_damaged_file_is_an_error_and_never_wrong_state(tmp_path: Path, damage: str, parallelism: int) -> None:
    """At the restore, or when the damaged part is first read."""
    cluster = _cluster(tmp_path, TEXT)
    for key in range(500):
        cluster.bind(TEXT, key).put(key, f"value {key} " * 20)
    snapshots = cluster.snapshot()
    for path in snapshots[0][1].glob("*.sst"):
        data = path.read_bytes()
        path.unlink()
        if damage == "corrupt":
            path.write_bytes(data[:100] + bytes(255 - byte for byte in data[100:200]) + data[200:])
        elif damage == "truncated":
            path.write_bytes(data[: len(data) // 2])
    with pytest.raises(StateError, match="restore a checkpoint"):
        cluster.restore(snapshots, parallelism)
        dict(cluster.bind(TEXT, 0).items())
    cluster.close()


def test_a_failed_snapshot_leaves_the_store_working(tmp_path: Path) -> None:
    """The directory cannot be made; the next snapshot holds everything."""
    cluster = _cluster(tmp_path, KEYED)
    cluster.bind(KEYED, "a").put("a", [1])
    (tmp_path / "file").write_text("")
    with pytest.raises(StateError, match="file"):
        finish_at_once(cluster.stores[0].begin_snapshot(tmp_path / "file" / "snapshot"))
    cluster.bind(KEYED, "b").put("b", [2])
    cluster.restore(cluster.snapshot(), 1)
    assert dict(cluster.bind(KEYED, "a").items()) == {"a": [1], "b": [2]}
    cluster.close()


def test_the_size_on_disk_is_known_after_a_snapshot(tmp_path: Path) -> None:
    """Nothing before, something after, and after a restore."""
    cluster = _cluster(tmp_path, KEYED)
    assert cluster.stores[0].disk_bytes == 0
    cluster.bind(KEYED, 1).put(1, [1])
    cluster.restore(cluster.snapshot(), 1)
    assert cluster.stores[0].disk_bytes > 0
    cluster.close()
    cluster.close()
