"""The cache of a keyed table writes what must be written and reads what must be read, and no more."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tidegate.engine.errors import StateError
from tidegate.engine.state import RocksDBBackend
from tidegate.engine.state.keyed_table import RocksKeyedTable
from tidegate.engine.testing.state_cases import KEYED
from tidegate.engine.testing.state_cluster import StateCluster
from tidegate.operators.state import ValueState

BACKEND = RocksDBBackend(block_cache_bytes=1 << 20, write_buffer_bytes=1 << 20)


@pytest.fixture
def cluster(tmp_path: Path) -> Any:
    cluster = StateCluster(BACKEND, tmp_path, [KEYED], memory_budget_bytes=1)
    yield cluster
    cluster.close()


def _table(cluster: StateCluster) -> RocksKeyedTable:
    table = cluster.bind(KEYED, 0)
    assert isinstance(table, RocksKeyedTable)
    return table


def _stored(table: RocksKeyedTable) -> int:
    return sum(1 for _ in table.column.scan(b"", b"\xff\xff\xff"))


def test_what_is_created_and_removed_between_flushes_never_reaches_the_database(cluster: StateCluster) -> None:
    """Neither as an entry nor as a deletion."""
    table = _table(cluster)
    table.put("a", [1])
    table.live["b"] = [2]
    table.remove("a")
    table.remove("b")
    cluster.snapshot()
    assert table.column.estimated_keys == 0
    assert table.column.first() is None


def test_a_value_keeps_its_identity_while_it_is_in_memory(cluster: StateCluster) -> None:
    """A flush does not copy: operators may hold on to what they loaded until the end of a batch."""
    table = _table(cluster)
    value = table.live[1] = [1]
    cluster.snapshot()
    assert table.live == {}
    assert table.load(1) is value
    cluster.snapshot()
    cluster.snapshot()
    assert table.load(1) is value
    assert table.load(1) is value


def test_an_unchanged_entry_is_not_written_again(cluster: StateCluster) -> None:
    """`get` does not mark as changed."""
    table = _table(cluster)
    table.put(1, [1])
    cluster.snapshot()
    assert table.get(1) == [1]
    assert table.live == {}


def test_evicted_entries_come_back_when_they_are_asked_for(cluster: StateCluster) -> None:
    """With everything evicted, all are in the database and none in memory."""
    table = _table(cluster)
    for key in range(20):
        table.put(key, [key])
    cluster.relieve()
    assert table.live == {}
    assert table.memory_bytes == 0
    assert _stored(table) == 20
    assert table.load(7) == [7]
    assert set(table.live) == {7}
    assert table.load(99) is None


def test_an_overwritten_entry_that_was_evicted_is_void(cluster: StateCluster) -> None:
    """A blind `put`, then `remove`: the value in the database must not come back."""
    table = _table(cluster)
    table.put("a", [1])
    cluster.relieve()
    table.put("a", [2])
    table.remove("a")
    assert table.load("a") is None
    assert table.get("a") is None
    cluster.relieve()
    assert table.load("a") is None
    assert _stored(table) == 0


def test_a_value_that_cannot_be_stored_leaves_the_table_as_it_was(cluster: StateCluster) -> None:
    """The flush fails and names the state; nothing is taken as written."""
    table = _table(cluster)
    table.put("good", [1])
    table.live["bad"] = object()
    with pytest.raises(StateError, match="'totals'"):
        cluster.snapshot()
    table.remove("bad")
    cluster.restore(cluster.snapshot(), 1)
    assert dict(_table(cluster).items()) == {"good": [1]}


def test_what_a_batch_will_change_is_read_into_live(cluster: StateCluster) -> None:
    """Inner loops find the entries there, as they find those that were never evicted: from the database and from memory."""
    table = _table(cluster)
    for key in range(4):
        table.put(key, [key])
    cluster.relieve()
    table.put(4, [4])
    cluster.snapshot()
    assert table.live == {}
    cluster.store(0).prefetch([0, 1, 4, 0, 99])
    assert table.live == {0: [0], 1: [1], 4: [4]}
    table.live[0].append(10)
    table.remove(1)
    cluster.relieve()
    assert [table.get(key) for key in range(5)] == [[0, 10], None, [2], [3], [4]]


def test_what_a_batch_may_only_read_is_not_changed_by_reading_it(tmp_path: Path) -> None:
    """Of a value that user code gets and does not set, the next snapshot writes nothing."""
    state: ValueState[int] = ValueState("v", int)
    cluster = StateCluster(BACKEND, tmp_path, [state], memory_budget_bytes=1)
    for key in range(4):
        cluster.bind(state, key).set(key)
    cluster.relieve()
    first = cluster.snapshot()
    cluster.store(0).prefetch(range(4))
    assert [cluster.bind(state, key).get() for key in range(4)] == [0, 1, 2, 3]
    again = cluster.snapshot()
    assert [_tables(folder) for _, folder in again] == [_tables(folder) for _, folder in first]
    cluster.close()


def test_a_key_that_is_nowhere_is_looked_for_once(cluster: StateCluster) -> None:
    """A batch of new keys asks the database about all of them together, and not again for each."""
    table = _table(cluster)
    table.put(0, [0])
    cluster.relieve()
    cluster.store(0).prefetch([1, 2, 3])
    asked: list[bytes] = []
    table.column.get = asked.append  # type: ignore[assignment,method-assign]  # notes what is asked
    assert [table.load(key) for key in (1, 2, 3)] == [None, None, None]
    assert asked == []


def _tables(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if path.suffix == ".sst"}
