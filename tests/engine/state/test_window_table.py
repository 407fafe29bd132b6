"""The cache of a window table knows its namespaces and reads ranges, not windows it has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tidegate.engine.errors import StateError
from tidegate.engine.state import RocksDBBackend
from tidegate.engine.state.namespaces import namespace_of
from tidegate.engine.state.window_table import RocksWindowTable
from tidegate.engine.testing.state_cases import WINDOWS
from tidegate.engine.testing.state_cluster import StateCluster, finished

BACKEND = RocksDBBackend(block_cache_bytes=1 << 20, write_buffer_bytes=1 << 20)


@pytest.fixture
def cluster(tmp_path: Path) -> Any:
    cluster = StateCluster(BACKEND, tmp_path, [WINDOWS], memory_budget_bytes=1)
    yield cluster
    cluster.close()


def _table(cluster: StateCluster) -> RocksWindowTable:
    table = cluster.bind(WINDOWS, 0)
    assert isinstance(table, RocksWindowTable)
    return table


def test_a_window_that_opens_and_closes_between_flushes_never_reaches_the_database(cluster: StateCluster) -> None:
    """Neither as entries nor as deletions."""
    table = _table(cluster)
    table.open(60)["a"] = [1]
    assert table.take(60) == {"a": [1]}
    cluster.snapshot()
    assert table.column.first() is None
    assert table.column.estimated_keys == 0


def test_the_loader_of_a_window_finds_what_is_not_live(cluster: StateCluster) -> None:
    """Of a fresh window it only looks at the key; of one that was snapshotted or dropped from memory it brings the entry."""
    table = _table(cluster)
    table.open(60)["a"] = [1]
    assert table.loader(60) != table.load
    assert table.loader(60)(60, "b") is None
    with pytest.raises(StateError, match="holds a float"):
        table.loader(60)(60, 1.5)
    cluster.snapshot()
    assert table.loader(60)(60, "a") == [1]
    cluster.relieve()
    assert table.loader(60)(60, "a") == [1]


def test_a_taken_window_can_be_opened_again(cluster: StateCluster) -> None:
    """What was in it before does not come back, whatever is flushed or evicted in between."""
    table = _table(cluster)
    for key in range(200):
        table.open(60)[key] = [key]
    cluster.relieve()
    assert len(table.take(60)) == 200
    table.open(60)["new"] = [1]
    cluster.relieve()
    assert table.take(60) == {"new": [1]}
    assert table.first() is None


def test_a_dropped_window_is_not_read(cluster: StateCluster) -> None:
    """It is deleted by range, and its neighbours stay."""
    table = _table(cluster)
    for namespace in (59, 60, 61):
        for key in range(100):
            table.open(namespace)[key] = [namespace]
    cluster.relieve()
    table.drop(60)
    assert list(table.namespaces()) == [59, 61]
    cluster.snapshot()
    assert {namespace_of(raw) for raw, _ in table.column.scan(b"", b"\xff\xff\xff")} == {59, 61}
    assert table.read(61) == {key: [61] for key in range(100)}


def test_reading_a_window_brings_the_next_ones_too(cluster: StateCluster) -> None:
    """Many small windows cost few scans: the entry of a window read ahead is in memory."""
    table = _table(cluster)
    for namespace in range(50):
        table.open(namespace)[namespace] = [namespace]
    cluster.relieve()
    assert table.take(0) == {0: [0]}
    before = table.memory_bytes
    assert before > 0
    assert [table.take(namespace) for namespace in range(1, 50)] == [{n: [n]} for n in range(1, 50)]
    assert table.first() is None


def test_a_window_emptied_entry_by_entry_is_gone(cluster: StateCluster) -> None:
    """Also when its entries are in the database only, and across a restore."""
    table = _table(cluster)
    table.open(60)["a"] = [1]
    table.open(90)["a"] = [1]
    cluster.relieve()
    table.remove(60, "a")
    cluster.restore(cluster.snapshot(), 1)
    table = _table(cluster)
    assert table.first() == 90
    assert list(table.namespaces()) == [90]


def test_a_value_keeps_its_identity_across_a_flush(cluster: StateCluster) -> None:
    """The dict of a window is moved, not copied."""
    table = _table(cluster)
    value = table.open(60)["a"] = [1]
    cluster.snapshot()
    assert table.live == {}
    assert table.load(60, "a") is value
    assert table.get(60, "a") is value


def test_what_is_read_ahead_does_not_come_before_what_is_frozen(cluster: StateCluster) -> None:
    """A window read while a snapshot is pending brings its neighbour's stored entries, but not those changed since."""
    table = _table(cluster)
    for namespace in (60, 61):
        table.open(namespace)["a"] = [namespace]
        table.open(namespace)["b"] = [namespace]
    cluster.relieve()
    table.load(61, "a").append(1)
    pending = cluster.begin_snapshot()
    assert table.read(60) == {"a": [60], "b": [60]}
    assert table.get(61, "a") == [61, 1]
    assert table.read(61) == {"a": [61, 1], "b": [61]}
    cluster.restore(finished(pending), 1)
    assert _table(cluster).read(61) == {"a": [61, 1], "b": [61]}
