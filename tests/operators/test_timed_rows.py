"""The records of one side of a join, by time and key, against a plain list."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tidegate.engine.state import DictBackend
from tidegate.engine.testing.state_cluster import StateCluster
from tidegate.operators.timed_rows import Surroundings, TimedRows, rows_state

ROWS = rows_state("rows", int)
TIMES = st.integers(-30, 30)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), TIMES, st.sampled_from("ab"), st.integers(0, 99)),
        st.tuples(
            st.just("add all"),
            st.lists(st.tuples(TIMES, st.sampled_from("ab"), st.integers(0, 99)), max_size=5),
        ),
        st.tuples(st.just("remove"), TIMES, TIMES, st.sampled_from("ab")),
        st.tuples(st.just("take"), TIMES),
        st.tuples(st.just("drop"), TIMES),
    ),
    max_size=20,
)


@pytest.fixture(scope="module")
def tables(tmp_path_factory: Any) -> Iterator[Any]:
    """Makes empty tables."""
    folder: Path = tmp_path_factory.mktemp("rows")
    clusters: list[StateCluster] = []

    def make() -> Any:
        clusters.append(StateCluster(DictBackend(), folder / str(len(clusters)), [ROWS]))
        return clusters[-1].all(ROWS)[0]

    yield make
    for cluster in clusters:
        cluster.close()


def test_they_are_what_a_list_of_them_would_be(tables):
    """Whatever is added, asked for, removed and taken, with panes of any length."""

    @settings(max_examples=100, deadline=None)
    @given(STEPS, st.integers(1, 12), st.integers(0, 5))
    def holds(steps: Any, pane_ms: int, offset_ms: int) -> None:
        rows = TimedRows(tables(), pane_ms, offset_ms % pane_ms)
        kept: list[tuple[int, str, int]] = []
        for kind, *arguments in steps:
            if kind == "add":
                rows.add(*arguments)
                kept.append(tuple(arguments))
            elif kind == "add all":
                times, keys, values = zip(*arguments[0], strict=True) if arguments[0] else ((), (), ())
                rows.add_all(times, keys, values)
                kept += arguments[0]
            elif kind == "remove":
                first, last, key = arguments
                rows.remove_between(key, first, last)
                kept = [row for row in kept if row[1] != key or not first <= row[0] <= last]
            elif kind == "take":
                taken = rows.take_to(arguments[0])
                assert [row[0] for row in taken] == sorted(row[0] for row in taken)
                assert sorted(taken) == sorted(row for row in kept if row[0] <= arguments[0])
                kept = [row for row in kept if row[0] > arguments[0]]
            else:
                end = rows.pane_of(arguments[0])
                rows.drop_to(end)
                kept = [row for row in kept if row[0] >= end]
            kept.sort(key=lambda row: row[0])
            for key in "ab":
                for first, last in ((-100, 100), (-5, 7), (3, 3)):
                    found = [value for at, k, value in kept if k == key and first <= at <= last]
                    assert rows.values_between(key, first, last) == found
            around = Surroundings(rows, -7, 4)
            for at in (*range(-40, 40, 3), 0, -40):
                for key in "ab":
                    found = [v for _, pane, start, stop in around.of(key, at) for v in pane.values[start:stop]]
                    assert found == rows.values_between(key, at - 7, at + 4)
            whole = rows.by_key(rows.panes_to(100))
            assert whole == {key: [v for _, k, v in kept if k == key] for key in whole}
            assert sum(map(len, whole.values())) == len(kept)

    holds()


def test_flags_stay_with_their_records(tables):
    """However they are added; who has met a partner is not alone any more."""
    rows = TimedRows(tables(), 10)
    for at, value, alone in ((5, 1, True), (3, 2, False), (7, 3, True), (5, 4, True)):
        rows.add_flagged(at, "a", value, alone=alone)
    ((pane, found, start, stop),) = rows.slices("a", 4, 6)
    assert (found.values[start:stop], found.alone[start:stop]) == ([1, 4], [True, True])
    rows.meet(pane, "a", start, stop)
    ((_, found, _, _),) = rows.slices("a", 0, 9)
    assert (found.values, found.alone) == ([2, 1, 4, 3], [False, False, False, True])
