"""Each record with the row that a table has for its key at that moment."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from .batch import Batch
from .errors import FAILED, Guard, OnError, check_on_error
from .joined import How, Joined, Pairs, check_how
from .operator import MultiInputOperator, OperatorContext
from .state import StateDescriptor, ValueState
from .state_handles import ValueHandle
from .table_input import TableInput

Out = TypeVar("Out")


class StreamTableJoin(MultiInputOperator[Out]):
    """Gives out each record of the stream with the row that its key has in the table when the record comes.

    Nobody waits: a record that overtakes the row meant for it does not meet it. Between the two inputs there is no order,
    so the result may be another one in a replay; a temporal join is for those who cannot have that.

    Pairs keep the record's timestamp, key and origin. A record costs one lookup; a row one write. State: the rows, until
    they are deleted or their time to live is over.

    Args:
        table: how the records of the second input become rows.
        how: `inner`: records without a row are dropped; `left`: they come without one.
        select: makes of (record, row) the value to give out; None: a `Joined`.
        on_error: what to do with a pair that `select` fails on.

    Raises:
        ValueError: a setting is wrong.
    """

    kind = "join_table"
    inputs = ("stream", "table")
    keyed = True
    side_outputs = (FAILED,)

    def __init__(
        self,
        table: TableInput,
        *,
        how: How = "inner",
        select: Callable[[Any, Any], Out] | None = None,
        on_error: OnError = "fail",
    ) -> None:
        check_how(how, "join_table", known=("inner", "left"))
        check_on_error(on_error)
        self.table = table
        self.how = how
        self.select = select
        self.on_error = on_error
        self._rows_state: ValueState[Any] = ValueState("rows", table.row_type, ttl=table.ttl)

    def states(self) -> Sequence[StateDescriptor[Any]]:
        return (self._rows_state,)

    def open(self, context: OperatorContext) -> None:
        self._context = context
        self._pairs = Pairs(self.select, self.on_error, context)
        self._guard = Guard(self.table.on_error, context)
        self._rows: ValueHandle[Any] = context.state(self._rows_state)

    def process_input(self, index: int, batch: Batch[Any]) -> Batch[Out] | None:
        if index == 1:
            self._take_rows(batch)
            return None
        assert batch.keys is not None
        set_key, get = self._context.set_current_key, self._rows.get
        rows: list[Any] = []
        for key in batch.keys:
            set_key(key)
            rows.append(get())
        pairs = list(map(Joined, batch.values, rows))
        if self.how == "inner" and None in rows:
            kept = [index for index, row in enumerate(rows) if row is not None]
            if not kept:
                return None
            batch, pairs = batch.take(kept), [pairs[index] for index in kept]
        return self._pairs.give_out(batch.with_values(pairs))

    def _take_rows(self, batch: Batch[Any]) -> None:
        batch, rows = self.table.rows(batch, self._guard)
        set_key, put = self._context.set_current_key, self._rows.set
        for index, (key, row) in enumerate(zip(batch.keys or (), rows, strict=True)):
            set_key(key)
            try:
                put(row)
            except TypeError as error:
                raise self._context.record_error(error, batch, index) from error
