"""The entries of a snapshot, whichever backend wrote it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from tidegate.engine.errors import StateError
from tidegate.engine.savepoint.write import write_portable
from tidegate.engine.state import DictBackend, RocksDBBackend, SnapshotFiles, StateBackend, StoreSnapshot
from tidegate.engine.state.entries import database_key, open_snapshot, read_items
from tidegate.engine.state.key_groups import encode_key, key_group
from tidegate.engine.testing.state_cluster import MAX_PARALLELISM, StateCluster
from tidegate.operators.state import KeyedTableState, LocalListState, MapState, WindowTableState

TOTALS: KeyedTableState[int] = KeyedTableState("totals", int)
WINDOWS: WindowTableState[int] = WindowTableState("windows", int)
SEEN: MapState[str, int] = MapState("seen", str, int)
CALLS: LocalListState[str] = LocalListState("calls", str)
KEYS = [f"key{n}" for n in range(40)]

encode = msgspec.msgpack.encode


@pytest.fixture(params=["dict", "rocksdb", "portable"])
def snapshot(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[StoreSnapshot, Path]:
    """A snapshot of forty keys in each kind of state."""
    backend: StateBackend = DictBackend() if request.param == "dict" else RocksDBBackend(1 << 20, 1 << 20)
    cluster = StateCluster(backend, tmp_path, (TOTALS, WINDOWS, SEEN, CALLS))
    for n, key in enumerate(KEYS):
        cluster.bind(TOTALS, key).put(key, n)
        cluster.bind(WINDOWS, key).open(-60)[key] = n
        cluster.bind(SEEN, key).put("m", n)
    cluster.all(CALLS)[0].items = ["a", "b"]
    ((found, folder),) = cluster.snapshot()
    cluster.close()
    if request.param == "portable":
        files = write_portable(SnapshotFiles(found, folder, (), {}), tmp_path / "portable", MAX_PARALLELISM)
        return files.snapshot, files.directory
    return found, folder


MIDDLES: dict[str, Any] = {"totals": None, "windows": -60, "seen": encode("m")}


@pytest.mark.parametrize("state", [*MIDDLES])
def test_every_entry_is_given_as_bytes(state: str, snapshot: tuple[StoreSnapshot, Path]) -> None:
    """Encoded key, namespace or encoded map key, stored value."""
    with open_snapshot(*snapshot) as files:
        found = list(files.entries(state))
    assert sorted(found) == sorted((encode(key), MIDDLES[state], encode(n)) for n, key in enumerate(KEYS))


@pytest.mark.parametrize("wanted", [(range(2, 5), MAX_PARALLELISM), (range(1), 3)], ids=str)
@pytest.mark.parametrize("state", [*MIDDLES])
def test_only_key_groups_that_are_wanted(
    state: str, wanted: tuple[range, int], snapshot: tuple[StoreSnapshot, Path]
) -> None:
    """Also of another number of key groups than was written."""
    with open_snapshot(*snapshot) as files:
        found = {msgspec.msgpack.decode(key) for key, _, _ in files.entries(state, wanted)}
    assert found == {key for key in KEYS if key_group(encode_key(key), wanted[1]) in wanted[0]}
    assert 0 < len(found) < len(KEYS)


@pytest.mark.parametrize("state", [*MIDDLES])
def test_entries_that_are_said_to_ascend_do(state: str, snapshot: tuple[StoreSnapshot, Path]) -> None:
    """By the keys of a database of that many key groups."""
    with open_snapshot(*snapshot) as files:
        assert files.ascending == (None if snapshot[0].backend == "dict" else MAX_PARALLELISM)
        if files.ascending is not None:
            raw = [database_key(key, middle, files.ascending) for key, middle, _ in files.entries(state)]
            assert raw == sorted(set(raw))


def test_items_of_a_local_list_are_given_in_order(snapshot: tuple[StoreSnapshot, Path]) -> None:
    """As bytes too."""
    assert read_items(*snapshot, "calls") == [encode("a"), encode("b")]


def test_an_unknown_backend_is_refused(tmp_path: Path) -> None:
    """A newer version wrote it."""
    with (
        pytest.raises(StateError, match="backend 'lmdb', which this version cannot read"),
        open_snapshot(StoreSnapshot("lmdb", "count", 0, (0, 128), ()), tmp_path),
    ):
        pass
