"""The records of each key that rank highest, as an update stream."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from .batch import Batch
from .changes import Change, ChangeKind
from .collecting_parts import insert_ranked
from .fields import reader
from .operator import Operator, OperatorContext
from .retractable_rows import RankedRows
from .state import KeyedTable, KeyedTableState, StateDescriptor

T = TypeVar("T")


class TopN(Operator[T, Change[T]]):
    """The `n` records of each key that rank highest so far: +I when a record comes among them, -D when another drives
    it out. Of equal ranks the record that came first stays. A record whose rank is None is left out; NaN ranks above
    every number.

    Changes take the timestamp, key and origin of the record that caused them.

    A record costs one lookup, and a comparison with those among the first that it beats. State: `n` records per key, for
    ever.

    Args:
        n: how many.
        by: what they are ranked by: a field's name or a function.
        smallest: whether the smallest rank comes first.
        type: the type of the records, for storing them; None: numbers, strings, lists and dicts of them.

    Raises:
        ValueError: `n` is less than 1.
    """

    kind: str = "top_n"
    keyed: bool = True

    def __init__(self, n: int, by: str | Callable[[T], Any], *, smallest: bool = False, type: Any = None) -> None:
        self.n = checked_n(n)
        self._rank = reader(by)
        self._smallest = smallest
        self._best_state: KeyedTableState[Any] = KeyedTableState("best", list[Any if type is None else type])  # type: ignore[misc]  # the type is a value here

    def states(self) -> Sequence[StateDescriptor[Any]]:
        return (self._best_state,)

    def open(self, context: OperatorContext) -> None:
        self._context = context
        self._best: KeyedTable[Any, list[T]] = context.state(self._best_state)

    def process(self, batch: Batch[T]) -> Batch[Change[T]] | None:
        keys = batch.keys
        assert keys is not None
        n, rank, smallest, table = self.n, self._rank, self._smallest, self._best
        live, get = table.live, table.get
        results: list[Change[T]] = []
        indices: list[int] = []
        for index, (key, value) in enumerate(zip(keys, batch.values, strict=True)):
            best = live.get(key)
            if best is None:
                # Most records are not among the first: their key stays unchanged, and so must what it holds.
                best = list(get(key) or ())
            last = best[-1] if len(best) == n else None
            try:
                kept = insert_ranked(best, value, rank, n, smallest)
            except Exception as error:
                raise self._context.record_error(error, batch, index) from error
            if not kept:
                continue
            live[key] = best
            if last is not None:
                results.append(Change(ChangeKind.DELETE, last))
                indices.append(index)
            results.append(Change(ChangeKind.INSERT, value))
            indices.append(index)
        return batch.take(indices).with_values(results) if results else None


class RetractingTopN(Operator[Change[T], Change[T]]):
    """`TopN` over an update stream, whose rows come and go: a row that is retracted makes room for the next best. Of equal
    ranks the row whose encoding is smaller comes first, so what stands among the first depends on the rows alone and not
    on the order in which they came.

    A retraction of a row that is not there is counted as `unmatched` and changes nothing.

    A change costs a lookup and a search among the best; one that touches the first `n` also a comparison of these. State:
    all rows of a key: the best in one entry, the others in one each. When retractions have used up the best, the others
    are gone through once; see `RankedRows`.

    Args:
        n, by, smallest: as `TopN`.
        type: the type of the rows; None: numbers, strings, lists and dicts of them.

    Raises:
        ValueError: `n` is less than 1.
    """

    kind: str = "top_n"
    keyed: bool = True

    def __init__(self, n: int, by: str | Callable[[T], Any], *, smallest: bool = False, type: Any = None) -> None:
        self.n = checked_n(n)
        self._rows = RankedRows("rest", n, type=type, rank=reader(by), smallest=smallest)
        self._heads_state: KeyedTableState[Any] = KeyedTableState("best", self._rows.head_type)

    def states(self) -> Sequence[StateDescriptor[Any]]:
        return (self._heads_state, *self._rows.states())

    def open(self, context: OperatorContext) -> None:
        self._context = context
        self._heads: KeyedTable[Any, Any] = context.state(self._heads_state)
        self._own = self._rows.opened(context)

    def process(self, batch: Batch[Change[T]]) -> Batch[Change[T]] | None:
        keys = batch.keys
        assert keys is not None
        n, rows, heads = self.n, self._own, self._heads
        results: list[Change[T]] = []
        indices: list[int] = []
        for index, (key, change) in enumerate(zip(keys, batch.values, strict=True)):
            head = heads.live.get(key) or heads.load(key)
            if head is None:
                head = heads.live[key] = rows.empty()
            before = rows.best(head, n)
            try:
                place = (rows.add if change.adds else rows.remove)(head, key, change.value)
            except LookupError:
                self._context.count("unmatched")
                place = n
            except Exception as error:
                raise self._context.record_error(error, batch, index) from error
            if place < n:
                given = _moved(before, rows.best(head, n))
                results += given
                indices += [index] * len(given)
            if not head.best:
                heads.remove(key)
        return batch.take(indices).with_values(results) if results else None


def _moved(before: list[Any], after: list[Any]) -> list[Change[Any]]:
    """The changes between the first of a key before and after one row has come or gone."""
    start = 0
    shorter = min(len(before), len(after))
    while start < shorter and before[start] == after[start]:
        start += 1
    if len(before) > len(after):
        return [Change(ChangeKind.DELETE, before[start])]
    if len(before) < len(after):
        return [Change(ChangeKind.INSERT, after[start])]
    if start == shorter:
        return []
    if before[start + 1 :] == after[start:-1]:
        return [Change(ChangeKind.DELETE, before[start]), Change(ChangeKind.INSERT, after[-1])]
    return [Change(ChangeKind.DELETE, before[-1]), Change(ChangeKind.INSERT, after[start])]


def checked_n(n: int) -> int:
    """How many to keep.

    Raises:
        ValueError: it is less than 1.
    """
    if n < 1:
        raise ValueError(f"top_n keeps at least 1 record, not {n}")
    return n
