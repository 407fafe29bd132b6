"""A queue that knows the aggregate of all it holds."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from tidegate.operators import agg
from tidegate.operators.layout import Layout
from tidegate.operators.two_stacks import TwoStacks

LAYOUT = Layout({"all": agg.collect()})


class Table:
    """A map table that counts how often it is used."""

    def __init__(self) -> None:
        self.entries: dict[Any, Any] = {}
        self.uses = 0

    def get(self, key: Any, map_key: Any) -> Any:
        self.uses += 1
        return self.entries.get((key, map_key))

    def put(self, key: Any, map_key: Any, value: Any) -> None:
        self.uses += 1
        self.entries[key, map_key] = value

    def remove(self, key: Any, map_key: Any) -> None:
        self.uses += 1
        del self.entries[key, map_key]


def stacks() -> tuple[TwoStacks, Any, Table]:
    """A queue of lists, its head and its table."""
    table, head = Table(), TwoStacks.head_type(LAYOUT)()

    def merge(acc: Any, later: Any) -> None:
        acc.all += later.all

    return TwoStacks(table, merge, lambda acc: LAYOUT.accumulator(acc.all.copy())), head, table  # type: ignore[arg-type]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.booleans(), max_size=40))
def test_the_whole_is_what_was_put_in_and_not_dropped(steps: list[bool]) -> None:
    """In order, after every step."""
    queue, head, _ = stacks()
    kept: list[int] = []
    for number, puts in enumerate(steps):
        if puts:
            queue.put(head, "a", LAYOUT.accumulator([number]))
            kept.append(number)
        elif kept:
            queue.drop(head, "a")
            kept.pop(0)
        whole = queue.whole(head, "a")
        assert (whole.all if whole is not None else []) == kept


def test_a_step_costs_the_same_however_long_the_queue_is() -> None:
    """Over time, a few entries each."""
    queue, head, table = stacks()
    for number in range(1000):
        queue.put(head, "a", LAYOUT.accumulator([]))
        if number >= 100:
            queue.drop(head, "a")
            queue.whole(head, "a")
    assert table.uses < 7 * 1000
    assert len(table.entries) == 100
