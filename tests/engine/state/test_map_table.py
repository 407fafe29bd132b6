"""The cache of a map table: entries one by one, a key's map as one range."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tidegate.engine.errors import StateError
from tidegate.engine.state import RocksDBBackend
from tidegate.engine.testing.state_cases import MAP
from tidegate.engine.testing.state_cluster import StateCluster, finished

BACKEND = RocksDBBackend(block_cache_bytes=1 << 20, write_buffer_bytes=1 << 20)


@pytest.fixture
def cluster(tmp_path: Path) -> Any:
    cluster = StateCluster(BACKEND, tmp_path, [MAP], memory_budget_bytes=1)
    yield cluster
    cluster.close()


def _table(cluster: StateCluster) -> Any:
    return cluster.stores[0].tables.mapped(MAP, str, int)


def test_a_cleared_map_does_not_come_back(cluster: StateCluster) -> None:
    """Although its entries were evicted, and the clearing is not yet in the database."""
    table = _table(cluster)
    table.put("a", "x", 1)
    table.put("b", "x", 2)
    cluster.relieve()
    table.clear("a")
    assert table.get("a", "x") is None
    assert list(table.items("a")) == []
    table.put("a", "y", 3)
    assert list(table.items("a")) == [("y", 3)]
    cluster.relieve()
    assert list(table.items("a")) == [("y", 3)]
    assert list(table.items("b")) == [("x", 2)]


def test_keys_that_begin_alike_are_kept_apart(cluster: StateCluster) -> None:
    """The length of the key is part of the range."""
    table = _table(cluster)
    for key in ("", "a", "aa", "aaa"):
        table.put(key, "a", len(key))
        table.put(key, "aa", -len(key))
    cluster.relieve()
    for key in ("", "a", "aa", "aaa"):
        assert sorted(table.items(key)) == [("a", len(key)), ("aa", -len(key))]


def test_what_is_created_and_removed_between_flushes_never_reaches_the_database(cluster: StateCluster) -> None:
    """Neither as an entry nor as a deletion."""
    table = _table(cluster)
    table.put("a", "x", 1)
    table.remove("a", "x")
    table.put("b", "x", 1)
    table.clear("b")
    cluster.snapshot()
    assert table.column.estimated_keys == 0


def test_a_map_key_of_another_type_is_refused(cluster: StateCluster) -> None:
    """At the `put`, not at the restore."""
    with pytest.raises(StateError, match="not of the key type"):
        _table(cluster).put("a", 5, 1)


def test_items_may_be_changed_while_iterating(cluster: StateCluster) -> None:
    """They are a consistent copy."""
    table = _table(cluster)
    for n in range(10):
        table.put("a", str(n), n)
    for map_key, _ in table.items("a"):
        table.remove("a", map_key)
    assert list(table.items("a")) == []


def test_keys_come_once_while_they_leave_memory(cluster: StateCluster) -> None:
    """Those in memory, in the database and in both; also when they go from one to the other on the way."""
    table = _table(cluster)
    names = [f"k{number:02}" for number in range(40)]
    for name in names[:30]:
        table.put(name, "x", 1)
    cluster.relieve()
    for name in names[20:]:
        table.put(name, "y", 2)
    keys = table.keys()
    found = [next(keys) for _ in range(10)]
    cluster.relieve()
    found += [next(keys) for _ in range(25)]
    for name in names[:10]:
        table.put(name, "z", 3)
    found += keys
    assert sorted(found) == names


def test_a_key_that_was_cleared_is_not_found_empty(cluster: StateCluster) -> None:
    """It may come among the keys, and has no entries then."""
    table = _table(cluster)
    table.put("a", "x", 1)
    table.put("b", "x", 1)
    cluster.relieve()
    table.clear("a")
    assert [key for key in table.keys() if list(table.items(key))] == ["b"]  # noqa: SIM118  # a table, no dict


def test_clearing_what_was_never_stored_is_not_noted(cluster: StateCluster) -> None:
    """While everything is in memory there is nothing to know of such a key."""
    table = _table(cluster)
    for number in range(1000):
        table.put(f"k{number}", "x", 1)
        table.clear(f"k{number}")
        table.clear("nobody")
    assert table.memory_bytes == 0


def test_a_map_that_is_cleared_while_a_snapshot_is_written_does_not_come_back(cluster: StateCluster) -> None:
    """Its range is still in the database when the snapshot is complete and others leave memory."""
    table = _table(cluster)
    table.put("a", "x", 1)
    cluster.snapshot()
    table.put("b", "x", 2)
    pending = cluster.begin_snapshot()
    table.clear("a")
    finished(pending)
    cluster.drop_unchanged()
    assert table.get("a", "x") is None
    assert list(table.items("a")) == []
    assert list(table.items("b")) == [("x", 2)]
