"""Records that meet the rows of a table as they are at that moment."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tidegate.engine.testing import OperatorHarness
from tidegate.operators import Joined
from tidegate.operators.stream_table_join import StreamTableJoin
from tidegate.operators.table_input import TableInput

RECORDS = st.tuples(st.integers(0, 99), st.sampled_from("ab"), st.one_of(st.integers(0, 9)))
ROWS = st.tuples(st.integers(0, 99), st.sampled_from("ab"), st.one_of(st.none(), st.integers(0, 9)))
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just(0), st.lists(RECORDS, min_size=1, max_size=4)),
        st.tuples(st.just(1), st.lists(ROWS, min_size=1, max_size=4)),
    ),
    max_size=10,
)


@pytest.mark.slow
@pytest.mark.parametrize(("backend", "budget", "examples"), [("dict", 1 << 20, 20), ("rocksdb", 300, 4)])
def test_a_record_meets_the_row_that_is_there(played, backend, budget, examples):
    """The row of its key that came last, if it was not deleted."""

    @settings(max_examples=examples, deadline=None)
    @given(STEPS, st.sampled_from(["inner", "left"]))
    def holds(steps: Any, how: Any) -> None:
        table: dict[str, int] = {}
        expected = []
        for index, records in steps:
            found = []
            for at, key, value in records:
                if index == 1 and value is None:
                    table.pop(key, None)
                elif index == 1:
                    table[key] = value
                elif key in table or how == "left":
                    found.append((Joined(value, table.get(key)), at, key))
            expected.append(sorted(found, key=repr))
        operator = StreamTableJoin(TableInput(int), how=how)
        assert played(operator, steps, backend=backend, memory_budget_bytes=budget)[0] == expected

    holds()


def test_rows_with_a_time_to_live_are_forgotten():
    """Counted from when they were written last."""
    operator = StreamTableJoin(TableInput(int, ttl="10s"), how="left", select=lambda record, row: (record, row))
    with OperatorHarness(operator) as h:
        h.push([1], keys=["a"], input=1).advance(9_999).push(["in time"], keys=["a"])
        h.advance(1).push(["too late"], keys=["a"])
        assert h.values == [("in time", 1), ("too late", None)]


def test_a_pair_that_select_fails_on_goes_where_it_is_told():
    """The dead letter holds record and row."""
    operator = StreamTableJoin(TableInput(int), select=lambda a, b: a // b, on_error="dead_letter")
    with OperatorHarness(operator) as h:
        h.push([0, 2], keys=["a", "b"], input=1).push([8, 8, 8], keys=["a", "b", "c"])
        assert h.values == [4]
        assert [letter.value for letter in h.side("failed")] == [Joined(8, 0)]


def test_only_inner_and_left_make_sense():
    """A table does not wait for records."""
    with pytest.raises(ValueError, match="use one of 'inner', 'left'"):
        StreamTableJoin(TableInput(int), how="outer")
