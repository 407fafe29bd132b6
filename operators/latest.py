"""The changes of a table: of the newest value of each key."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .batch import Batch
from .changes import Change, differences
from .errors import FAILED, Guard
from .operator import Operator, OperatorContext
from .state import KeyedTable, KeyedTableState, StateDescriptor
from .table_input import TableInput


class Latest(Operator[Any, Change[Any]]):
    """Keeps the newest row of each key and says how it changes.

    A record that brings the first row of its key gives an insertion, another row an update, in two halves: what no longer
    holds, and what holds now. A deletion gives the row that is gone. A row that equals the one before gives nothing.
    Changes keep key, timestamp and origin of their record. Newest is what comes last, whatever its timestamp says.

    A record costs one lookup and a comparison. State: one row per key, until it is deleted.

    Args:
        table: how records become rows.

    Raises:
        ValueError: the table forgets rows by time.
    """

    kind = "latest"
    keyed = True
    side_outputs = (FAILED,)

    def __init__(self, table: TableInput) -> None:
        check_tells_changes(table)
        self.table = table
        self._rows_state: KeyedTableState[Any] = KeyedTableState("rows", table.row_type)

    def states(self) -> Sequence[StateDescriptor[Any]]:
        return (self._rows_state,)

    def open(self, context: OperatorContext) -> None:
        self._guard = Guard(self.table.on_error, context)
        self._rows: KeyedTable[Any, Any] = context.state(self._rows_state)

    def process(self, batch: Batch[Any]) -> Batch[Change[Any]] | None:
        batch, rows = self.table.rows(batch, self._guard)
        changes: list[Change[Any]] = []
        indices: list[int] = []
        for index, (key, row) in enumerate(zip(batch.keys or (), rows, strict=True)):
            found = differences(self._rows.get(key), row)
            if found:
                if row is None:
                    self._rows.remove(key)
                else:
                    self._rows.put(key, row)
                changes += found
                indices += [index] * len(found)
        return batch.take(indices).with_values(changes) if changes else None


def check_tells_changes(table: TableInput) -> None:
    """Refuse a table whose rows go without anybody hearing of it.

    Raises:
        ValueError: it has a time to live.
    """
    if table.ttl is not None:
        raise ValueError(
            "a table with latest(ttl=...) forgets rows silently, so its changes cannot be told: leave ttl out, and delete "
            "rows by a function that returns None"
        )
