"""A user's function folded over all records of a key, starting from a value of another type."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from .batch import Batch
from .operator import Operator, OperatorContext
from .state import KeyedTable, KeyedTableState, StateDescriptor

T = TypeVar("T")
A = TypeVar("A")


class Fold(Operator[T, A]):
    """Per key, `function(so_far, value)` over its records, starting from `initial`.

    Gives out one updated value per record, with the record's timestamp, key and origin. A value that has been
    given out is also the state, so the function must not change its first argument but return a new value.

    A record costs one lookup and one call. State: one value per key, for ever.

    Args:
        initial: what a key starts from: a value, or a callable without arguments that makes it.
        function: takes a record into what there is so far.
        type: the type of the folded values, for storing them; None: numbers, strings, lists and dicts of
            them.
    """

    kind: str = "fold"
    keyed: bool = True

    def __init__(self, initial: A | Callable[[], A], function: Callable[[A, T], A], *, type: Any = None) -> None:
        self._initial = initial
        self._function = function
        self._values_state: KeyedTableState[Any] = KeyedTableState("values", Any if type is None else type)

    def states(self) -> Sequence[StateDescriptor[Any]]:
        return (self._values_state,)

    def open(self, context: OperatorContext) -> None:
        self._context = context
        self._values: KeyedTable[Any, A] = context.state(self._values_state)

    def process(self, batch: Batch[T]) -> Batch[A] | None:
        keys = batch.keys
        assert keys is not None
        function, load, live = self._function, self._values.load, self._values.live
        results: list[A] = []
        try:
            for key, value in zip(keys, batch.values, strict=True):
                so_far = live[key] if key in live else load(key)
                if so_far is None and key not in live:
                    so_far = self._start()
                folded = live[key] = function(so_far, value)  # type: ignore[arg-type]  # None only where A allows it
                results.append(folded)
        except Exception as error:
            raise self._context.record_error(error, batch, len(results)) from error
        return batch.with_values(results)

    def _start(self) -> A:
        return self._initial() if callable(self._initial) else self._initial
