"""Each record with the rows of a table that every subtask holds whole."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from .batch import Batch
from .errors import FAILED, Guard, OnError, check_on_error
from .joined import How, Joined, Pairs, check_how
from .key_by import Key, key_function
from .operator import MultiInputOperator, OperatorContext
from .state import BroadcastMap, BroadcastState, StateDescriptor
from .table_input import TableInput

Out = TypeVar("Out")


class BroadcastJoin(MultiInputOperator[Out]):
    """Gives out each record with the rows that it matches in a table of which every subtask has a copy: the stream need
    not be keyed, and a record may match any number of rows, or be looked up by something that is not its key.

    Nobody waits, as in `StreamTableJoin`. Pairs keep the record's timestamp, key and origin.

    A record costs one lookup with `on`, one call with `match`. State: the whole table in the memory of every subtask,
    and in its part of each checkpoint. So it is for tables that are small beside the stream: rules, rates, dimensions.

    Args:
        table: how the records of the second input become rows; its keys are those of the table.
        key_type: the type of the table's keys; `Any` for strings, numbers and tuples of these.
        on: what gives the key that a record is looked up by: a function, a field name or several.
        match: in place of `on`: called with a record and the table as a mapping, gives the rows that it matches.
        how: `inner`: records that match no row are dropped; `left`: they come without one.
        select: makes of (record, row) the value to give out; None: a `Joined`.
        on_error: what to do with a record that `on`, `match` or `select` fails on.

    Raises:
        ValueError: a setting is wrong.
    """

    kind = "broadcast_join"
    inputs = ("stream", "table")
    side_outputs = (FAILED,)

    def __init__(
        self,
        table: TableInput,
        *,
        key_type: Any = Any,
        on: Key[Any] | None = None,
        match: Callable[[Any, Mapping[Any, Any]], Iterable[Any]] | None = None,
        how: How = "inner",
        select: Callable[[Any, Any], Out] | None = None,
        on_error: OnError = "fail",
    ) -> None:
        check_how(how, "broadcast_join", known=("inner", "left"))
        check_on_error(on_error)
        if (on is None) == (match is None):
            raise ValueError(
                "broadcast_join takes either on=, the key that a record is looked up by, or match=, a function of the record "
                "and the table"
            )
        if table.ttl is not None:
            raise ValueError(
                "broadcast_join: the copies would forget rows at different times, so leave ttl out of latest()"
            )
        self.table = table
        self.how = how
        self.select = select
        self.on_error = on_error
        self.match = match
        self._key_of = None if on is None else key_function(on, "broadcast_join")
        self._rows_state = BroadcastState[Any, Any]("rows", key_type, table.row_type)

    def states(self) -> Sequence[StateDescriptor[Any]]:
        return (self._rows_state,)

    def open(self, context: OperatorContext) -> None:
        self._pairs = Pairs(self.select, self.on_error, context)
        self._guard = Guard(self.on_error, context)
        self._table_guard = Guard(self.table.on_error, context)
        self._rows: BroadcastMap[Any, Any] = context.state(self._rows_state)

    def process_input(self, index: int, batch: Batch[Any]) -> Batch[Out] | None:
        if index == 1:
            self._take_rows(batch)
            return None
        found, kept = self._guard.apply(self._look_up if self.match is None else self._matched, batch)
        if kept is not None:
            batch = batch.take(kept)
        pairs: list[Joined[Any, Any]] = []
        indices: list[int] = []
        for i, (value, rows) in enumerate(zip(batch.values, found, strict=True)):
            pairs += [Joined(value, row) for row in rows]
            indices += [i] * len(rows)
        return self._pairs.give_out(batch.take(indices).with_values(pairs)) if pairs else None

    def _look_up(self, value: Any) -> Sequence[Any]:
        assert self._key_of is not None
        row = self._rows.entries.get(self._key_of(value))
        return () if row is None and self.how == "inner" else (row,)

    def _matched(self, value: Any) -> Sequence[Any]:
        assert self.match is not None
        rows = list(self.match(value, self._rows.entries))
        return rows or ((None,) if self.how == "left" else ())

    def _take_rows(self, batch: Batch[Any]) -> None:
        batch, rows = self.table.rows(batch, self._table_guard)
        entries = self._rows.entries
        for key, row in zip(batch.keys or (), rows, strict=True):
            if row is None:
                entries.pop(key, None)
            else:
                entries[key] = row
