"""User functions over several streams, with state, timers and side outputs in common."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from .batch import Batch
from .errors import LastResort
from .operator import MultiInputOperator, OperatorContext
from .process import Process, ProcessFunction, has_timers

Out = TypeVar("Out")


class ConnectedFunction(ProcessFunction[Any, Out]):
    """What a user subclasses for `connect(…).process`: a `ProcessFunction` with a method for each input, called
    `process_` and the input's name. State, timers and side outputs are shared by all of them.

    Between the inputs there is no order: what the function gives out should not depend on which comes first, or wait for
    event-time timers.

    >>> from tidegate.operators.state import ValueState
    >>> class Priced(ConnectedFunction[float]):
    ...     '''Multiplies quantities with the newest price.'''
    ...     PRICE = ValueState("price", float)
    ...     inputs = ("quantities", "prices")
    ...     def states(self):
    ...         return [self.PRICE]
    ...     def open(self, context):
    ...         self.price = context.state(self.PRICE)
    ...     def process_quantities(self, value, context):
    ...         yield value * (self.price.get() or 0.0)
    ...     def process_prices(self, value, context):
    ...         self.price.set(value)
    """

    inputs: Sequence[str] = ("left", "right")
    """What the inputs are called, in the order in which the streams are connected."""


class ConnectedProcess(Process[Any, Out], MultiInputOperator[Out]):
    """Runs a `ConnectedFunction`. Everything else is as for `Process`.

    A record costs one call, a lookup for each state that the function asks and an insertion for each timer that it sets.
    State: what the function declares, per key, until it clears it or its `ttl` has passed; its timers.

    Args:
        function: the user's function object.
        keyed: whether all inputs are keyed, so that the function may have state and timers.
        on_error: what to do with a record that the function fails on.

    Raises:
        TypeError: `function` is not a `ConnectedFunction`, or has no method for one of its inputs.
        ValueError: it has state or timers but the streams no keys, or `on_error` is not one of the three.
    """

    kind = "connect"
    keyed: bool = False
    uses_timers: bool = False

    def __init__(self, function: ConnectedFunction[Out], *, keyed: bool, on_error: LastResort = "fail") -> None:
        if not isinstance(function, ConnectedFunction):
            raise TypeError(f"connect takes an object of a subclass of ConnectedFunction, not {function!r}")
        missing = [name for name in function.inputs if not callable(getattr(function, f"process_{name}", None))]
        if missing:
            methods = ", ".join(f"process_{name}()" for name in missing)
            raise TypeError(f"{type(function).__name__} does not say how to process all its inputs: define {methods}")
        # What it needs depends on the function and its streams, which are known here.
        self.inputs = tuple(function.inputs)
        self.keyed = keyed
        self.uses_timers = keyed and has_timers(function)
        super().__init__(function, on_error=on_error)

    def open(self, context: OperatorContext) -> None:
        super().open(context)
        self._calls: list[Callable[..., Any]] = [getattr(self._function, f"process_{name}") for name in self.inputs]

    def process_input(self, index: int, batch: Batch[Any]) -> Batch[Out] | None:
        return self._apply(self._calls[index], batch)
