"""What every state backend must do with types, versions and keys, as tests. Part of the suite of state backends."""

from __future__ import annotations

from pathlib import Path

import msgspec

from ...operators.state import MapState, ValueState
from ..errors import StateError, StateTypeError
from .state_cases import KEYED, VALUE, FrozenPoint, Point, StateCases, refused


class StateTypesSuite(StateCases):
    """What is stored is of the type that is declared, or becomes it, or is refused."""

    def test_a_changed_type_is_refused(self, tmp_path: Path) -> None:
        """The message names operator, state and the difference."""
        cluster = self.cluster(tmp_path, ValueState("point", Point))
        snapshots = cluster.snapshot()

        class Other(msgspec.Struct):
            x: str
            z: int = 0

        message = refused(StateTypeError, lambda: cluster.restore(snapshots, 1, [ValueState("point", Other)]))
        for part in ("'operator'", "'point'", "`point.x` was int", "`point.y`", "`point.z`", "upgrade="):
            assert part in message

    def test_a_state_that_is_not_declared_any_more_is_refused(self, tmp_path: Path) -> None:
        """State is never dropped silently."""
        cluster = self.cluster(tmp_path, KEYED, VALUE)
        snapshots = cluster.snapshot()
        message = refused(StateError, lambda: cluster.restore(snapshots, 1, [KEYED]))
        assert "'point'" in message

    def test_another_kind_of_state_is_refused(self, tmp_path: Path) -> None:
        """A value does not become a map."""
        cluster = self.cluster(tmp_path, ValueState("s", int))
        snapshots = cluster.snapshot()
        message = refused(StateTypeError, lambda: cluster.restore(snapshots, 1, [MapState("s", str, int)]))
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
        message = refused(StateError, lambda: cluster.restore(snapshots, 1, [broken]))
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
        assert "key_by" in refused(StateError, lambda: table.load(1.5))
        assert "key_by" in refused(StateError, lambda: table.load(FrozenPoint(1)))
        assert "key_by" in refused(StateError, lambda: table.load(("a", 2.5)))
        cluster.close()

    def test_two_states_of_one_name_are_refused(self, tmp_path: Path) -> None:
        """The name is what state is found by."""
        assert "rename" in refused(
            StateError, lambda: self.cluster(tmp_path, ValueState("s", int), ValueState("s", str))
        )
