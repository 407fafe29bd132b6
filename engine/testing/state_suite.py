"""What every state backend must do, as tests: subclass `StateBackendSuite` and override `make_backend`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from ...operators.state import (
    KeyedTableState,
    ListState,
    LocalListState,
    MapState,
    ReducingState,
    StateDescriptor,
    ValueState,
    WindowTableState,
)
from ..errors import StateError, StateTypeError
from ..state.backend import OperatorStore, StateBackend, finish_at_once
from .state_cluster import StateCluster


class Point(msgspec.Struct):
    """A value for the tests of types."""

    x: int
    y: float = 0.0


KEYED: KeyedTableState[list[int]] = KeyedTableState("totals", list[int])
WINDOWS: WindowTableState[list[int]] = WindowTableState("windows", list[int])
VALUE: ValueState[Point] = ValueState("point", Point)
LIST: ListState[str] = ListState("names", str)
MAP: MapState[str, int] = MapState("counts", str, int)
NOTES: MapState[str, list[int]] = MapState("notes", str, list[int])
SUM: ReducingState[int] = ReducingState("sum", int, lambda a, b: a + b)
LOCAL: LocalListState[str] = LocalListState("in_flight", str)
EVERYTHING: tuple[StateDescriptor[Any], ...] = (KEYED, WINDOWS, VALUE, LIST, MAP, NOTES, SUM, LOCAL)


class StateBackendSuite:
    """Subclass it in a test module and override `make_backend`; pytest does the rest."""

    def make_backend(self) -> StateBackend:
        """A new backend."""
        raise TypeError(f"{type(self).__name__} must override make_backend")

    def cluster(self, folder: Path, *descriptors: StateDescriptor[Any], **settings: Any) -> StateCluster:
        """Stores of the backend with the given states."""
        return StateCluster(self.make_backend(), folder, descriptors, **settings)

    def test_a_new_store_holds_nothing(self, tmp_path: Path) -> None:
        """Everything is absent, and asking for it is no error."""
        cluster = self.cluster(tmp_path, *EVERYTHING, uses_timers=True)
        table, windows = cluster.bind(KEYED, "a"), cluster.bind(WINDOWS, "a")
        assert table.load("a") is None
        assert table.get("a") is None
        assert list(table.items()) == []
        assert windows.first() is None
        assert list(windows.namespaces()) == []
        assert windows.take(5) == {}
        assert cluster.bind(VALUE, "a").get() is None
        assert cluster.bind(LIST, "a").get() == []
        assert list(cluster.bind(MAP, "a").items()) == []
        assert cluster.bind(LOCAL, "a").items == []
        timers = cluster.stores[0].timers
        assert timers is not None
        assert timers.next_event() is None
        cluster.close()

    def test_an_operator_without_timers_has_none(self, tmp_path: Path) -> None:
        """`timers` is None when the spec does not ask for them."""
        cluster = self.cluster(tmp_path, KEYED)
        assert cluster.stores[0].timers is None
        cluster.close()

    def test_changes_in_place_survive_a_restore(self, tmp_path: Path) -> None:
        """A value changed in `live` without `put` is in the next snapshot."""
        cluster = self.cluster(tmp_path, KEYED, WINDOWS)
        cluster.bind(KEYED, "a").live["a"] = [1]
        cluster.bind(WINDOWS, "a").open(60)["a"] = [2]
        cluster.restore(cluster.snapshot(), 1)
        cluster.bind(KEYED, "a").load("a").append(10)
        cluster.bind(WINDOWS, "a").load(60, "a").append(20)
        cluster.restore(cluster.snapshot(), 1)
        assert cluster.bind(KEYED, "a").get("a") == [1, 10]
        assert cluster.bind(WINDOWS, "a").read(60) == {"a": [2, 20]}
        cluster.close()

    def test_what_was_removed_stays_removed(self, tmp_path: Path) -> None:
        """A removal is in the next snapshot, whether or not the entry was in the one before."""
        cluster = self.cluster(tmp_path, *EVERYTHING)
        for key in ("a", "b"):
            _fill(cluster, key)
        cluster.restore(cluster.snapshot(), 1)
        cluster.bind(KEYED, "a").remove("a")
        cluster.bind(WINDOWS, "a").remove(60, "a")
        cluster.bind(VALUE, "a").clear()
        cluster.bind(LIST, "a").clear()
        cluster.bind(MAP, "a").remove("x")
        cluster.bind(SUM, "a").clear()
        cluster.restore(cluster.snapshot(), 1)
        assert dict(cluster.bind(KEYED, "a").items()) == {"b": [1]}
        assert cluster.bind(WINDOWS, "a").read(60) == {"b": [1]}
        assert cluster.bind(VALUE, "a").get() is None
        assert cluster.bind(LIST, "a").get() == []
        assert list(cluster.bind(MAP, "a").items()) == [("y", 2)]
        assert cluster.bind(SUM, "a").get() is None
        assert cluster.bind(SUM, "b").get() == 7
        cluster.close()

    def test_a_snapshot_is_not_changed_by_what_comes_after(self, tmp_path: Path) -> None:
        """What happens between `begin_snapshot` and `finish` is not in the snapshot, and is not lost."""
        cluster = self.cluster(tmp_path, KEYED, WINDOWS, MAP)
        _fill(cluster, "a", (KEYED, WINDOWS, MAP))
        pending = cluster.stores[0].begin_snapshot(tmp_path / "snapshot")
        cluster.bind(KEYED, "a").load("a").append(2)
        cluster.bind(KEYED, "b").put("b", [3])
        cluster.bind(WINDOWS, "a").drop(60)
        cluster.bind(MAP, "a").clear()
        files = finish_at_once(pending)
        after = cluster.snapshot()
        cluster.restore([(files.snapshot, files.directory)], 1)
        assert dict(cluster.bind(KEYED, "a").items()) == {"a": [1]}
        assert cluster.bind(WINDOWS, "a").read(60) == {"a": [1]}
        assert sorted(cluster.bind(MAP, "a").items()) == [("x", 1), ("y", 2)]
        cluster.restore(after, 1)
        assert dict(cluster.bind(KEYED, "a").items()) == {"a": [1, 2], "b": [3]}
        assert cluster.bind(WINDOWS, "a").first() is None
        assert list(cluster.bind(MAP, "a").items()) == []
        cluster.close()

    def test_a_snapshot_in_portions_is_the_state_at_its_barrier(self, tmp_path: Path) -> None:
        """Wherever between its portions everything is changed in place, replaced, taken, removed and read."""
        for portions in (0, 1, 2, 3, 5, 8, 13, 21, 34, 55):
            cluster = self.cluster(tmp_path / str(portions), *EVERYTHING, uses_timers=True)
            for key in ("a", "b", "gone", "new"):
                _fill(cluster, key)
                _timers(cluster).set_event(10, key)
            cluster.snapshot()
            for key in ("a", "b"):
                _change(cluster, key)
            for state in (KEYED, VALUE, LIST, MAP, NOTES, SUM):
                _clear(cluster.bind(state, "gone"), "gone")
            cluster.bind(WINDOWS, "gone").remove(60, "gone")
            expected = _shown(cluster)
            pending = cluster.stores[0].begin_snapshot(tmp_path / f"snapshot-{portions}")
            for _ in range(portions):
                if not pending.written:
                    pending.advance(1)
            for key in ("a", "b", "gone"):
                _change(cluster, key)
            list(cluster.bind(KEYED, "b").items())
            _clear(cluster.bind(KEYED, "b"), "b")
            for state in (VALUE, LIST, MAP, NOTES, SUM):
                _clear(cluster.bind(state, "b"), "b")
            for entries in (cluster.bind(WINDOWS, "a").take(60), cluster.bind(WINDOWS, "a").read(90)):
                for value in entries.values():
                    value.append(99)
            cluster.bind(WINDOWS, "a").drop(120)
            list(_timers(cluster).due_event(10))
            _timers(cluster).set_event(10, "late")
            if not pending.written:
                pending.advance(1)
            after = _shown(cluster)
            files = finish_at_once(pending)
            later = cluster.snapshot()
            cluster.restore([(files.snapshot, files.directory)], 1)
            assert _shown(cluster) == expected
            cluster.restore(later, 1)
            assert _shown(cluster) == after
            cluster.close()

    def test_a_snapshot_that_fails_forgets_nothing(self, tmp_path: Path) -> None:
        """What it would have held is in the next one, also what was asked for while it was pending."""
        for portions in range(4):
            cluster = self.cluster(tmp_path / str(portions), KEYED, WINDOWS)
            _fill(cluster, "a", (KEYED, WINDOWS))
            cluster.snapshot()
            table, windows = cluster.bind(KEYED, "a"), cluster.bind(WINDOWS, "a")
            table.remove("a")
            table.put("b", [1])
            windows.remove(60, "a")
            windows.open(90)["b"] = [1]
            bad = table.live["bad"] = [object()]
            table.put("c", [1])

            def attempt(store: OperatorStore, directory: Path, portions: int = portions) -> None:
                pending = store.begin_snapshot(directory)
                for _ in range(portions):
                    pending.advance(1)
                for key in ("b", "bad", "c") if portions % 2 else ():
                    table.get(key)  # noqa: B023  # it is called at once
                finish_at_once(pending)

            folder = tmp_path / f"failed-{portions}"
            message = _refused(StateError, lambda: attempt(cluster.stores[0], folder))  # noqa: B023  # as above
            assert "'totals'" in message
            assert table.get("bad") is bad
            table.remove("bad")
            cluster.restore(cluster.snapshot(), 1)
            assert dict(cluster.bind(KEYED, "a").items()) == {"b": [1], "c": [1]}
            assert list(cluster.bind(WINDOWS, "a").namespaces()) == [90]
            assert cluster.bind(WINDOWS, "a").take(90) == {"b": [1]}
            cluster.close()

    def test_a_snapshot_lists_its_files(self, tmp_path: Path) -> None:
        """Every file named is there, and what is called immutable is one of them."""
        cluster = self.cluster(tmp_path, *EVERYTHING)
        _fill(cluster, "a")
        files = finish_at_once(cluster.stores[0].begin_snapshot(tmp_path / "snapshot"))
        assert files.files
        assert all((files.directory / name).is_file() for name in files.files)
        assert set(files.immutable) <= set(files.files)
        assert [schema.name for schema in files.snapshot.schemas] == [state.name for state in EVERYTHING]
        cluster.close()

    def test_one_snapshot_can_be_restored_many_times(self, tmp_path: Path) -> None:
        """Restoring leaves the snapshot's files as they are."""
        cluster = self.cluster(tmp_path, KEYED, LOCAL)
        for key in range(100):
            cluster.bind(KEYED, key).put(key, [key])
        snapshots = cluster.snapshot()
        for _ in range(3):
            cluster.restore(snapshots, 1)
            assert dict(cluster.bind(KEYED, 0).items()) == {key: [key] for key in range(100)}
            cluster.bind(KEYED, 0).put(0, [-1])
            cluster.snapshot()
        cluster.close()

    def test_rescaling_changes_nothing(self, tmp_path: Path) -> None:
        """From one subtask to three to two: each key's state is where the key goes, once."""
        cluster = self.cluster(tmp_path, *EVERYTHING, uses_timers=True)
        keys = [f"key{n}" for n in range(60)]
        for key in keys:
            _fill(cluster, key)
            cluster.store(key).timers.set_event(len(key), key)  # type: ignore[union-attr]  # it uses timers
        cluster.all(LOCAL)[0].items = [str(n) for n in range(7)]
        for parallelism in (3, 2, 1):
            cluster.restore(cluster.snapshot(), parallelism)
            assert sorted(key for table in cluster.all(KEYED) for key, _ in table.items()) == sorted(keys)
            assert sorted(key for table in cluster.all(WINDOWS) for key in table.read(60)) == sorted(keys)
            for key in keys:
                assert cluster.bind(KEYED, key).get(key) == [1]
                assert cluster.bind(VALUE, key).get() == Point(1, 2.0)
                assert cluster.bind(LIST, key).get() == ["p", "q"]
                assert sorted(cluster.bind(MAP, key).items()) == [("x", 1), ("y", 2)]
                assert cluster.bind(SUM, key).get() == 7
            assert sorted(item for table in cluster.all(LOCAL) for item in table.items) == list("0123456")
        assert _due(cluster) == [(4, keys[:10]), (5, sorted(keys[10:]))]
        cluster.close()

    def test_items_of_local_lists_are_dealt_out_in_turn(self, tmp_path: Path) -> None:
        """Item i, counted in order of subtask, goes to subtask i modulo the parallelism."""
        cluster = self.cluster(tmp_path, LOCAL)
        cluster.all(LOCAL)[0].items = ["a", "b", "c", "d", "e"]
        cluster.restore(cluster.snapshot(), 2)
        assert [table.items for table in cluster.all(LOCAL)] == [["a", "c", "e"], ["b", "d"]]
        cluster.restore(cluster.snapshot()[::-1], 1)
        assert cluster.all(LOCAL)[0].items == ["a", "c", "e", "b", "d"]
        cluster.close()

    def test_namespaces_come_in_order(self, tmp_path: Path) -> None:
        """Negative ones first; one that became empty is not there, and one that was taken is gone."""
        cluster = self.cluster(tmp_path, WINDOWS)
        for namespace in (60, -60, 0, 120):
            cluster.bind(WINDOWS, "a").open(namespace)["a"] = [namespace]
        cluster.bind(WINDOWS, "a").open(7)
        for _ in range(2):
            windows = cluster.bind(WINDOWS, "a")
            assert list(windows.namespaces()) == [-60, 0, 60, 120]
            assert windows.first() == -60
            cluster.restore(cluster.snapshot(), 1)
        windows = cluster.bind(WINDOWS, "a")
        windows.remove(-60, "a")
        assert windows.first() == 0
        assert windows.take(0) == {"a": [0]}
        windows.drop(60)
        assert list(windows.namespaces()) == [120]
        cluster.restore(cluster.snapshot(), 1)
        assert list(cluster.bind(WINDOWS, "a").namespaces()) == [120]
        cluster.close()

    def test_due_timers_come_in_order_and_once(self, tmp_path: Path) -> None:
        """Ascending by time; setting twice has one effect; one set meanwhile for a time already due is given too."""
        cluster = self.cluster(tmp_path, uses_timers=True)
        timers = cluster.stores[0].timers
        assert timers is not None
        for timestamp, key in ((30, "b"), (10, "a"), (10, "a"), (20, "c"), (20, "gone"), (99, "later")):
            timers.set_event(timestamp, key)
        timers.remove_event(20, "gone")
        timers.set_processing(5, "p")
        given = []
        for timestamp, keys in timers.due_event(50):
            given.append((timestamp, keys))
            if timestamp == 20:
                timers.set_event(15, "late")
        assert given == [(10, ["a"]), (20, ["c"]), (15, ["late"]), (30, ["b"])]
        assert timers.next_event() == 99
        assert timers.next_processing() == 5
        cluster.restore(cluster.snapshot(), 1)
        timers = cluster.stores[0].timers
        assert timers is not None
        assert list(timers.due_event(1000)) == [(99, ["later"])]
        assert list(timers.due_processing(5)) == [(5, ["p"])]
        assert timers.next_processing() is None
        cluster.close()

    def test_an_expired_value_is_absent(self, tmp_path: Path) -> None:
        """The time to live starts at the last write and goes on across a restore."""
        value: ValueState[int] = ValueState("v", int, ttl="10s")
        mapped: MapState[str, int] = MapState("m", str, int, ttl="10s")
        cluster = self.cluster(tmp_path, value, mapped)
        cluster.bind(value, "a").set(1)
        cluster.bind(mapped, "a").put("old", 1)
        cluster.now_ms = 5_000
        cluster.bind(mapped, "a").put("new", 2)
        cluster.restore(cluster.snapshot(), 1)
        cluster.now_ms = 9_999
        assert cluster.bind(value, "a").get() == 1
        cluster.now_ms = 10_000
        assert cluster.bind(value, "a").get() is None
        assert list(cluster.bind(mapped, "a").items()) == [("new", 2)]
        assert cluster.bind(mapped, "a").get("old") is None
        cluster.close()

    def test_what_expired_is_forgotten_without_being_read(self, tmp_path: Path) -> None:
        """Entries that nobody asks for leave the snapshots once they have expired."""
        value: ValueState[int] = ValueState("v", int, ttl="10s")
        cluster = self.cluster(tmp_path, value)
        table = value.bind(cluster.stores[0].tables)
        for key in range(50):
            cluster.store(key)
            table.set(key)
        cluster.snapshot()
        cluster.now_ms = 10_000
        for _ in range(3):
            snapshots = cluster.snapshot()
        raw: KeyedTableState[Any] = KeyedTableState("v", int, upgrade=lambda version, stored: stored)
        cluster.restore(snapshots, 1, [raw])
        assert list(cluster.bind(raw, 0).items()) == []
        cluster.close()

    def test_a_changed_type_is_refused(self, tmp_path: Path) -> None:
        """The message names operator, state and the difference."""
        cluster = self.cluster(tmp_path, ValueState("point", Point))
        snapshots = cluster.snapshot()

        class Other(msgspec.Struct):
            x: str
            z: int = 0

        message = _refused(StateTypeError, lambda: cluster.restore(snapshots, 1, [ValueState("point", Other)]))
        for part in ("'operator'", "'point'", "`point.x` was int", "`point.y`", "`point.z`", "upgrade="):
            assert part in message

    def test_a_state_that_is_not_declared_any_more_is_refused(self, tmp_path: Path) -> None:
        """State is never dropped silently."""
        cluster = self.cluster(tmp_path, KEYED, VALUE)
        snapshots = cluster.snapshot()
        message = _refused(StateError, lambda: cluster.restore(snapshots, 1, [KEYED]))
        assert "'point'" in message

    def test_another_kind_of_state_is_refused(self, tmp_path: Path) -> None:
        """A value does not become a map."""
        cluster = self.cluster(tmp_path, ValueState("s", int))
        snapshots = cluster.snapshot()
        message = _refused(StateTypeError, lambda: cluster.restore(snapshots, 1, [MapState("s", str, int)]))
        assert "keyed" in message
        assert "map" in message

    def test_an_upgrade_runs_over_all_values(self, tmp_path: Path) -> None:
        """Values of an older version go through the function once, also when the key groups are redistributed."""
        cluster = self.cluster(tmp_path, ValueState("v", int), MapState("m", str, int))
        for key in range(20):
            cluster.bind(ValueState("v", int), key).set(key)
            cluster.bind(MapState("m", str, int), key).put("x", key)
        value: ValueState[str] = ValueState("v", str, version=2, upgrade=lambda old, v: f"{old}:{v}")
        mapped: MapState[str, Point] = MapState("m", str, Point, version=2, upgrade=lambda old, v: {"x": v})
        cluster.restore(cluster.snapshot(), 3, [value, mapped])
        assert [cluster.bind(value, key).get() for key in range(20)] == [f"1:{key}" for key in range(20)]
        assert [cluster.bind(mapped, key).get("x") for key in range(20)] == [Point(key) for key in range(20)]
        cluster.restore(cluster.snapshot(), 2)
        assert cluster.bind(value, 7).get() == "1:7"
        cluster.close()

    def test_a_failing_upgrade_names_the_state(self, tmp_path: Path) -> None:
        """Whatever the function raises is the cause of a StateError."""
        cluster = self.cluster(tmp_path, VALUE)
        cluster.bind(VALUE, "a").set(Point(1))
        snapshots = cluster.snapshot()
        broken: ValueState[int] = ValueState("point", int, version=2, upgrade=lambda old, v: 1 // 0)
        message = _refused(StateError, lambda: cluster.restore(snapshots, 1, [broken]))
        assert "'point'" in message
        assert "ZeroDivisionError" in message

    def test_a_time_to_live_can_be_given_later(self, tmp_path: Path) -> None:
        """Values that had none live from the restore on; taking it away keeps them for ever."""
        plain: ValueState[int] = ValueState("v", int)
        expiring: ValueState[int] = ValueState("v", int, ttl="1s")
        cluster = self.cluster(tmp_path, plain)
        cluster.bind(plain, "a").set(1)
        cluster.now_ms = 5_000
        cluster.restore(cluster.snapshot(), 1, [expiring])
        cluster.now_ms = 5_999
        assert cluster.bind(expiring, "a").get() == 1
        snapshots = cluster.snapshot()
        cluster.now_ms = 6_000
        assert cluster.bind(expiring, "a").get() is None
        cluster.restore(snapshots, 1, [plain])
        assert cluster.bind(plain, "a").get() == 1
        cluster.close()

    def test_keys_of_a_declared_type_come_back_as_they_were(self, tmp_path: Path) -> None:
        """Tuples always do; with a key type, so does everything that it can say."""
        cluster = self.cluster(tmp_path, KEYED)
        cluster.bind(KEYED, ("a", 1)).put(("a", 1), [1])
        cluster.restore(cluster.snapshot(), 1)
        assert dict(cluster.bind(KEYED, 0).items()) == {("a", 1): [1]}
        cluster.close()
        cluster = self.cluster(tmp_path / "typed", KEYED, key_type=FrozenPoint)
        cluster.bind(KEYED, FrozenPoint(1)).put(FrozenPoint(1), [1])
        cluster.restore(cluster.snapshot(), 2)
        assert cluster.bind(KEYED, FrozenPoint(1)).load(FrozenPoint(1)) == [1]
        cluster.close()

    def test_a_key_that_could_not_be_restored_is_refused(self, tmp_path: Path) -> None:
        """At the first record that has it, not at the checkpoint."""
        cluster = self.cluster(tmp_path, KEYED)
        table = cluster.stores[0].tables.keyed(KEYED, list[int])
        assert "key_by" in _refused(StateError, lambda: table.load(1.5))
        assert "key_by" in _refused(StateError, lambda: table.load(FrozenPoint(1)))
        assert "key_by" in _refused(StateError, lambda: table.load(("a", 2.5)))
        cluster.close()

    def test_two_states_of_one_name_are_refused(self, tmp_path: Path) -> None:
        """The name is what state is found by."""
        assert "rename" in _refused(
            StateError, lambda: self.cluster(tmp_path, ValueState("s", int), ValueState("s", str))
        )

    def test_a_missing_file_is_named(self, tmp_path: Path) -> None:
        """A snapshot without its files is a StateError with the path."""
        cluster = self.cluster(tmp_path, KEYED, LOCAL)
        snapshot, folder = cluster.snapshot()[0]
        message = _refused(StateError, lambda: cluster.restore([(snapshot, folder / "nowhere")], 1))
        assert "nowhere" in message


class FrozenPoint(msgspec.Struct, frozen=True):
    """A key for the tests of types."""

    x: int


def _fill(cluster: StateCluster, key: Any, states: Sequence[StateDescriptor[Any]] = EVERYTHING) -> None:
    """Some state of each kind under a key."""
    actions: dict[str, Callable[[Any], Any]] = {
        KEYED.name: lambda table: table.put(key, [1]),
        WINDOWS.name: lambda table: table.open(60).__setitem__(key, [1]),
        VALUE.name: lambda handle: handle.set(Point(1, 2.0)),
        LIST.name: lambda handle: (handle.add("p"), handle.extend(["q"])),
        MAP.name: lambda handle: (handle.put("x", 1), handle.put("y", 2)),
        NOTES.name: lambda handle: (handle.put("x", [1]), handle.put("y", [2])),
        SUM.name: lambda handle: (handle.add(3), handle.add(4)),
        LOCAL.name: lambda handle: None,
    }
    for state in states:
        actions[state.name](cluster.bind(state, key))


def _change(cluster: StateCluster, key: Any) -> None:
    """Everything under a key changed as operators and user functions do: in place where that is allowed."""
    totals, windows = cluster.bind(KEYED, key), cluster.bind(WINDOWS, key)
    value = totals.live.get(key) or totals.load(key)
    if value is None:
        value = totals.live[key] = []
    value.append(len(value))
    for namespace in (60, 90, 120):
        entries = windows.live.get(namespace) or windows.open(namespace)
        found = entries.get(key) or windows.load(namespace, key)
        if found is None:
            found = entries[key] = []
        found.append(len(found))
    handle = cluster.bind(VALUE, key)
    point = handle.get() or Point(0)
    point.x += 1
    handle.set(point)
    cluster.bind(LIST, key).add("r")
    counts = cluster.bind(MAP, key)
    counts.put("x", (counts.get("x") or 0) + 1)
    counts.remove("y")
    counts.put("z", 1)
    notes = cluster.bind(NOTES, key)
    for note in ("x", "y", "z"):
        items = notes.get(note) or []
        items.append(len(items))
        notes.put(note, items)
    cluster.bind(SUM, key).add(1)


def _clear(handle: Any, key: Any) -> None:
    if hasattr(handle, "clear"):
        handle.clear()
    else:
        handle.remove(key)


def _shown(cluster: StateCluster) -> Any:
    """All that the first store holds of `EVERYTHING` and its event timers, which are left as they are."""
    windows, timers = cluster.bind(WINDOWS, "a"), _timers(cluster)
    due = list(timers.due_event(1 << 40))
    for timestamp, keys in due:
        for key in keys:
            timers.set_event(timestamp, key)
    return msgspec.to_builtins(
        [
            sorted(cluster.bind(KEYED, "a").items()),
            [(namespace, sorted(windows.read(namespace).items())) for namespace in windows.namespaces()],
            [
                (
                    cluster.bind(VALUE, key).get(),
                    cluster.bind(LIST, key).get(),
                    sorted(cluster.bind(MAP, key).items()),
                    sorted(cluster.bind(NOTES, key).items()),
                    cluster.bind(SUM, key).get(),
                )
                for key in ("a", "b", "gone", "new")
            ],
            due,
        ]
    )


def _timers(cluster: StateCluster) -> Any:
    return cluster.stores[0].timers


def _due(cluster: StateCluster) -> list[tuple[int, list[Any]]]:
    """All event timers of all stores."""

    def given() -> Iterator[tuple[int, Any]]:
        for store in cluster.stores:
            assert store.timers is not None
            for timestamp, keys in store.timers.due_event(1 << 40):
                yield from ((timestamp, key) for key in keys)

    found: dict[int, list[Any]] = {}
    for timestamp, key in sorted(given()):
        found.setdefault(timestamp, []).append(key)
    return sorted(found.items())


def _refused(kind: type[StateError], action: Callable[[], Any]) -> str:
    """The message of the error that an action raises."""
    try:
        action()
    except kind as error:
        return str(error)
    raise AssertionError(f"no {kind.__name__} was raised")
