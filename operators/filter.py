"""Some of the records."""

from __future__ import annotations

from collections.abc import Callable
from operator import truth
from typing import TypeVar

from .batch import Batch
from .errors import FAILED, Guard, OnError, check_on_error
from .operator import Operator, OperatorContext

T = TypeVar("T")


class Filter(Operator[T, T]):
    """Lets pass the records for which a predicate is true.

    A record costs one call. No state.

    Args:
        predicate: called once per record, in order; any value with a truth will do.
        on_error: what to do with a record that the predicate fails on.

    Raises:
        ValueError: `on_error` is not a policy.
    """

    kind = "filter"
    side_outputs = (FAILED,)

    def __init__(self, predicate: Callable[[T], object], *, on_error: OnError = "fail") -> None:
        check_on_error(on_error)
        self.predicate = predicate
        self.on_error = on_error

    def open(self, context: OperatorContext) -> None:
        self._guard = Guard(self.on_error, context)

    def process(self, batch: Batch[T]) -> Batch[T] | None:
        mask, kept = self._guard.apply(self.predicate, batch, truth)
        if True not in mask:
            return None
        if kept is not None:
            return batch.take([index for index, keep in zip(kept, mask, strict=True) if keep])
        return batch.select(mask) if False in mask else batch
