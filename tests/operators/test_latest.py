"""The changes of a table, played back, are the table."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tidegate.engine.testing import OperatorHarness
from tidegate.operators import Change, ChangeKind
from tidegate.operators.latest import Latest
from tidegate.operators.table_input import TableInput

RECORDS = st.tuples(st.sampled_from("ab"), st.one_of(st.none(), st.integers(0, 3)))
BATCHES = st.lists(st.lists(RECORDS, min_size=1, max_size=4), max_size=8)


def played_back(changes: list[tuple[Any, Change[Any]]]) -> dict[Any, Any]:
    """The table that (key, change) lead to; each must fit what was there."""
    table: dict[Any, Any] = {}
    for key, change in changes:
        if change.kind in (ChangeKind.UPDATE_BEFORE, ChangeKind.DELETE):
            assert table.pop(key) == change.value
        else:
            assert key not in table
            table[key] = change.value
    return table


@pytest.mark.slow
@pytest.mark.parametrize(("backend", "budget", "examples"), [("dict", 1 << 20, 15), ("rocksdb", 300, 4)])
def test_the_changes_played_back_are_the_table(backend, budget, examples):
    """Whatever comes, wherever it is cut, restored after every step."""

    @settings(max_examples=examples, deadline=None)
    @given(BATCHES)
    def holds(batches: Any) -> None:
        with OperatorHarness(Latest(TableInput(int)), backend=backend, memory_budget_bytes=budget) as h:
            table: dict[str, int] = {}
            for batch in batches:
                keys, values = map(list, zip(*batch, strict=True))
                h.push(values, keys=keys)
                for key, value in batch:
                    if value is None:
                        table.pop(key, None)
                    else:
                        table[key] = value
                assert played_back(list(zip(h.keys, h.values, strict=True))) == table

    holds()


def test_changes_keep_the_time_and_key_of_their_record():
    """An update is two records of it; a row that stays what it is gives none."""
    with OperatorHarness(Latest(TableInput(int))) as h:
        h.push([1, 2, 2, None], [10, 20, 30, 40], ["a"] * 4)
        kinds = [(change.kind.value, change.value, at) for change, at in h.output]
        assert kinds == [("+I", 1, 10), ("-U", 1, 20), ("+U", 2, 20), ("-D", 2, 40)]
        assert h.keys == ["a"] * 4


def test_a_function_makes_the_rows_and_deletes_them():
    """None from the function is a deletion; what it fails on goes where `on_error` says."""
    table = TableInput(int, row=lambda text: int(text) if text else None, on_error="dead_letter")
    with OperatorHarness(Latest(table)) as h:
        h.push(["1", "x", ""], keys=["a", "a", "a"])
        assert [(change.kind, change.value) for change in h.values] == [(ChangeKind.INSERT, 1), (ChangeKind.DELETE, 1)]
        assert [letter.value for letter in h.side("failed")] == ["x"]


def test_an_update_stream_becomes_the_table_that_it_describes():
    """Also when it was put under other keys on the way, so that the halves of an update part."""
    changes = [
        Change(ChangeKind.INSERT, 1),
        Change(ChangeKind.UPDATE_BEFORE, 1),
        Change(ChangeKind.UPDATE_AFTER, 2),
        Change(ChangeKind.DELETE, 2),
    ]
    with OperatorHarness(Latest(TableInput(int, row=lambda n: n * 10))) as h:
        h.push(changes, keys=["a", "a", "b", "b"])
        kinds = [(key, change.kind.value, change.value) for key, change in zip(h.keys, h.values, strict=True)]
        assert kinds == [("a", "+I", 10), ("a", "-D", 10), ("b", "+I", 20), ("b", "-D", 20)]


def test_a_table_that_forgets_silently_is_refused():
    """Its changes would be wrong."""
    with pytest.raises(ValueError, match="leave ttl out"):
        Latest(TableInput(int, ttl="1h"))
