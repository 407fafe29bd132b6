"""Timers are given out in order, once, and by key."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tidegate.engine.state import DictBackend, RocksDBBackend, StateBackend, TimerService
from tidegate.engine.testing.state_cluster import StateCluster


def _timers(folder: Path, backend: StateBackend | None = None) -> TimerService:
    timers = StateCluster(backend or DictBackend(), folder, [], uses_timers=True).stores[0].timers
    assert timers is not None
    return timers


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 5))), st.integers(0, 20))
def test_what_is_due_comes_in_order_and_the_rest_stays(timers: list[tuple[int, int]], until: int) -> None:
    """Each (time, key) once, keys of one time in a fixed order."""
    service = _timers(Path("unused"))
    for timestamp, key in timers:
        service.set_event(timestamp, key)
    given_out = [(timestamp, key) for timestamp, keys in service.due_event(until) for key in keys]
    assert given_out == sorted({timer for timer in timers if timer[0] <= until})
    rest = sorted({timer for timer in timers if timer[0] > until})
    assert service.next_event() == (rest[0][0] if rest else None)


def test_event_and_processing_time_are_apart(tmp_path: Path) -> None:
    """A timer of one kind is not given as the other."""
    service = _timers(tmp_path)
    service.set_event(1, "e")
    service.set_processing(2, "p")
    assert list(service.due_processing(10)) == [(2, ["p"])]
    assert list(service.due_event(10)) == [(1, ["e"])]


def test_a_removed_timer_is_not_due(tmp_path: Path) -> None:
    """Removing one that is not set is no error."""
    service = _timers(tmp_path)
    service.set_event(1, "a")
    service.remove_event(1, "a")
    service.remove_event(1, "never")
    service.set_processing(1, "a")
    service.remove_processing(1, "a")
    assert service.next_event() is None
    assert service.next_processing() is None


@pytest.mark.parametrize("budget", [1, 1 << 30])
def test_many_timers_survive_a_restore(tmp_path: Path, budget: int) -> None:
    """Thousands of times with one key each, whatever fits into memory."""
    backend = RocksDBBackend(block_cache_bytes=1 << 20, write_buffer_bytes=1 << 20)
    cluster = StateCluster(backend, tmp_path, [], uses_timers=True, memory_budget_bytes=budget)
    for n in range(2000):
        cluster.store(n).timers.set_event(n, n)  # type: ignore[union-attr]  # it uses timers
    cluster.relieve()
    cluster.restore(cluster.snapshot(), 1)
    service = cluster.stores[0].timers
    assert service is not None
    service.set_event(7, -1)
    due = list(service.due_event(999))
    assert due[7] == (7, [7, -1])
    assert [timestamp for timestamp, _ in due] == list(range(1000))
    assert service.next_event() == 1000
    cluster.close()
