"""Regular joins against a brute-force oracle: the changes played back are the join of the rows that are there."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tidegate.engine.errors import OperatorError
from tidegate.engine.testing import OperatorHarness
from tidegate.operators import Change, ChangeKind, Joined
from tidegate.operators.regular_join import RegularJoin

HOWS = ("inner", "left", "right", "outer")
ADDS = st.booleans()
RECORDS = st.tuples(st.sampled_from("ab"), st.integers(0, 3), ADDS)
STEPS = st.lists(st.tuples(st.integers(0, 1), st.lists(RECORDS, min_size=1, max_size=4)), max_size=14)


def joined(how: Any = "inner", changes: tuple[bool, bool] = (False, False), **more: Any) -> RegularJoin:
    """The operator for numbers."""
    left, right = changes
    return RegularJoin(left_type=int, right_type=int, how=how, left_changes=left, right_changes=right, **more)


def oracle(left: Counter[Any], right: Counter[Any], how: str) -> Counter[Any]:
    """The join of two bags of (key, row)."""
    found: Counter[Any] = Counter()
    for (key, a), n in left.items():
        for (other, b), m in right.items():
            if key == other:
                found[key, Joined(a, b)] += n * m
    for side, other_side, kept in ((0, right, how in ("left", "outer")), (1, left, how in ("right", "outer"))):
        met = {key for key, _ in other_side}
        for (key, row), n in (left, right)[side].items():
            if kept and key not in met:
                found[key, Joined(row, None) if side == 0 else Joined(None, row)] += n
    return found


def play(h: OperatorHarness[Any], steps: Any, how: str, changes: tuple[bool, bool]) -> None:
    """After each step all that has been given out makes up the join; nothing is taken back that was not there."""
    sides: list[Counter[Any]] = [Counter(), Counter()]
    found: Counter[Any] = Counter()
    unmatched = 0
    for index, batch in steps:
        before = len(h.values)
        pushed: list[Any] = []
        for key, row, adds in batch:
            if adds or not changes[index]:
                sides[index][key, row] += 1
                pushed.append(Change(ChangeKind.INSERT, row) if changes[index] else row)
                continue
            pushed.append(Change(ChangeKind.DELETE, row))
            if sides[index][key, row]:
                sides[index][key, row] -= 1
            else:
                unmatched += 1
            sides[index] = +sides[index]
        h.push(pushed, [7] * len(pushed), [key for key, *_ in batch], input=index)
        for key, value in zip(h.keys[before:], h.values[before:], strict=True):
            if how == "inner" and changes == (False, False):
                found[key, value] += 1
                continue
            found[key, value.value] += 1 if value.adds else -1
            assert found[key, value.value] >= 0
        assert +found == oracle(*sides, how)
    assert h.counters.get("unmatched", 0) == unmatched


@pytest.mark.slow
@pytest.mark.parametrize(
    ("backend", "budget", "examples"),
    [
        ("dict", 1 << 20, 40),
        ("rocksdb", 300, 5),
        pytest.param("dict", 1 << 20, 2000, marks=[pytest.mark.long, pytest.mark.timeout(7200)]),
        pytest.param("rocksdb", 300, 200, marks=[pytest.mark.long, pytest.mark.timeout(7200)]),
    ],
)
@pytest.mark.parametrize("block", [2, 64])
def test_what_is_given_out_makes_up_the_join_when_restored_after_every_step(
    backend, budget, examples, block, monkeypatch
):
    """Of plain streams and of update streams, however the records are cut and the rows are stored."""
    monkeypatch.setattr("tidegate.operators.kept_rows._BLOCK", block)

    @settings(max_examples=examples, deadline=None)
    @given(STEPS, st.sampled_from(HOWS), st.booleans(), st.booleans())
    def holds(steps: Any, how: Any, left: bool, right: bool) -> None:
        with OperatorHarness(joined(how, (left, right)), backend=backend, memory_budget_bytes=budget) as h:
            play(h, steps, how, (left, right))

    holds()


def test_pairs_of_plain_records_are_plain_and_come_at_once():
    """In the order in which the others came, with key and timestamp of the record that caused them."""
    with OperatorHarness(joined(select=lambda a, b: (a, b))) as h:
        h.push([1, 2], [10, 20], ["a", "a"]).push([3], [5], ["a"], input=1).push([4], [900_000_000], ["a"])
        assert h.output == [((1, 3), 5), ((2, 3), 5), ((4, 3), 900_000_000)]
        assert h.keys == ["a"] * 3


def test_who_stood_alone_is_taken_back_when_a_partner_comes():
    """Each time that the last of the other side goes, and the first one comes."""
    with OperatorHarness(joined("left", (False, True))) as h:
        h.push([1], [10], ["a"])
        h.push([Change(ChangeKind.INSERT, 5), Change(ChangeKind.DELETE, 5)], [20, 30], ["a", "a"], input=1)
        assert [(c.kind.value, c.value, at) for c, at in h.output] == [
            ("+I", Joined(1, None), 10),
            ("-D", Joined(1, None), 20),
            ("+I", Joined(1, 5), 20),
            ("-D", Joined(1, 5), 30),
            ("+I", Joined(1, None), 30),
        ]


def test_an_update_is_a_deletion_and_an_insert():
    """Of all pairs of the row."""
    with OperatorHarness(joined("inner", (True, False))) as h:
        h.push([5], keys=["a"], input=1)
        h.push(
            [Change(ChangeKind.INSERT, 1), Change(ChangeKind.UPDATE_BEFORE, 1), Change(ChangeKind.UPDATE_AFTER, 2)],
            keys=["a"] * 3,
        )
        kinds = [(c.kind.value, c.value) for c in h.values]
        assert kinds == [("+I", Joined(1, 5)), ("-D", Joined(1, 5)), ("+I", Joined(2, 5))]


@pytest.mark.parametrize("backend", ["dict", "rocksdb"])
@pytest.mark.parametrize("changes", [(False, False), (True, True)])
def test_a_row_over_its_time_meets_nobody_any_more(backend, changes):
    """Each side has its own time; what was given out stays, and a retraction of it is unmatched."""

    def rows(*values: int) -> list[Any]:
        return [Change(ChangeKind.INSERT, v) if changes[0] else v for v in values]

    operator = joined("outer", changes, left_ttl="1s", right_ttl="10s")
    with OperatorHarness(operator, backend=backend) as h:
        h.push(rows(1), keys=["a"]).advance(600).push(rows(2), keys=["a"]).advance(500)
        h.clear().push(rows(7), keys=["a"], input=1)
        assert [(c.kind.value, c.value) for c in h.values] == [("-D", Joined(2, None)), ("+I", Joined(2, 7))]
        h.advance(600).clear().push(rows(3), keys=["a"]).push(rows(8), keys=["a"], input=1)
        assert [c.value for c in h.values] == [Joined(3, 7), Joined(3, 8)]
        if changes[0]:
            h.clear().push([Change(ChangeKind.DELETE, 2), Change(ChangeKind.DELETE, 3)], keys=["a", "a"])
            assert h.counters["unmatched"] == 1
            assert [c.value for c in h.values] == [Joined(3, 7), Joined(None, 7), Joined(3, 8), Joined(None, 8)]
        h.advance(20_000).clear().push(rows(9), keys=["a"])
        assert [c.value for c in h.values] == [Joined(9, None)]


@pytest.mark.parametrize("backend", ["dict", "rocksdb"])
@pytest.mark.parametrize("changes", [False, True])
def test_nothing_stays_of_rows_over_their_time_also_where_their_key_is_not_met_again(backend, changes, monkeypatch):
    """Snapshots forget them, a little at a time."""
    monkeypatch.setattr("tidegate.operators.kept_rows._BLOCK", 2)
    operator = joined("inner", (changes, changes), left_ttl="1s", right_ttl="1s")
    with OperatorHarness(operator, backend=backend) as h:
        for n in range(60):
            values = [Change(ChangeKind.INSERT, v) if changes else v for v in range(5)]
            h.push(values, keys=[str(n)] * 5, input=n % 2).advance(100)
        for _ in range(40):
            h.advance(1_000)
        for state in h.node.operator.states():
            table = h.node.context.state(state)
            left = (
                list(table.items()) if hasattr(table, "live") else [kv for n in range(60) for kv in table.items(str(n))]
            )
            assert left == [], state.name


@pytest.mark.parametrize("changes", [False, True])
def test_a_key_with_many_rows_writes_few_of_them_anew(changes):
    """A block, however many there are; and retractions leave nothing behind."""
    operator = joined("inner", (changes, False))
    with OperatorHarness(operator, restore_every_step=False) as h:
        values = list(range(1000))
        h.push([Change(ChangeKind.INSERT, v) if changes else v for v in values], keys=["a"] * 1000)
        tables = {state.name: h.node.context.state(state) for state in h.node.operator.states()}
        assert len(tables["left"].get("a").newest.rows) < 64
        assert len(list(tables["left_blocks"].items("a"))) == 1000 // 64
        h.push([1], keys=["a"], input=1)
        assert [getattr(v, "value", v).left for v in h.values] == values
        if changes:
            h.push([Change(ChangeKind.DELETE, v) for v in reversed(values)], keys=["a"] * 1000)
            assert len(h.values) == 2000
            assert (tables["left"].get("a"), list(tables["left_blocks"].items("a"))) == (None, [])
            assert list(tables["left_places"].items("a")) == []


def test_a_failing_select_fails_the_job_where_changes_are_given_out():
    """A change left out would make all later ones wrong; a plain pair may be a dead letter."""
    with (
        OperatorHarness(joined("left", select=lambda a, b: a // b)) as h,
        pytest.raises(OperatorError, match="TypeError"),
    ):
        h.push([1], keys=["a"])
    with OperatorHarness(joined(select=lambda a, b: a // b, on_error="dead_letter")) as h:
        h.push([1], keys=["a"]).push([0, 1], keys=["a", "a"], input=1)
        assert h.values == [1]
        assert [letter.value for letter in h.side("failed")] == [Joined(1, 0)]


@pytest.mark.parametrize(
    ("changes", "value", "message"),
    [
        (
            (False, False),
            Change(ChangeKind.INSERT, 1),
            "got changes on the right side where it was told nothing of them",
        ),
        ((False, True), 1, "got int on the right side, whose type says that its records are changes"),
    ],
)
def test_records_of_the_other_kind_are_refused(changes, value, message):
    """They would be joined wrongly."""
    with OperatorHarness(joined("inner", changes)) as h, pytest.raises((TypeError, OperatorError), match=message):
        h.push([value], keys=["a"], input=1)


@pytest.mark.parametrize(
    ("how", "options", "message"),
    [
        ("full", {}, "use one of 'inner', 'left', 'right', 'outer'"),
        ("inner", {"on_error": "ignore"}, "on_error='ignore' is not known"),
        ("left", {"on_error": "skip"}, "leave on_error out"),
        ("inner", {"left_ttl": "0ms"}, "left_ttl must be longer than 0ms"),
    ],
)
def test_a_wrong_setting_is_refused(how, options, message):
    """One clear line when the topology is built."""
    with pytest.raises(ValueError, match=message):
        joined(how, **options)
