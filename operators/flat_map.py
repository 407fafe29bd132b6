"""Any number of records for each record."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import chain, repeat
from typing import TypeVar

from .batch import Batch
from .errors import FAILED, Guard, OnError, check_on_error
from .operator import Operator, OperatorContext

In = TypeVar("In")
Out = TypeVar("Out")


class FlatMap(Operator[In, Out]):
    """Turns each record into none, one or many by a function that gives an iterable.

    The new records stand where the old one stood and take its timestamp, key and origin. The iterable is run
    to its end before the next record; when it fails half way, none of its results goes out.

    A record costs one call and one step per result. No state.

    Args:
        function: the new values for a value: a list, a generator, any finite iterable.
        on_error: what to do with a record that the function, or the iterable it gave, fails on.

    Raises:
        ValueError: `on_error` is not a policy.
    """

    kind = "flat_map"
    side_outputs = (FAILED,)

    def __init__(self, function: Callable[[In], Iterable[Out]], *, on_error: OnError = "fail") -> None:
        check_on_error(on_error)
        self.function = function
        self.on_error = on_error

    def open(self, context: OperatorContext) -> None:
        self._guard = Guard(self.on_error, context)

    def process(self, batch: Batch[In]) -> Batch[Out] | None:
        groups, kept = self._guard.apply(self.function, batch, list)
        values: list[Out] = list(chain.from_iterable(groups))
        if not values:
            return None
        parents = range(len(batch)) if kept is None else kept
        indices = list(chain.from_iterable(map(repeat, parents, map(len, groups))))
        return batch.take(indices).with_values(values)
