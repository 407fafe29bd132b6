"""One record for each record."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from .batch import Batch
from .errors import FAILED, Guard, OnError, check_on_error
from .operator import Operator, OperatorContext

In = TypeVar("In")
Out = TypeVar("Out")


class Map(Operator[In, Out]):
    """Turns each record into another by a function. Timestamp, key and origin stay.

    A record costs one call. No state.

    Args:
        function: the new value for a value. Called once per record, in order.
        on_error: what to do with a record that the function fails on.

    Raises:
        ValueError: `on_error` is not a policy.
    """

    kind = "map"
    side_outputs = (FAILED,)

    def __init__(self, function: Callable[[In], Out], *, on_error: OnError = "fail") -> None:
        check_on_error(on_error)
        self.function = function
        self.on_error = on_error

    def open(self, context: OperatorContext) -> None:
        self._guard = Guard(self.on_error, context)

    def process(self, batch: Batch[In]) -> Batch[Out] | None:
        values, kept = self._guard.apply(self.function, batch)
        if kept is None:
            return batch.with_values(values)
        return batch.take(kept).with_values(values) if values else None
