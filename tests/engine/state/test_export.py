"""The entries of a snapshot as rows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tidegate.engine.errors import StateError
from tidegate.engine.state import (
    DictBackend,
    RocksDBBackend,
    SnapshotFiles,
    StateBackend,
    StoreSnapshot,
    StoreSpec,
    finish_at_once,
)
from tidegate.engine.state.export import StateRow, read_rows
from tidegate.engine.testing.state_cluster import StateCluster
from tidegate.operators.state import (
    BroadcastState,
    KeyedTableState,
    LocalListState,
    MapState,
    ValueState,
    WindowTableState,
)

NOW_MS = 1_000_000


class Mean(msgspec.Struct):
    """What is stored."""

    n: int
    total: float


TOTALS: KeyedTableState[Mean] = KeyedTableState("totals", Mean)
WINDOWS: WindowTableState[list[int]] = WindowTableState("windows", list[int])
SEEN: MapState[str, int] = MapState("seen", str, int)
LAST: ValueState[str] = ValueState("last", str, ttl="10s")
CALLS: LocalListState[str] = LocalListState("calls", str)
RULES: BroadcastState[Any, int] = BroadcastState("rules", Any, int)


@pytest.fixture(params=["dict", "rocksdb"])
def snapshot(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SnapshotFiles]:
    """A snapshot with every kind of state, by each backend."""
    backend: StateBackend = DictBackend() if request.param == "dict" else RocksDBBackend()
    spec = StoreSpec(
        operator_id="count",
        subtask=1,
        key_groups=range(128),
        max_parallelism=128,
        descriptors=(TOTALS, WINDOWS, SEEN, LAST, CALLS),
        uses_timers=True,
        memory_budget_bytes=1 << 20,
        directory=tmp_path / "store",
        now_ms=lambda: NOW_MS,
    )
    store = backend.create(spec)
    tables = store.tables
    totals, windows = TOTALS.bind(tables), WINDOWS.bind(tables)
    for key in ("JFK", ("LGA", 7), 3, b"raw"):
        totals.put(key, Mean(2, 1.5))
    windows.open(60_000)["JFK"] = [1, 2]
    windows.open(-60_000)["EWR"] = [3]
    tables.set_current_key("JFK")
    SEEN.bind(tables).put("UA", 5)
    LAST.bind(tables).set("yesterday")
    CALLS.bind(tables).items = ["first", "second"]
    assert store.timers is not None
    store.timers.set_event(5_000, "JFK")
    finished = finish_at_once(store.begin_snapshot(tmp_path / "snapshot"))
    yield finished
    store.close()


def rows_of(files: SnapshotFiles, *states: str) -> list[StateRow]:
    rows = read_rows(files.snapshot, files.directory, states or None)
    return sorted(rows, key=lambda row: (row.state, row.time_ms or 0, repr(row.key), repr(row.value)))


def test_a_keyed_state_gives_keys_and_values(snapshot: SnapshotFiles) -> None:
    """Keys of every type, tuples too; a Struct is a dict."""
    rows = rows_of(snapshot, "totals")
    assert {row.key for row in rows} == {"JFK", ("LGA", 7), 3, b"raw"}
    assert {row.operator_id for row in rows} == {"count"}
    assert all((row.subtask, row.value) == (1, {"n": 2, "total": 1.5}) for row in rows)


def test_a_window_state_gives_the_time_of_the_window(snapshot: SnapshotFiles) -> None:
    """Also before 1970."""
    rows = rows_of(snapshot, "windows")
    assert [(row.time_ms, row.key, row.value) for row in rows] == [(-60_000, "EWR", [3]), (60_000, "JFK", [1, 2])]


def test_a_map_state_gives_the_map_key(snapshot: SnapshotFiles) -> None:
    """Beside the key."""
    (row,) = rows_of(snapshot, "seen")
    assert (row.key, row.map_key, row.value, row.time_ms) == ("JFK", "UA", 5, None)


def test_a_state_with_a_time_to_live_gives_when_it_ends(snapshot: SnapshotFiles) -> None:
    """The value stands alone."""
    (row,) = rows_of(snapshot, "last")
    assert (row.key, row.value, row.expires_at_ms) == ("JFK", "yesterday", NOW_MS + 10_000)


def test_timers_and_local_lists_are_state_too(snapshot: SnapshotFiles) -> None:
    """Under the names they are kept by."""
    (timer,) = rows_of(snapshot, "timers.event")
    assert (timer.key, timer.time_ms) == ("JFK", 5_000)
    assert [(row.key, row.value) for row in rows_of(snapshot, "calls")] == [(None, "first"), (None, "second")]


def test_a_broadcast_map_is_given_once_with_its_keys(tmp_path: Path) -> None:
    """Whatever the parallelism; tuples are tuples."""
    cluster = StateCluster(DictBackend(), tmp_path / "stores", [RULES])
    cluster.restore(cluster.snapshot(), 2)
    for table in cluster.all(RULES):
        table.entries.update({("a", 1): 10, "b": 20})
    rows = [row for snapshot, folder in cluster.snapshot() for row in read_rows(snapshot, folder)]
    assert sorted([(row.key, row.value) for row in rows], key=repr) == [("b", 20), (("a", 1), 10)]
    assert {row.subtask for row in rows} == {0}
    cluster.close()


def test_without_names_every_state_is_given(snapshot: SnapshotFiles) -> None:
    """And with names only those."""
    assert {row.state for row in rows_of(snapshot)} == {
        "totals",
        "windows",
        "seen",
        "last",
        "calls",
        "timers.event",
    }
    assert {row.state for row in rows_of(snapshot, "seen", "last")} == {"seen", "last"}


def test_a_missing_file_is_named(snapshot: SnapshotFiles) -> None:
    """With what to do."""
    for path in snapshot.directory.iterdir():
        path.unlink()
    with pytest.raises(StateError, match=str(snapshot.directory)):
        rows_of(snapshot, "calls", "totals")


def test_a_snapshot_of_an_unknown_backend_is_refused() -> None:
    """A newer version wrote it."""
    other = StoreSnapshot("lmdb", "count", 0, (0, 128), ())
    with pytest.raises(StateError, match="backend 'lmdb', which this version cannot read"):
        list(read_rows(other, Path()))
