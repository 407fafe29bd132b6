"""What every state backend must do, as tests: subclass `StateBackendSuite` and override `make_backend`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ...operators.state import KeyedTableState, MapState, ValueState
from ..errors import StateError
from ..state.backend import OperatorStore, finish_at_once
from .state_cases import (
    EVERYTHING,
    KEYED,
    LIST,
    LOCAL,
    MAP,
    NOTES,
    RULES,
    SUM,
    VALUE,
    WINDOWS,
    Point,
    change,
    clear,
    due_timers,
    fill,
    refused,
    shown,
    timers_of,
)
from .state_types_suite import StateTypesSuite


class StateBackendSuite(StateTypesSuite):
    """Subclass it in a test module and override `make_backend`; pytest does the rest."""

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
        assert cluster.bind(RULES, "a").entries == {}
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
            fill(cluster, key)
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
        fill(cluster, "a", (KEYED, WINDOWS, MAP))
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
                fill(cluster, key)
                timers_of(cluster).set_event(10, key)
            cluster.snapshot()
            for key in ("a", "b"):
                change(cluster, key)
            for state in (KEYED, VALUE, LIST, MAP, NOTES, SUM):
                clear(cluster.bind(state, "gone"), "gone")
            cluster.bind(WINDOWS, "gone").remove(60, "gone")
            expected = shown(cluster)
            pending = cluster.stores[0].begin_snapshot(tmp_path / f"snapshot-{portions}")
            for _ in range(portions):
                if not pending.written:
                    pending.advance(1)
            for key in ("a", "b", "gone"):
                change(cluster, key)
            list(cluster.bind(KEYED, "b").items())
            clear(cluster.bind(KEYED, "b"), "b")
            for state in (VALUE, LIST, MAP, NOTES, SUM):
                clear(cluster.bind(state, "b"), "b")
            for entries in (cluster.bind(WINDOWS, "a").take(60), cluster.bind(WINDOWS, "a").read(90)):
                for value in entries.values():
                    value.append(99)
            cluster.bind(WINDOWS, "a").drop(120)
            list(timers_of(cluster).due_event(10))
            timers_of(cluster).set_event(10, "late")
            if not pending.written:
                pending.advance(1)
            after = shown(cluster)
            files = finish_at_once(pending)
            later = cluster.snapshot()
            cluster.restore([(files.snapshot, files.directory)], 1)
            assert shown(cluster) == expected
            cluster.restore(later, 1)
            assert shown(cluster) == after
            cluster.close()

    def test_a_snapshot_that_fails_forgets_nothing(self, tmp_path: Path) -> None:
        """What it would have held is in the next one, also what was asked for while it was pending."""
        for portions in range(4):
            cluster = self.cluster(tmp_path / str(portions), KEYED, WINDOWS)
            fill(cluster, "a", (KEYED, WINDOWS))
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
            message = refused(StateError, lambda: attempt(cluster.stores[0], folder))  # noqa: B023  # as above
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
        fill(cluster, "a")
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
            fill(cluster, key)
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
        assert due_timers(cluster) == [(4, keys[:10]), (5, sorted(keys[10:]))]
        cluster.close()

    def test_items_of_local_lists_are_dealt_out_in_turn(self, tmp_path: Path) -> None:
        """Item i, counted in order of subtask, goes to subtask i modulo the parallelism; at an unchanged one each subtask gets
        its own back, in order."""
        cluster = self.cluster(tmp_path, LOCAL)
        cluster.all(LOCAL)[0].items = ["a", "b", "c", "d", "e"]
        cluster.restore(cluster.snapshot(), 2)
        assert [table.items for table in cluster.all(LOCAL)] == [["a", "c", "e"], ["b", "d"]]
        cluster.restore(cluster.snapshot()[::-1], 2)
        assert [table.items for table in cluster.all(LOCAL)] == [["a", "c", "e"], ["b", "d"]]
        cluster.restore(cluster.snapshot()[::-1], 1)
        assert cluster.all(LOCAL)[0].items == ["a", "c", "e", "b", "d"]
        cluster.close()

    def test_every_subtask_has_a_broadcast_map_whole(self, tmp_path: Path) -> None:
        """Before and after a rescale. Tuples may be keys."""
        rules = {("a", 1): 10, "b": 20, 3: 30}
        cluster = self.cluster(tmp_path, RULES)
        cluster.all(RULES)[0].entries.update(rules)
        for parallelism in (3, 3, 2, 1):
            snapshots = cluster.snapshot()
            for handle in cluster.all(RULES):
                handle.entries["after the barrier"] = 1
            cluster.restore(snapshots, parallelism)
            assert [table.entries for table in cluster.all(RULES)] == [rules] * parallelism
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

    def test_a_missing_file_is_named(self, tmp_path: Path) -> None:
        """A snapshot without its files is a StateError with the path."""
        cluster = self.cluster(tmp_path, KEYED, LOCAL)
        snapshot, folder = cluster.snapshot()[0]
        message = refused(StateError, lambda: cluster.restore([(snapshot, folder / "nowhere")], 1))
        assert "nowhere" in message
