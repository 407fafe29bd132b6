"""RocksDB with any cache budget, snapshots and rescaling says the same as plain dicts.

Snapshots are taken in pieces, with anything in between: what is restored from one is what the dicts held at its barrier.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tidegate.engine.errors import StateError
from tidegate.engine.state import DictBackend, PendingSnapshot, RocksDBBackend, StoreSnapshot
from tidegate.engine.testing.state_cluster import StateCluster, finished
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
LISTS: MapState[int, list[int]] = MapState("lists", int, list[int])
VALUE: ValueState[list[int]] = ValueState("value", list[int])
LIST: ListState[int] = ListState("list", int)
SUM: ReducingState[int] = ReducingState("sum", int, lambda a, b: a + b)
BRIEF: ValueState[int] = ValueState("brief", int, ttl="10ms")
BRIEF_MAP: MapState[int, int] = MapState("brief_map", int, int, ttl="10ms")
STATES = (TOTALS, WINDOWS, MAP, LISTS, VALUE, LIST, SUM, BRIEF, BRIEF_MAP)

Snapshots = list[tuple[StoreSnapshot, Path]]

keys = st.integers(0, 2)
namespaces = st.integers(-1, 1)
small = st.integers(1, 9)
operations = st.one_of(
    st.tuples(st.just("touch"), keys, small),
    st.tuples(st.sampled_from(["get", "remove", "list_clear", "sum_clear", "map_items", "map_clear"]), keys),
    st.tuples(st.sampled_from(["put", "change", "list_add", "sum_add", "brief_set"]), keys, small),
    st.tuples(st.just("items")),
    st.tuples(st.just("window_touch"), keys, namespaces, small),
    st.tuples(st.sampled_from(["window_get", "window_remove"]), keys, namespaces),
    st.tuples(st.sampled_from(["window_take", "window_drop", "window_read"]), namespaces),
    st.tuples(st.sampled_from(["window_first", "window_namespaces"])),
    st.tuples(st.sampled_from(["map_put", "map_change", "brief_put"]), keys, keys, small),
    st.tuples(st.sampled_from(["map_get", "map_remove"]), keys, keys),
    st.tuples(st.sampled_from(["timer_set", "timer_remove"]), keys, namespaces),
    st.tuples(st.just("timers_due"), namespaces),
    st.tuples(st.just("prefetch"), st.lists(keys, max_size=4)),
    st.tuples(st.just("relieve")),
    st.tuples(st.just("relieve")),
    st.tuples(st.just("advance"), small),
)
steps = st.one_of(
    *[operations] * 8,
    st.just(("barrier",)),
    st.tuples(st.just("write"), st.integers(1, 4)),
    st.one_of(
        st.tuples(st.sampled_from(["finish", "fail", "full", "crash"])),
        st.tuples(st.just("restore"), st.sampled_from([1, 2])),
    ),
)


class Program:
    """Runs operations on a cluster and says what they showed, in a form that does not depend on order."""

    def __init__(self, cluster: StateCluster) -> None:
        self.cluster = cluster

    def run(self, name: str, *arguments: Any) -> Any:
        return getattr(self, name)(*arguments)

    def prefetch(self, keys: list[int]) -> None:
        for store in self.cluster.stores:
            store.prefetch([key for key in keys if self.cluster.store(key) is store])

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

    def change(self, key: int, n: int) -> Any:
        """As user code does: get, change in place, set."""
        handle = self.cluster.bind(VALUE, key)
        value = handle.get() or []
        value.append(n)
        handle.set(value)
        return list(value)

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
            value = table.loader(namespace)(namespace, key)
        if value is None:
            entries[key] = value = []
        value.append(n)
        return list(value)

    def window_get(self, key: int, namespace: int) -> Any:
        table = self.cluster.bind(WINDOWS, key)
        read = table.reader(namespace)
        found = None if read is None else read(key)
        assert found == table.get(namespace, key)
        return list(found or ())

    def window_remove(self, key: int, namespace: int) -> None:
        self.cluster.bind(WINDOWS, key).remove(namespace, key)

    def window_take(self, namespace: int) -> Any:
        taken = [table.take(namespace) for table in self.cluster.all(WINDOWS)]
        found = _merged(taken)
        for entries in taken:  # they belong to the caller now
            for value in entries.values():
                value.clear()
        return found

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

    def map_change(self, key: int, map_key: int, n: int) -> Any:
        handle = self.cluster.bind(LISTS, key)
        value = handle.get(map_key) or []
        value.append(n)
        handle.put(map_key, value)
        return list(value)

    def brief_put(self, key: int, map_key: int, n: int) -> None:
        self.cluster.bind(BRIEF_MAP, key).put(map_key, n)

    def map_get(self, key: int, map_key: int) -> Any:
        return self.cluster.bind(MAP, key).get(map_key), self.cluster.bind(BRIEF_MAP, key).get(map_key)

    def map_remove(self, key: int, map_key: int) -> None:
        self.cluster.bind(MAP, key).remove(map_key)
        self.cluster.bind(BRIEF_MAP, key).remove(map_key)
        self.cluster.bind(LISTS, key).remove(map_key)

    def map_items(self, key: int) -> Any:
        return sorted(self.cluster.bind(MAP, key).items()), sorted(self.cluster.bind(BRIEF_MAP, key).items())

    def map_clear(self, key: int) -> None:
        self.cluster.bind(MAP, key).clear()
        self.cluster.bind(LISTS, key).clear()

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

    def advance(self, milliseconds: int) -> None:
        self.cluster.now_ms += milliseconds

    def everything(self) -> Iterator[Any]:
        yield self.items()
        yield self.window_namespaces()
        for key in range(3):
            yield self.get(key), self.map_items(key), self.list_add(key, 0), self.sum_add(key, 0)
            yield self.change(key, 0), [self.map_change(key, map_key, 0) for map_key in range(3)]
        for namespace in range(-1, 2):
            yield self.window_take(namespace)
        yield self.timers_due(10)
        yield self.window_first()


def _merged(tables: list[dict[Any, Any]]) -> Any:
    return sorted((key, list(value)) for table in tables for key, value in table.items())


class Pair:
    """Runs steps on both, and compares whatever they show and whatever their snapshots hold."""

    def __init__(self, budget: int, folder: Path) -> None:
        self.free_bytes = 1 << 60
        self.folder = folder
        self.dicts, self.backend = DictBackend(), RocksDBBackend(1 << 20, 1 << 20, free_bytes=lambda _: self.free_bytes)
        self.expected = Program(StateCluster(self.dicts, folder / "dict", STATES, uses_timers=True))
        self.found = Program(
            StateCluster(self.backend, folder / "rocksdb", STATES, uses_timers=True, memory_budget_bytes=budget)
        )
        self.pending: tuple[list[PendingSnapshot], Snapshots, int] | None = None
        self.last: tuple[Snapshots, Snapshots, int] | None = None
        self.restored = 0

    def run(self, name: str, *arguments: Any) -> None:
        if hasattr(self, name):
            getattr(self, name)(*arguments)
        else:
            assert self.found.run(name, *arguments) == self.expected.run(name, *arguments), (name, arguments)

    def barrier(self) -> None:
        self.finish()
        found = self.found.cluster.begin_snapshot()
        self.pending = found, self.expected.cluster.snapshot(), self.expected.cluster.now_ms

    def write(self, limit: int) -> None:
        for snapshot in self.pending[0] if self.pending else ():
            if not snapshot.written:
                snapshot.advance(limit)

    def relieve(self) -> None:
        if self.pending:
            self.found.cluster.drop_unchanged()
        else:
            self.found.cluster.relieve()

    def finish(self) -> None:
        if self.pending:
            (pending, expected, now_ms), self.pending = self.pending, None
            self.last = finished(pending), expected, now_ms
            self._compare_snapshots(*self.last)

    def fail(self) -> None:
        """The files cannot be written."""
        if self.pending:
            for snapshot in self.pending[0]:
                while not snapshot.written:
                    snapshot.advance(1)
            self._fail(lambda snapshot: snapshot.finish())

    def full(self) -> None:
        """There is no space for what is still to be written."""
        if self.pending:
            self._fail(lambda snapshot: snapshot.advance(1))

    def _fail(self, attempt: Callable[[PendingSnapshot], Any]) -> None:
        assert self.pending is not None
        pending, self.pending = self.pending[0], None
        self.free_bytes = 0
        for snapshot in pending:
            with pytest.raises(StateError, match="no space"):
                attempt(snapshot)
        self.free_bytes = 1 << 60

    def crash(self) -> None:
        """In the middle of whatever is pending; not before there is something to restore, for a store that goes on writes what
        it has begun to the end."""
        if self.last is not None:
            found, expected, _ = self.last
            self.pending = None
            self.found.cluster.restore(found, len(self.found.cluster.stores))
            self.expected.cluster.restore(expected, len(self.expected.cluster.stores))

    def restore(self, parallelism: int) -> None:
        self.barrier()
        self.finish()
        assert self.last is not None
        self.found.cluster.restore(self.last[0], parallelism)
        self.expected.cluster.restore(self.last[1], parallelism)

    def end(self) -> None:
        self.finish()
        self.barrier()
        self.finish()
        assert list(self.found.everything()) == list(self.expected.everything())

    def _compare_snapshots(self, found: Snapshots, expected: Snapshots, now_ms: int) -> None:
        shown = []
        for backend, snapshots in ((self.backend, found), (self.dicts, expected)):
            self.restored += 1
            folder = self.folder / f"restored-{self.restored}"
            cluster = StateCluster(backend, folder, STATES, uses_timers=True)
            cluster.now_ms = now_ms
            cluster.restore(snapshots, len(snapshots))
            shown.append(list(Program(cluster).everything()))
            cluster.close()
        assert shown[0] == shown[1]


def _holds(budget: int, program: list[tuple[Any, ...]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        pair = Pair(budget, Path(folder))
        try:
            for step in program:
                pair.run(*step)
            pair.end()
        finally:
            pair.found.cluster.close()


budgets = st.sampled_from([1, 300, 2_000, 1 << 20])
quietly = settings(
    deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large], database=None
)


@pytest.mark.slow
@settings(quietly, max_examples=15, derandomize=True)
@given(budgets, st.lists(steps, min_size=30, max_size=120))
def test_rocksdb_says_what_dicts_say(budget: int, program: list[tuple[Any, ...]]) -> None:
    """Random operations with barriers, portions of snapshots, evictions down to nothing, full disks, crashes, restores and
    rescaling in between: every answer is the same, and so is what every snapshot holds."""
    _holds(budget, program)


@pytest.mark.long
@pytest.mark.timeout(900)
@settings(quietly, max_examples=500, print_blob=True)
@given(budgets, st.lists(steps, min_size=30, max_size=300))
def test_rocksdb_says_what_dicts_say_at_length(budget: int, program: list[tuple[Any, ...]]) -> None:
    """As the short one, with more and longer programs, other ones each time."""
    _holds(budget, program)
