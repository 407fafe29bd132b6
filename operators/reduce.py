"""A user's function folded over all records of a key."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from .batch import Batch
from .operator import Operator, OperatorContext
from .state import KeyedTable, KeyedTableState, StateDescriptor

T = TypeVar("T")


class Reduce(Operator[T, T]):
    """Per key, the records so far put together by `function(so_far, value)`.

    Gives out one updated value per record, with the record's timestamp, key and origin; the first record of a
    key comes out as it is. A value that has been given out is also the state, so the function must not change
    its first argument but return a new value.

    A record costs one lookup and one call. State: one value per key, for ever.

    Args:
        function: puts two values together.
        type: the type of the values, for storing them; None: numbers, strings, lists and dicts of them.
    """

    kind: str = "reduce"
    keyed: bool = True

    def __init__(self, function: Callable[[T, T], T], *, type: Any = None) -> None:
        self._function = function
        self._values_state: KeyedTableState[Any] = KeyedTableState("values", Any if type is None else type)

    def states(self) -> Sequence[StateDescriptor[Any]]:
        return (self._values_state,)

    def open(self, context: OperatorContext) -> None:
        self._context = context
        self._values: KeyedTable[Any, T] = context.state(self._values_state)

    def process(self, batch: Batch[T]) -> Batch[T] | None:
        keys = batch.keys
        assert keys is not None
        function, load, live = self._function, self._values.load, self._values.live
        results: list[T] = []
        try:
            for key, value in zip(keys, batch.values, strict=True):
                if key in live:
                    value = function(live[key], value)
                elif (stored := load(key)) is not None:
                    value = function(stored, value)
                live[key] = value
                results.append(value)
        except Exception as error:
            raise self._context.record_error(error, batch, len(results)) from error
        return batch.with_values(results)
