"""RocksDB with any cache budget, snapshots and rescaling says the same as plain dicts."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tidegate.engine.state import DictBackend, RocksDBBackend
from tidegate.engine.testing.state_cluster import StateCluster
from tidegate.operators.state import (
    KeyedTableState,
    ListState,
    MapState,
    ReducingState,
    ValueState,
    WindowTableState,
)

TOTALS: KeyedTableState[list[int]] = KeyedTableState("totals", list[int])
WINDOWS: WindowTableState[list[int]] = WindowTableState("windows", list[int])
MAP: MapState[int, int] = MapState("map", int, int)
LIST: ListState[int] = ListState("list", int)
SUM: ReducingState[int] = ReducingState("sum", int, lambda a, b: a + b)
BRIEF: ValueState[int] = ValueState("brief", int, ttl="10ms")
BRIEF_MAP: MapState[int, int] = MapState("brief_map", int, int, ttl="10ms")
STATES = (TOTALS, WINDOWS, MAP, LIST, SUM, BRIEF, BRIEF_MAP)

BACKEND = RocksDBBackend(block_cache_bytes=1 << 20, write_buffer_bytes=1 << 20)

keys = st.integers(0, 5)
namespaces = st.integers(-1, 3)
small = st.integers(1, 9)
operations = st.one_of(
    st.tuples(st.just("touch"), keys, small),
    st.tuples(st.sampled_from(["get", "remove", "list_clear", "sum_clear", "map_items", "map_clear"]), keys),
    st.tuples(st.sampled_from(["put", "list_add", "sum_add", "brief_set"]), keys, small),
    st.tuples(st.just("items")),
    st.tuples(st.just("window_touch"), keys, namespaces, small),
    st.tuples(st.sampled_from(["window_get", "window_remove"]), keys, namespaces),
    st.tuples(st.sampled_from(["window_take", "window_drop", "window_read"]), namespaces),
    st.tuples(st.sampled_from(["window_first", "window_namespaces"])),
    st.tuples(st.sampled_from(["map_put", "brief_put"]), keys, keys, small),
    st.tuples(st.sampled_from(["map_get", "map_remove"]), keys, keys),
    st.tuples(st.sampled_from(["timer_set", "timer_remove"]), keys, namespaces),
    st.tuples(st.just("timers_due"), namespaces),
    st.tuples(st.just("relieve")),
    st.tuples(st.just("relieve")),
    st.tuples(st.just("advance"), small),
    st.tuples(st.just("snapshot")),
    st.tuples(st.just("restore"), st.sampled_from([1, 2, 3])),
)


class Program:
    """Runs operations on a cluster and says what they showed, in a form that does not depend on order."""

    def __init__(self, cluster: StateCluster) -> None:
        self.cluster = cluster

    def run(self, name: str, *arguments: Any) -> Any:
        return getattr(self, name)(*arguments)

    def touch(self, key: int, n: int) -> Any:
        table = self.cluster.bind(TOTALS, key)
        value = table.live.get(key)
        if value is None:
            value = table.load(key)
        if value is None:
            table.live[key] = value = []
        value.append(n)
        return list(value)

    def get(self, key: int) -> Any:
        return list(self.cluster.bind(TOTALS, key).get(key) or ()), self.cluster.bind(BRIEF, key).get()

    def put(self, key: int, n: int) -> None:
        self.cluster.bind(TOTALS, key).put(key, [n])

    def remove(self, key: int) -> None:
        self.cluster.bind(TOTALS, key).remove(key)

    def items(self) -> Any:
        return sorted((key, list(value)) for table in self.cluster.all(TOTALS) for key, value in table.items())

    def window_touch(self, key: int, namespace: int, n: int) -> Any:
        table = self.cluster.bind(WINDOWS, key)
        entries = table.live.get(namespace)
        if entries is None:
            entries = table.open(namespace)
        value = entries.get(key)
        if value is None:
            value = table.load(namespace, key)
        if value is None:
            entries[key] = value = []
        value.append(n)
        return list(value)

    def window_get(self, key: int, namespace: int) -> Any:
        return list(self.cluster.bind(WINDOWS, key).get(namespace, key) or ())

    def window_remove(self, key: int, namespace: int) -> None:
        self.cluster.bind(WINDOWS, key).remove(namespace, key)

    def window_take(self, namespace: int) -> Any:
        return _merged([table.take(namespace) for table in self.cluster.all(WINDOWS)])

    def window_read(self, namespace: int) -> Any:
        return _merged([table.read(namespace) for table in self.cluster.all(WINDOWS)])

    def window_drop(self, namespace: int) -> None:
        for table in self.cluster.all(WINDOWS):
            table.drop(namespace)

    def window_first(self) -> Any:
        return [table.first() for table in self.cluster.all(WINDOWS)]

    def window_namespaces(self) -> Any:
        return [list(table.namespaces()) for table in self.cluster.all(WINDOWS)]

    def map_put(self, key: int, map_key: int, n: int) -> None:
        self.cluster.bind(MAP, key).put(map_key, n)

    def brief_put(self, key: int, map_key: int, n: int) -> None:
        self.cluster.bind(BRIEF_MAP, key).put(map_key, n)

    def map_get(self, key: int, map_key: int) -> Any:
        return self.cluster.bind(MAP, key).get(map_key), self.cluster.bind(BRIEF_MAP, key).get(map_key)

    def map_remove(self, key: int, map_key: int) -> None:
        self.cluster.bind(MAP, key).remove(map_key)
        self.cluster.bind(BRIEF_MAP, key).remove(map_key)

    def map_items(self, key: int) -> Any:
        return sorted(self.cluster.bind(MAP, key).items()), sorted(self.cluster.bind(BRIEF_MAP, key).items())

    def map_clear(self, key: int) -> None:
        self.cluster.bind(MAP, key).clear()

    def list_add(self, key: int, n: int) -> Any:
        self.cluster.bind(LIST, key).add(n)
        return self.cluster.bind(LIST, key).get()

    def list_clear(self, key: int) -> None:
        self.cluster.bind(LIST, key).clear()

    def sum_add(self, key: int, n: int) -> Any:
        return self.cluster.bind(SUM, key).add(n)

    def sum_clear(self, key: int) -> None:
        self.cluster.bind(SUM, key).clear()

    def brief_set(self, key: int, n: int) -> None:
        self.cluster.bind(BRIEF, key).set(n)

    def timer_set(self, key: int, at: int) -> None:
        self.cluster.store(key).timers.set_event(at, key)

    def timer_remove(self, key: int, at: int) -> None:
        self.cluster.store(key).timers.remove_event(at, key)

    def timers_due(self, until: int) -> Any:
        return [list(store.timers.due_event(until)) for store in self.cluster.stores]

    def relieve(self) -> None:
        self.cluster.relieve()

    def advance(self, milliseconds: int) -> None:
        self.cluster.now_ms += milliseconds

    def snapshot(self) -> None:
        self.cluster.snapshot()

    def restore(self, parallelism: int) -> None:
        self.cluster.restore(self.cluster.snapshot(), parallelism)

    def everything(self) -> Iterator[Any]:
        yield self.items()
        yield self.window_namespaces()
        for key in range(6):
            yield self.get(key), self.map_items(key), self.list_add(key, 0), self.sum_add(key, 0)
        for namespace in range(-1, 4):
            yield self.window_take(namespace)
        yield self.timers_due(10)
        yield self.window_first()


def _merged(tables: list[dict[Any, Any]]) -> Any:
    return sorted((key, list(value)) for table in tables for key, value in table.items())


def _compare(budget: int, steps: list[tuple[Any, ...]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        expected = Program(StateCluster(DictBackend(), Path(folder, "dict"), STATES, uses_timers=True))
        found = Program(
            StateCluster(BACKEND, Path(folder, "rocksdb"), STATES, uses_timers=True, memory_budget_bytes=budget)
        )
        try:
            for step in steps:
                assert found.run(*step) == expected.run(*step), step
            assert list(found.everything()) == list(expected.everything())
        finally:
            found.cluster.close()


@pytest.mark.slow
@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow], database=None)
@given(st.sampled_from([1, 300, 2_000, 1 << 20]), st.lists(operations, max_size=60))
def test_rocksdb_says_what_dicts_say(budget: int, steps: list[tuple[Any, ...]]) -> None:
    """Random operations, flushes, evictions down to nothing, restores and rescaling: every answer is the same."""
    _compare(budget, steps)
