"""Two tables joined by key into a third, told as its changes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from .batch import Batch
from .changes import Change, differences
from .errors import FAILED, Guard
from .joined import How, Joined, check_how
from .operator import MultiInputOperator, OperatorContext
from .state import KeyedTable, KeyedTableState, StateDescriptor
from .table_input import TableInput


class TableJoin(MultiInputOperator[Change[Any]]):
    """Keeps the newest row of each key of two tables, and says how the row changes that is made of both.

    Whatever happens on either side, what was given out before is taken back where it no longer holds: applied in order,
    the changes of a key always lead to what the two rows of the key make together. Changes take key, timestamp and origin
    of the record that caused them.

    A record costs two lookups, and a row or two to be made. State: one row per key and side, until it is deleted.

    Args:
        left: how the records of the first input become rows.
        right: the same of the second.
        how: whose rows count without a partner.
        select: makes of (left row, right row) the row of the result; equal arguments must give equal rows; None: a
            `Joined`. When it fails, the job fails: a change that is left out would make all later ones wrong.

    Raises:
        ValueError: a setting is wrong, or a table forgets rows by time.
    """

    kind = "table_join"
    keyed = True
    side_outputs = (FAILED,)

    def __init__(
        self,
        left: TableInput,
        right: TableInput,
        *,
        how: How = "inner",
        select: Callable[[Any, Any], Any] | None = None,
    ) -> None:
        check_how(how, "table join")
        self.tables = (left, right)
        for table in self.tables:
            if table.ttl is not None:
                raise ValueError(
                    "a table with latest(ttl=...) forgets rows silently, so changes of what is joined with it cannot be "
                    "told: leave ttl out, and delete rows by a function that returns None"
                )
        self.how = how
        self.select = select
        self._make: Callable[[Any, Any], Any] = select or Joined
        self._rows_states: list[KeyedTableState[Any]] = [
            KeyedTableState(name, table.row_type) for name, table in zip(self.inputs, self.tables, strict=True)
        ]
        self._needed = (how in ("inner", "left"), how in ("inner", "right"))

    def states(self) -> Sequence[StateDescriptor[Any]]:
        return self._rows_states

    def open(self, context: OperatorContext) -> None:
        self._context = context
        self._guards = [Guard(table.on_error, context) for table in self.tables]
        self._sides: list[KeyedTable[Any, Any]] = [context.state(state) for state in self._rows_states]

    def process_input(self, index: int, batch: Batch[Any]) -> Batch[Change[Any]] | None:
        batch, rows = self.tables[index].rows(batch, self._guards[index])
        mine, others = self._sides[index], self._sides[1 - index]
        changes: list[Change[Any]] = []
        indices: list[int] = []
        for i, (key, row) in enumerate(zip(batch.keys or (), rows, strict=True)):
            before, other = mine.get(key), others.get(key)
            if row is None:
                mine.remove(key)
            else:
                mine.put(key, row)
            try:
                if index == 0:
                    found = differences(self._row(before, other), self._row(row, other))
                else:
                    found = differences(self._row(other, before), self._row(other, row))
            except Exception as error:
                raise self._context.record_error(error, batch, i) from error
            changes += found
            indices += [i] * len(found)
        return batch.take(indices).with_values(changes) if changes else None

    def _row(self, left: Any, right: Any) -> Any:
        """The row that two rows make; None where they make none."""
        if left is None and (self._needed[0] or right is None):
            return None
        if right is None and self._needed[1]:
            return None
        return self._make(left, right)
