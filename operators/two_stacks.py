"""A queue per key that knows the aggregate of all it holds, for aggregates that cannot take a record away."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from .layout import Layout
from .state import MapTable


class TwoStacks:
    """Accumulators of a key in order. The newer ones lie under a common aggregate; when the older ones are used up, the
    newer ones turn into older ones: going backwards, each becomes the aggregate of itself and all behind it.

    So putting in and taking out cost about two merges each over time, however long the queue is: a queue made of two
    stacks. Each accumulator is an entry of a table of its own.

    Args:
        items: (key, number) → accumulator.
        merge: `merge(acc, later)` takes the second accumulator into the first; the second stays as it is.
        copy: an independent copy of an accumulator.
    """

    def __init__(self, items: MapTable, merge: Callable[[Any, Any], None], copy: Callable[[Any], Any]) -> None:
        self._items = items
        self._merge, self._copy = merge, copy

    @staticmethod
    def head_type(layout: Layout, more: Mapping[str, Any] | None = None) -> Any:
        """The Struct type of what is kept per key: the numbers of the oldest, of the first of the newer ones, and of the
        next one; the aggregate of the newer ones; and `more` fields, which come first."""
        return msgspec.defstruct(
            "Queue",
            [
                *(more or {}).items(),
                ("oldest", int, 0),
                ("middle", int, 0),
                ("next", int, 0),
                ("newer", layout.accumulator | None, None),
            ],
            array_like=True,
        )

    def put(self, head: Any, key: Any, acc: Any) -> None:
        """Take an accumulator in, as the newest. It may not be changed afterwards."""
        self._items.put(key, head.next, acc)
        head.next += 1
        if head.newer is None:
            head.newer = self._copy(acc)
        else:
            self._merge(head.newer, acc)

    def drop(self, head: Any, key: Any) -> None:
        """Forget the oldest."""
        if head.oldest == head.middle:
            self._turn(head, key)
        self._items.remove(key, head.oldest)
        head.oldest += 1

    def whole(self, head: Any, key: Any) -> Any:
        """The aggregate of all; None of nothing. Not to be changed."""
        if head.oldest == head.middle:
            return head.newer
        older = self._items.get(key, head.oldest)
        if head.newer is None:
            return older
        whole = self._copy(older)
        self._merge(whole, head.newer)
        return whole

    def _turn(self, head: Any, key: Any) -> None:
        behind: Any = None
        for number in range(head.next - 1, head.oldest - 1, -1):
            acc = self._items.get(key, number)
            if behind is not None:
                acc = self._copy(acc)
                self._merge(acc, behind)
                self._items.put(key, number, acc)
            behind = acc
        head.middle = head.next
        head.newer = None
