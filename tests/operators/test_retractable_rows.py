"""Collections that give up any of their values."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tidegate.operators.retractable_rows import ArrivalRows, RankedRows


class Context:
    """Gives out map tables, one per state."""

    def __init__(self) -> None:
        self.tables: dict[str, Table] = {}

    def state(self, descriptor: Any) -> Any:
        return self.tables.setdefault(descriptor.name, Table())


class Table:
    """A map table."""

    def __init__(self) -> None:
        self.entries: dict[Any, dict[Any, Any]] = {}
        self.uses = 0

    def get(self, key: Any, map_key: Any) -> Any:
        self.uses += 1
        return self.entries.get(key, {}).get(map_key)

    def put(self, key: Any, map_key: Any, value: Any) -> None:
        self.uses += 1
        self.entries.setdefault(key, {})[map_key] = value

    def remove(self, key: Any, map_key: Any) -> None:
        self.uses += 1
        self.entries.get(key, {}).pop(map_key, None)

    def items(self, key: Any) -> Any:
        self.uses += len(self.entries.get(key, {}))
        return iter(list(self.entries.get(key, {}).items()))


STEPS = st.lists(st.tuples(st.booleans(), st.integers(0, 5)), max_size=60)


@settings(max_examples=60, deadline=None)
@given(STEPS)
def test_the_first_and_the_last_are_those_that_are_left(steps: list[tuple[bool, int]]) -> None:
    """Of equal values the oldest is given up first."""
    context = Context()
    rows = ArrivalRows("r", type=int).opened(context)  # type: ignore[arg-type]
    head, there = rows.empty(), []
    for adds, value in steps:
        if adds:
            rows.add(head, "k", value)
            there.append(value)
        elif value in there:
            rows.remove(head, "k", value)
            there.remove(value)
        else:
            with pytest.raises(LookupError):
                rows.remove(head, "k", value)
        assert (head.first, head.last) == ((there[0], there[-1]) if there else (None, None))
    assert sum(len(entries) for entries in context.tables["r_links"].entries.values()) == len(there)


def test_giving_up_costs_the_same_whatever_there_is() -> None:
    """Also where all values are equal, and where the last goes again and again."""
    context = Context()
    rows = ArrivalRows("r").opened(context)  # type: ignore[arg-type]
    head = rows.empty()
    for n in range(1000):
        rows.add(head, "k", n // 500)
    for n in range(500):
        rows.remove(head, "k", 0)
        rows.add(head, "k", -n - 1)
        rows.remove(head, "k", -n - 1)
    assert sum(table.uses for table in context.tables.values()) < 40 * 1000


@settings(max_examples=60, deadline=None)
@given(STEPS, st.integers(1, 3))
def test_the_best_are_the_greatest_of_those_that_are_left(steps: list[tuple[bool, int]], n: int) -> None:
    """Equal values count as often as they are there."""
    rows = RankedRows("r", n, type=int).opened(Context())  # type: ignore[arg-type]
    head, there = rows.empty(), []
    for adds, value in steps:
        if adds:
            rows.add(head, "k", value)
            there.append(value)
        elif value in there:
            rows.remove(head, "k", value)
            there.remove(value)
        else:
            with pytest.raises(LookupError):
                rows.remove(head, "k", value)
        assert rows.best(head, n) == sorted(there, reverse=True)[:n]


def test_a_value_that_cannot_be_stored_says_what_to_do() -> None:
    """Pass its type."""
    rows: list[Any] = [RankedRows("r", 1), ArrivalRows("r")]
    for kept in rows:
        opened = kept.opened(Context())
        with pytest.raises(TypeError, match="type="):
            opened.add(opened.empty(), "k", {1}.__class__([1]))
