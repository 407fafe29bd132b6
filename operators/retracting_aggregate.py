"""Running aggregates per key over an update stream."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from .aggregate import Aggregate
from .batch import Batch
from .changes import Change, differences
from .layout import Layout
from .operator import Operator, OperatorContext
from .retraction import retractable
from .state import KeyedTable, KeyedTableState, StateDescriptor

_ROWS = "_rows"


class RetractingAggregate(Operator[Change[Any], Change[Any]]):
    """Aggregates of the rows that a key has, as changes come and go.

    An added row (+I, +U) is taken in, a retracted one (-D, -U) taken away, and what comes out is an update stream
    itself: +I for the first row of a key, -U and +U with the result before and after for each further change, -D when
    the last row is gone. Changes that leave the result as it is give out nothing. Results take the timestamp, key and
    origin of the change.

    Counts, sums, means and variances are exact: nothing of a retracted row is left, also of floats, which are rounded
    once, in the result. `first`, `last` and `collect` go by the order in which values came, and of equal values the oldest
    is taken away. A retraction of a row that is not there is counted as `unmatched` and changes nothing, as far as the
    aggregates can tell: counts and sums cannot.

    A change costs one lookup, one update per aggregate and two results. State: one accumulator per key that has rows;
    with `min`, `max`, `first`, `last`, `top_k` and `top_n` also one entry per row, beside the accumulator.

    Args:
        aggregates: name → aggregate.
        row_type: the type of the rows, where it is known.

    Raises:
        ValueError: there is no aggregate, a name cannot be one, or one cannot take back what it was given.
    """

    kind: str = "aggregate"
    keyed: bool = True

    def __init__(self, aggregates: Mapping[str, Aggregate[Any, Any]], *, row_type: Any = None) -> None:
        self.result_type = Layout(aggregates, record_type=row_type).result
        """The Struct type of the results."""
        self._aggregates = retractable(aggregates, row_type)
        self._slots = [slot for aggregate in self._aggregates for slot in aggregate.slots()]
        self._totals_type: Any = msgspec.defstruct("Totals", [(_ROWS, int), *self._slots], array_like=True)
        self._totals_state: KeyedTableState[Any] = KeyedTableState("totals", self._totals_type)

    def states(self) -> Sequence[StateDescriptor[Any]]:
        tables = [table for aggregate in self._aggregates for part in aggregate.parts for table in part.states()]
        return (self._totals_state, *tables)

    def open(self, context: OperatorContext) -> None:
        self._context = context
        self._totals: KeyedTable[Any, Any] = context.state(self._totals_state)
        self._own = [aggregate.opened(context) for aggregate in self._aggregates]
        self._names = [[name for name, _ in aggregate.slots()] for aggregate in self._aggregates]

    def process(self, batch: Batch[Change[Any]]) -> Batch[Change[Any]] | None:
        keys = batch.keys
        assert keys is not None
        results: list[Change[Any]] = []
        indices: list[int] = []
        live, load = self._totals.live, self._totals.load
        for index, (key, change) in enumerate(zip(keys, batch.values, strict=True)):
            try:
                totals = live.get(key) or load(key)
                if totals is None:
                    totals = live[key] = self._empty()
                before = self._result(totals, key) if totals._rows > 0 else None
                self._apply(totals, key, change)
                after = self._result(totals, key) if totals._rows > 0 else None
            except Exception as error:
                raise self._context.record_error(error, batch, index) from error
            if totals._rows == 0:
                self._forget(totals, key)
            given = differences(before, after)
            results += given
            indices += [index] * len(given)
        return batch.take(indices).with_values(results) if results else None

    def _empty(self) -> Any:
        return self._totals_type(0, *[part.empty() for aggregate in self._own for part in aggregate.parts])

    def _forget(self, totals: Any, key: Any) -> None:
        self._totals.remove(key)
        for aggregate, names in zip(self._own, self._names, strict=True):
            for part, name in zip(aggregate.parts, names, strict=True):
                part.clear(getattr(totals, name), key)

    def _apply(self, totals: Any, key: Any, change: Change[Any]) -> None:
        adds, row = change.adds, change.value
        if not adds and totals._rows == 0:
            self._context.count("unmatched")
            return
        matched = True
        for aggregate, names in zip(self._own, self._names, strict=True):
            if aggregate.condition is not None and not aggregate.condition(row):
                continue
            value = aggregate.read(row)
            for part, name in zip(aggregate.parts, names, strict=True):
                if value is None and not part.every_record:
                    continue
                slot = getattr(totals, name)
                try:
                    slot = part.add(slot, key, value) if adds else part.remove(slot, key, value)
                except LookupError:
                    if adds:
                        raise
                    matched = False
                else:
                    setattr(totals, name, slot)
        if not matched:
            self._context.count("unmatched")
        totals._rows += 1 if adds else -1

    def _result(self, totals: Any, key: Any) -> Any:
        shown = [
            aggregate.result([getattr(totals, name) for name in names])
            for aggregate, names in zip(self._own, self._names, strict=True)
        ]
        return self.result_type(key, *shown)
