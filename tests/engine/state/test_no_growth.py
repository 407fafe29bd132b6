"""What is gone gives its space back: a database does not grow for ever under state that comes and goes."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tidegate.engine.state import RocksDBBackend
from tidegate.engine.testing.state_cluster import StateCluster
from tidegate.operators.state import KeyedTableState, MapState, StateDescriptor, ValueState, WindowTableState

BACKEND = RocksDBBackend(block_cache_bytes=1 << 20, write_buffer_bytes=1 << 20)
WINDOWS: WindowTableState[bytes] = WindowTableState("windows", bytes)
KEYED: KeyedTableState[bytes] = KeyedTableState("keyed", bytes)
MAP: MapState[int, bytes] = MapState("map", int, bytes)
BRIEF: ValueState[bytes] = ValueState("brief", bytes, ttl="4s")

ROUNDS = 400
ENTRIES = 40
SIZE = 100
"""Of an entry; bytes that do not compress."""
LIVE = 4
"""So many rounds an entry lives."""


def _windows(cluster: StateCluster, now: int) -> None:
    table = cluster.bind(WINDOWS, 0)
    entries = table.open(now)
    for key in range(ENTRIES):
        entries[key] = os.urandom(SIZE)
    table.take(now - LIVE)


def _keys(cluster: StateCluster, now: int) -> None:
    table = cluster.bind(KEYED, 0)
    for key in range(ENTRIES):
        table.put(now * ENTRIES + key, os.urandom(SIZE))
        table.remove((now - LIVE) * ENTRIES + key)


def _maps(cluster: StateCluster, now: int) -> None:
    handle = cluster.bind(MAP, now)
    for key in range(ENTRIES):
        handle.put(key, os.urandom(SIZE))
    cluster.bind(MAP, now - LIVE).clear()


def _brief(cluster: StateCluster, now: int) -> None:
    handle = cluster.bind(BRIEF, 0)
    for key in range(ENTRIES):
        cluster.store(now * ENTRIES + key)
        handle.set(os.urandom(SIZE))


def _timers(cluster: StateCluster, now: int) -> None:
    timers = cluster.stores[0].timers
    assert timers is not None
    for key in range(ENTRIES):
        timers.set_event(now, f"{key:0{SIZE}}")
    for _ in timers.due_event(now - LIVE):
        pass


@pytest.mark.slow
@pytest.mark.parametrize(
    ("work", "states"),
    [(_windows, [WINDOWS]), (_keys, [KEYED]), (_maps, [MAP]), (_brief, [BRIEF]), (_timers, [])],
)
def test_the_database_does_not_grow(
    tmp_path: Path, work: Callable[[StateCluster, int], None], states: list[StateDescriptor[Any]]
) -> None:
    """After four hundred rounds in which as much goes as comes, each flushed, it holds what a quarter of them wrote, at most:
    the files that wait for a compaction are bounded by number. A snapshot has no more than that."""
    cluster = StateCluster(BACKEND, tmp_path, states, uses_timers=not states, memory_budget_bytes=20_000)
    sizes: list[Any] = []
    for now in range(ROUNDS):
        cluster.now_ms = now * 1000
        work(cluster, now)
        cluster.relieve()
        ((_, folder),) = cluster.snapshot()
        sizes.append(sum(path.stat().st_size for path in folder.iterdir() if path.suffix == ".sst"))
    # The first rounds, in which nothing is gone yet, say how much one of them writes, files and all.
    first = sizes[LIVE - 1] / LIVE
    assert sizes[-1] < first * ROUNDS / 4
    assert max(sizes) < first * ROUNDS / 4
    cluster.close()
