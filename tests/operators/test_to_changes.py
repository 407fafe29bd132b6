"""Update streams made, narrowed and left."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tidegate.engine.errors import OperatorError
from tidegate.engine.testing import OperatorHarness
from tidegate.operators.changes import Change, ChangeKind
from tidegate.operators.to_changes import InsertOnly, ToChanges, ToUpserts

KINDS = [ChangeKind(kind) for kind in ("+I", "-U", "+U", "-D")]


def shown(values: list[Change[Any]]) -> list[tuple[str, Any]]:
    """Changes as short names and rows."""
    return [(change.kind.value, change.value) for change in values]


def test_upserts_become_inserts_and_updates() -> None:
    """A record that says what was known already says nothing."""
    with OperatorHarness(ToChanges(type=int)) as h:
        h.push([1, 1, 2, 3], [10, 11, 12, 13], ["a", "a", "a", "b"])
        assert shown(h.values) == [("+I", 1), ("-U", 1), ("+U", 2), ("+I", 3)]
        assert [t for _, t in h.output] == [10, 12, 12, 13]
        assert h.keys == ["a", "a", "a", "b"]
        assert h.counters == {"unchanged": 1}


def test_a_record_may_say_that_its_row_is_gone() -> None:
    """None does, or what a function says; what is gone can come again."""
    with OperatorHarness(ToChanges(deleted=lambda v: v == "gone")) as h:
        h.push(["x", "gone", "gone", "y", None], keys=["a"] * 5)
        assert shown(h.values) == [("+I", "x"), ("-D", "x"), ("+I", "y"), ("-D", "y")]


@pytest.mark.parametrize(("backend", "examples"), [("dict", 50), pytest.param("rocksdb", 4, marks=pytest.mark.slow)])
def test_changes_become_whole(backend: Any, examples: int) -> None:
    """Whatever is missing or doubled: each row that comes out leads on from the one before."""

    @settings(max_examples=examples, deadline=None)
    @given(
        st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from(KINDS), st.integers(0, 3)), max_size=25),
        st.integers(0, 25),
    )
    def check(changes: list[tuple[str, ChangeKind, int]], cut: int) -> None:
        rows: dict[str, int] = {}
        want: dict[str, int] = {}
        with OperatorHarness(ToChanges(type=int), backend=backend, memory_budget_bytes=200) as h:
            for part in (changes[:cut], changes[cut:]):
                h.push([Change(kind, row) for _, kind, row in part], keys=[key for key, *_ in part])
            for key, kind, row in changes:
                if kind in (ChangeKind.INSERT, ChangeKind.UPDATE_AFTER):
                    want[key] = row
                elif kind is ChangeKind.DELETE:
                    want.pop(key, None)
            before = None
            for key, change in zip(h.keys, h.values, strict=True):
                if before is not None:
                    assert change.kind is ChangeKind.UPDATE_AFTER
                if change.kind is ChangeKind.INSERT:
                    assert key not in rows
                elif not change.adds:
                    assert rows.pop(key) == change.value
                before = change if change.kind is ChangeKind.UPDATE_BEFORE else None
                if change.adds:
                    rows[key] = change.value
            assert rows == want

    check()


def test_upserts_are_changes_without_the_rows_before() -> None:
    """What a reader who knows rows by their key needs."""
    with OperatorHarness(ToUpserts[int]()) as h:
        h.push([Change(kind, 1) for kind in KINDS], keys=["a"] * 4)
        assert shown(h.values) == [("+I", 1), ("+U", 1), ("-D", 1)]
        h.clear().push([Change(ChangeKind.UPDATE_BEFORE, 1)])
        assert h.values == []


def test_rows_that_are_only_inserted_leave_the_update_stream() -> None:
    """Anything else is an error of its record."""
    with OperatorHarness(InsertOnly[int](on_error="dead_letter")) as h:
        h.push([Change(ChangeKind.INSERT, 1), Change(ChangeKind.DELETE, 1), Change(ChangeKind.INSERT, 2)])
        assert h.values == [1, 2]
        assert [letter.value.kind.value for letter in h.side("failed")] == ["-D"]
    with OperatorHarness(InsertOnly[int]()) as h, pytest.raises(OperatorError, match="insert_only got \\+U"):
        h.push([Change(ChangeKind.UPDATE_AFTER, 1)])
