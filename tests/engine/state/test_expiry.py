"""Expired entries that nobody reads leave the database within about one more time to live."""

from __future__ import annotations

from pathlib import Path

import pytest
from tidegate.engine.state import RocksDBBackend
from tidegate.engine.testing.state_cluster import StateCluster
from tidegate.operators.state import MapState, ValueState

BACKEND = RocksDBBackend(block_cache_bytes=1 << 20, write_buffer_bytes=1 << 20)
VALUE: ValueState[int] = ValueState("v", int, ttl="100s")
MAPPED: MapState[str, int] = MapState("m", str, int, ttl="100s")


@pytest.mark.parametrize("budget", [1, 1 << 30])
def test_a_sweep_reaches_every_entry(tmp_path: Path, budget: int) -> None:
    """A little at every flush, whether the entries are in memory or not."""
    cluster = StateCluster(BACKEND, tmp_path, [VALUE, MAPPED], memory_budget_bytes=budget)
    tables = cluster.stores[0].tables
    value, mapped = VALUE.bind(tables), MAPPED.bind(tables)
    for key in range(600):
        tables.set_current_key(key)
        value.set(key)
        mapped.put("x", key)
    cluster.relieve()
    cluster.snapshot()
    cluster.now_ms = 100_000
    for _ in range(12):
        cluster.now_ms += 9_000
        cluster.snapshot()
        cluster.relieve()
    assert list(tables.keyed(VALUE, tuple[int, int]).items()) == []
    table = tables.mapped(MAPPED, str, tuple[int, int])
    assert [key for key in range(600) if list(table.items(key))] == []
    cluster.close()


def test_what_was_written_anew_is_kept(tmp_path: Path) -> None:
    """An expired entry in the database does not take its successor in memory with it."""
    cluster = StateCluster(BACKEND, tmp_path, [VALUE, MAPPED])
    tables = cluster.stores[0].tables
    value, mapped = VALUE.bind(tables), MAPPED.bind(tables)
    tables.set_current_key("a")
    value.set(1)
    mapped.put("x", 1)
    cluster.snapshot()
    cluster.now_ms = 99_999
    value.set(2)
    mapped.put("x", 2)
    cluster.now_ms = 150_000
    cluster.snapshot()
    assert value.get() == 2
    assert mapped.get("x") == 2
    cluster.restore(cluster.snapshot(), 1)
    assert cluster.bind(VALUE, "a").get() == 2
    assert cluster.bind(MAPPED, "a").get("x") == 2
    cluster.close()
