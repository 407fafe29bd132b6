"""A savepoint says what the state was: it restores into any parallelism, number of key groups and backend, and a crash
while it is written leaves nothing half."""

from __future__ import annotations

import asyncio
import gc
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tidegate.engine import CheckpointError, JobStatus, RunConfig, restart, start
from tidegate.engine.checkpoint.storage import CheckpointStorage
from tidegate.engine.clock import SystemClock
from tidegate.engine.executor import InlineExecutor
from tidegate.engine.savepoint.write import write_portable
from tidegate.engine.state import DictBackend, RocksDBBackend, SnapshotFiles, StoreSnapshot
from tidegate.engine.testing import Pause, ScriptedSource
from tidegate.engine.testing.faults import CrashPoints, SimulatedCrash, crash_run
from tidegate.engine.testing.state_cluster import StateCluster
from tidegate.operators.state import (
    BroadcastState,
    KeyedTableState,
    ListState,
    LocalListState,
    MapState,
    ReducingState,
    ValueState,
    WindowTableState,
)

TOTALS: KeyedTableState[list[int]] = KeyedTableState("totals", list[int])
WINDOWS: WindowTableState[dict[str, int]] = WindowTableState("windows", dict[str, int])
MAP: MapState[Any, int] = MapState("map", Any, int)
LIST: ListState[str] = ListState("list", str)
SUM: ReducingState[int] = ReducingState("sum", int, lambda a, b: a + b)
BRIEF: ValueState[float] = ValueState("brief", float, ttl="10ms")
BRIEF_MAP: MapState[str, int] = MapState("brief map", str, int, ttl="10ms")
LOCAL: LocalListState[str] = LocalListState("local", str)
RULES: BroadcastState[Any, int] = BroadcastState("rules", Any, int)
STATES = (TOTALS, WINDOWS, MAP, LIST, SUM, BRIEF, BRIEF_MAP, LOCAL, RULES)

BACKENDS = {
    "dict": DictBackend(),
    "rocksdb": RocksDBBackend(block_cache_bytes=1 << 20, write_buffer_bytes=1 << 20),
}
KEYS = ("a", "b", "key", "", 0, 1, -7, 1 << 40, b"raw", ("a", 1), ("a", ("b", 2)), None)
TIMES = (-60_000, -1, 0, 5, 1 << 41)

keys, times, small = st.sampled_from(KEYS), st.sampled_from(TIMES), st.integers(1, 9)
operations = st.one_of(
    st.tuples(st.sampled_from(["put", "add", "sum", "brief"]), keys, small),
    st.tuples(st.sampled_from(["remove", "map_clear"]), keys),
    st.tuples(st.just("window"), keys, times, small),
    st.tuples(st.just("window_take"), times),
    st.tuples(st.just("map_put"), keys, keys, small),
    st.tuples(st.just("map_remove"), keys, keys),
    st.tuples(st.just("brief_put"), keys, small),
    st.tuples(st.sampled_from(["event", "processing", "event_remove"]), keys, times),
    st.tuples(st.just("advance"), small),
    st.tuples(st.just("local"), small),
    st.tuples(st.just("rule"), keys, small),
    st.tuples(st.just("relieve")),
    st.tuples(st.just("snapshot")),
)


class History:
    """Does to stores what it does to plain dicts, which say what must be there in the end."""

    def __init__(self, cluster: StateCluster) -> None:
        self.cluster = cluster
        self.keyed: dict[Any, list[int]] = {}
        self.windows: dict[tuple[int, Any], dict[str, int]] = {}
        self.maps: dict[tuple[Any, Any], int] = {}
        self.lists: dict[Any, list[str]] = {}
        self.sums: dict[Any, int] = {}
        self.briefs: dict[Any, tuple[int, float]] = {}
        self.brief_maps: dict[tuple[Any, str], tuple[int, int]] = {}
        self.event_timers: set[tuple[int, Any]] = set()
        self.processing_timers: set[tuple[int, Any]] = set()
        self.items: list[str] = []
        self.rules: dict[Any, int] = {}

    def put(self, key: Any, n: int) -> None:
        self.cluster.bind(TOTALS, key).put(key, [n])
        self.keyed[key] = [n]

    def remove(self, key: Any) -> None:
        self.cluster.bind(TOTALS, key).remove(key)
        self.keyed.pop(key, None)

    def add(self, key: Any, n: int) -> None:
        self.cluster.bind(LIST, key).add(str(n))
        self.lists.setdefault(key, []).append(str(n))

    def sum(self, key: Any, n: int) -> None:
        self.cluster.bind(SUM, key).add(n)
        self.sums[key] = self.sums.get(key, 0) + n

    def brief(self, key: Any, n: int) -> None:
        self.cluster.bind(BRIEF, key).set(n / 2)
        self.briefs[key] = (self.cluster.now_ms + 10, n / 2)

    def brief_put(self, key: Any, n: int) -> None:
        self.cluster.bind(BRIEF_MAP, key).put(str(n), n)
        self.brief_maps[key, str(n)] = (self.cluster.now_ms + 10, n)

    def window(self, key: Any, time: int, n: int) -> None:
        table = self.cluster.bind(WINDOWS, key)
        value = table.load(time, key)
        if value is None:
            value = table.open(time)[key] = {}
        value[str(n)] = n
        self.windows.setdefault((time, key), {})[str(n)] = n

    def window_take(self, time: int) -> None:
        for table in self.cluster.all(WINDOWS):
            table.take(time)
        self.windows = {at: value for at, value in self.windows.items() if at[0] != time}

    def map_put(self, key: Any, map_key: Any, n: int) -> None:
        self.cluster.bind(MAP, key).put(map_key, n)
        self.maps[key, map_key] = n

    def map_remove(self, key: Any, map_key: Any) -> None:
        self.cluster.bind(MAP, key).remove(map_key)
        self.maps.pop((key, map_key), None)

    def map_clear(self, key: Any) -> None:
        self.cluster.bind(MAP, key).clear()
        self.maps = {at: value for at, value in self.maps.items() if at[0] != key}

    def event(self, key: Any, time: int) -> None:
        self._timers(key).set_event(time, key)
        self.event_timers.add((time, key))

    def event_remove(self, key: Any, time: int) -> None:
        self._timers(key).remove_event(time, key)
        self.event_timers.discard((time, key))

    def processing(self, key: Any, time: int) -> None:
        self._timers(key).set_processing(time, key)
        self.processing_timers.add((time, key))

    def _timers(self, key: Any) -> Any:
        return self.cluster.store(key).timers

    def advance(self, milliseconds: int) -> None:
        self.cluster.now_ms += milliseconds

    def local(self, n: int) -> None:
        self.items.append(str(n))
        for number, table in enumerate(self.cluster.all(LOCAL)):
            table.items = self.items[number :: len(self.cluster.stores)]

    def rule(self, key: Any, n: int) -> None:
        self.rules[key] = n
        for table in self.cluster.all(RULES):
            table.entries[key] = n

    def relieve(self) -> None:
        self.cluster.relieve()

    def snapshot(self) -> None:
        self.cluster.snapshot()

    def check(self, found: StateCluster) -> None:
        """The stores hold exactly what the dicts say, and each key is where its records go."""
        now_ms = found.now_ms
        assert sorted(_pairs(found, TOTALS), key=repr) == sorted(self.keyed.items(), key=repr)
        for key in KEYS:
            assert found.bind(TOTALS, key).get(key) == self.keyed.get(key)
            assert found.bind(LIST, key).get() == self.lists.get(key, [])
            assert found.bind(SUM, key).get() == self.sums.get(key)
            expires_ms, value = self.briefs.get(key, (0, None))
            assert found.bind(BRIEF, key).get() == (value if expires_ms > now_ms else None)
            of_key = {at[1]: value for at, value in self.maps.items() if at[0] == key}
            assert dict(found.bind(MAP, key).items()) == of_key
            brief = {at[1]: n for at, (until, n) in self.brief_maps.items() if at[0] == key and until > now_ms}
            assert dict(found.bind(BRIEF_MAP, key).items()) == brief
        assert sorted({t for w in found.all(WINDOWS) for t in w.namespaces()}) == sorted({t for t, _ in self.windows})
        for time in TIMES:
            of_time = {at[1]: value for at, value in self.windows.items() if at[0] == time}
            for key in KEYS:
                assert found.bind(WINDOWS, key).get(time, key) == of_time.get(key)
            assert sum(len(table.take(time)) for table in found.all(WINDOWS)) == len(of_time)
        due = {"event": set(), "processing": set()}
        for store in found.stores:
            assert store.timers is not None
            due["event"] |= {(time, key) for time, found_keys in store.timers.due_event(1 << 50) for key in found_keys}
            due["processing"] |= {(time, key) for time, ks in store.timers.due_processing(1 << 50) for key in ks}
        assert due == {"event": self.event_timers, "processing": self.processing_timers}
        assert sorted(item for table in found.all(LOCAL) for item in table.items) == sorted(self.items)
        assert [table.entries for table in found.all(RULES)] == [self.rules] * len(found.stores)
        lengths = [len(table.items) for table in found.all(LOCAL)]
        assert max(lengths) - min(lengths) <= 1


def _pairs(cluster: StateCluster, state: Any) -> Iterator[tuple[Any, Any]]:
    for table in cluster.all(state):
        yield from table.items()


def portable(snapshots: list[tuple[StoreSnapshot, Path]], max_parallelism: int) -> list[tuple[StoreSnapshot, Path]]:
    """The snapshots in the portable format."""
    written = [
        write_portable(SnapshotFiles(snapshot, folder, (), {}), folder.with_suffix(".portable"), max_parallelism)
        for snapshot, folder in snapshots
    ]
    return [(files.snapshot, files.directory) for files in written]


shapes = st.tuples(st.sampled_from(sorted(BACKENDS)), st.integers(1, 4), st.sampled_from([4, 16, 17, 128]))


@pytest.mark.slow
@settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow], database=None)
@given(shapes, shapes, st.booleans(), st.sampled_from([300, 1 << 20]), st.lists(operations, max_size=60))
def test_any_history_restores_into_any_shape(
    old: tuple[str, int, int], new: tuple[str, int, int], through_savepoint: bool, budget: int, steps: list[Any]
) -> None:
    """Backend, parallelism and number of key groups change at once, through the portable format or straight from the
    backend's own: everything is there once and in the right place."""
    with tempfile.TemporaryDirectory() as folder:
        shape = {"uses_timers": True, "memory_budget_bytes": budget}
        before = StateCluster(BACKENDS[old[0]], Path(folder, "old"), STATES, max_parallelism=old[2], **shape)
        before.restore(before.snapshot(), old[1])
        history = History(before)
        after = StateCluster(BACKENDS[new[0]], Path(folder, "new"), STATES, max_parallelism=new[2], **shape)
        try:
            for name, *arguments in steps:
                getattr(history, name)(*arguments)
            snapshots = before.snapshot()
            after.now_ms = before.now_ms
            after.restore(portable(snapshots, old[2]) if through_savepoint else snapshots, new[1])
            history.check(after)
        finally:
            before.close()
            after.close()


async def _take_savepoint(topology: Any, source: Any, config: RunConfig, **parts: Any) -> JobStatus:
    """A job that takes a savepoint where its script pauses, and goes on to its end."""
    async with start(topology, config, **parts) as job:

        async def take() -> None:
            while not source.at_pause:
                if job.over.is_set():
                    return
                await job.clock.sleep(0)
            with suppress(CheckpointError):
                await job.savepoint("deploy")
            source.release()

        async with asyncio.TaskGroup() as group:  # it ends with the first that dies
            taking = group.create_task(take())
            try:
                await job.over.wait()
            finally:
                taking.cancel()
        return await job.wait()


async def _problems(state: Path) -> list[str]:
    """What is wrong with any checkpoint or savepoint there is."""
    storage = CheckpointStorage(state, "guarantee", InlineExecutor(), SystemClock())
    return [p for info in await storage.list() for p in await storage.verify(info.name or info.checkpoint_id or 0)]


@pytest.mark.parametrize(
    ("backend", "stride"),
    [
        pytest.param("dict", 13, marks=pytest.mark.slow),
        pytest.param("rocksdb", 37, marks=pytest.mark.slow),
        *[pytest.param(each, 1, marks=[pytest.mark.long, pytest.mark.timeout(3600)]) for each in ("dict", "rocksdb")],
    ],
)
def test_a_crash_while_a_savepoint_is_written_leaves_nothing_half(
    backend: str,
    stride: int,
    build: Callable[..., Any],
    expected: Callable[..., Any],
    readings: list[Any],
    file_sink: Callable[[Path], Any],
    visible: Callable[[Path], Any],
    tmp_path: Path,
) -> None:
    """Wherever the process dies, a savepoint that is there is whole; a new process ends the job with every result once."""

    def run_once(folder: Path, points: CrashPoints | None = None) -> JobStatus:
        source = ScriptedSource([*readings[:3], Pause(), *readings[3:5]])
        topology = build("process", source, file_sink(folder / "out"))
        config = RunConfig(
            checkpoints=folder / "state",
            checkpoint_interval="1h",
            state_backend=backend,  # type: ignore[arg-type]  # one of the two, by the parameter
            restart=restart.never(),
        )
        if points is None:
            return asyncio.run(_take_savepoint(topology, source, config))
        return crash_run(
            points,
            lambda: _take_savepoint(topology, source, config, clock=points.clock, executor=points.executor),
        )

    counted = CrashPoints(tmp_path / "counted")
    assert run_once(tmp_path / "counted", counted) is JobStatus.FINISHED
    assert any("write_portable" in label for label in counted.labels)
    whole = 0
    for index in range(0, len(counted.labels), stride):
        folder = tmp_path / str(index)
        points = CrashPoints(folder, index)
        with suppress(SimulatedCrash):
            run_once(folder, points)
        gc.collect()  # a dead process holds no database open; here the frames that it died in still do
        assert points.dead
        assert asyncio.run(_problems(folder / "state")) == [], points.labels[index]
        whole += (folder / "state" / "guarantee" / "savepoints" / "deploy" / "manifest.json").exists()
        assert run_once(folder) is JobStatus.FINISHED
        assert visible(folder / "out") == expected("process", readings[:5]), points.labels[index]
        assert not list((folder / "state" / "guarantee").glob("work/*"))
    assert 0 < whole < len(counted.labels) // stride
