"""The changes of two joined tables, played back, are the join of the tables."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tidegate.engine.errors import OperatorError
from tidegate.engine.testing import OperatorHarness
from tidegate.operators import Change, ChangeKind, Joined
from tidegate.operators.table_input import TableInput
from tidegate.operators.table_join import TableJoin

RECORDS = st.tuples(st.sampled_from("ab"), st.one_of(st.none(), st.integers(0, 3)))
STEPS = st.lists(st.tuples(st.integers(0, 1), st.lists(RECORDS, min_size=1, max_size=4)), max_size=12)


def joined(left: dict[str, int], right: dict[str, int], how: str) -> dict[str, Any]:
    """The join of two dicts."""
    keys = {
        "inner": left.keys() & right.keys(),
        "left": left.keys(),
        "right": right.keys(),
        "outer": left.keys() | right.keys(),
    }[how]
    return {key: Joined(left.get(key), right.get(key)) for key in keys}


@pytest.mark.slow
@pytest.mark.parametrize(("backend", "budget", "examples"), [("dict", 1 << 20, 25), ("rocksdb", 300, 4)])
def test_the_changes_played_back_are_the_joined_table(backend, budget, examples):
    """After every step, however the records are cut; each retraction is of what was there."""

    @settings(max_examples=examples, deadline=None)
    @given(STEPS, st.sampled_from(["inner", "left", "right", "outer"]))
    def holds(steps: Any, how: Any) -> None:
        tables: list[dict[str, int]] = [{}, {}]
        found: dict[str, Any] = {}
        operator = TableJoin(TableInput(int), TableInput(int), how=how)
        with OperatorHarness(operator, backend=backend, memory_budget_bytes=budget) as h:
            for index, batch in steps:
                keys, values = map(list, zip(*batch, strict=True))
                before = len(h.values)
                h.push(values, keys=keys, input=index)
                for key, value in batch:
                    if value is None:
                        tables[index].pop(key, None)
                    else:
                        tables[index][key] = value
                for key, change in zip(h.keys[before:], h.values[before:], strict=True):
                    if change.kind in (ChangeKind.UPDATE_BEFORE, ChangeKind.DELETE):
                        assert found.pop(key) == change.value
                    else:
                        assert key not in found
                        found[key] = change.value
                assert found == joined(*tables, how)

    holds()


def test_an_update_takes_back_what_no_longer_holds():
    """With the timestamp of the record that caused it; what the row is made of is the user's."""
    operator = TableJoin(TableInput(int), TableInput(int), how="left", select=lambda a, b: a + (b or 0))
    with OperatorHarness(operator) as h:
        h.push([1], [10], ["a"]).push([5], [20], ["a"], input=1).push([None], [30], ["a"])
        kinds = [(change.kind.value, change.value, at) for change, at in h.output]
        assert kinds == [("+I", 1, 10), ("-U", 1, 20), ("+U", 6, 20), ("-D", 6, 30)]


def test_joined_tables_are_tables_again():
    """The changes of one join are the input of the next."""
    operator = TableJoin(TableInput(int), TableInput(int))
    with OperatorHarness(operator) as h:
        h.push([Change(ChangeKind.INSERT, 1)], keys=["a"]).push([2], keys=["a"], input=1)
        h.push([Change(ChangeKind.DELETE, 1)], keys=["a"])
        assert h.values == [Change(ChangeKind.INSERT, Joined(1, 2)), Change(ChangeKind.DELETE, Joined(1, 2))]


def test_a_failing_select_fails_the_job():
    """A change left out would make all later ones wrong."""
    operator = TableJoin(TableInput(int), TableInput(int), select=lambda a, b: a // b)
    with OperatorHarness(operator) as h, pytest.raises(OperatorError, match="ZeroDivisionError"):
        h.push([1], keys=["a"]).push([0], keys=["a"], input=1)


def test_a_wrong_setting_is_refused():
    """One clear line when the topology is built."""
    with pytest.raises(ValueError, match="use one of"):
        TableJoin(TableInput(int), TableInput(int), how="full")
    with pytest.raises(ValueError, match="leave ttl out"):
        TableJoin(TableInput(int), TableInput(int, ttl="1h"))
