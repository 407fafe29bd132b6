"""User functions with state, timers and side outputs."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence
from itertools import repeat
from typing import Any, Generic, TypeVar

from .batch import Batch
from .errors import Failure, Guard, LastResort, check_on_error
from .operator import Operator, OperatorContext
from .state import Handle, StateDescriptor
from .time import MIN_WATERMARK

In = TypeVar("In")
Out = TypeVar("Out")
H = TypeVar("H", bound=Handle)


class ProcessFunction(Generic[In, Out]):
    """What a user subclasses for `process`: any computation on one record at a time, with state and timers
    per key.

    The object describes; it is copied (`copy.copy`) for every subtask, and `open` is called on the copy. What
    changes while running belongs into the declared state: attributes do not survive a crash. State and timers
    need a keyed stream.

    >>> from tidegate.operators.state import ValueState
    >>> class Changes(ProcessFunction[float, float]):
    ...     '''Lets a value pass when it differs from the key's last one.'''
    ...     LAST = ValueState("last", float)
    ...     def states(self):
    ...         return [self.LAST]
    ...     def open(self, context):
    ...         self.last = context.state(self.LAST)
    ...     def process(self, value, context):
    ...         if value != self.last.get():
    ...             self.last.set(value)
    ...             yield value
    """

    def states(self) -> Sequence[StateDescriptor[Any]]:
        """The states it keeps, known before anything runs."""
        return ()

    def open(self, context: ProcessContext) -> None:
        """Called once per subtask and attempt, before anything else: take the state handles here."""

    def process(self, value: In, context: ProcessContext) -> Iterable[Out] | None:
        """The results for a record, returned or yielded; they take its timestamp and key. None is no
        result."""
        raise TypeError(f"{type(self).__name__} does not say how to process a record: define process()")

    def on_timer(self, timestamp_ms: int, context: ProcessContext) -> Iterable[Out] | None:
        """A timer of `context.key` is due. The results take the timer's time as their timestamp. When this
        raises, the job fails, for there is no record to leave out."""
        return None

    def close(self) -> None:
        """Called once, last, also after a failure. Must not raise."""


class KeyTimers:
    """The timers of the key that is being worked on. Setting the same timer twice has one effect."""

    __slots__ = ("_context", "_timers", "overdue")

    def __init__(self, context: ProcessContext, timers: Any) -> None:
        self._context = context
        self._timers = timers
        self.overdue = False
        """Whether an event-time timer was set that the watermark has passed already."""

    def set_event(self, timestamp_ms: int) -> None:
        """Call `on_timer` once the watermark has reached `timestamp_ms`: before the first record behind that
        watermark. When the watermark is there already: right after the record that is being worked on."""
        self._timers.set_event(timestamp_ms, self._context.key)
        if timestamp_ms <= self._context.watermark_ms:
            self.overdue = True

    def set_processing(self, timestamp_ms: int) -> None:
        """Call `on_timer` once the clock has reached `timestamp_ms`, or the stream has ended."""
        self._timers.set_processing(timestamp_ms, self._context.key)

    def remove_event(self, timestamp_ms: int) -> None:
        """Forget the event-time timer. No error when there is none."""
        self._timers.remove_event(timestamp_ms, self._context.key)

    def remove_processing(self, timestamp_ms: int) -> None:
        """Forget the processing-time timer. No error when there is none."""
        self._timers.remove_processing(timestamp_ms, self._context.key)


class ProcessContext:
    """What a `ProcessFunction` sees of the record, its key and the engine.

    Attributes:
        key: the key that is being worked on; None in a stream without keys.
        timestamp_ms: event time of the record, or the time of the timer; None in a topology without event
            time.
        watermark_ms: the watermark that holds at this record, wherever batches are cut.
    """

    __slots__ = ("_context", "_main", "_sides", "_timers", "key", "timestamp_ms", "watermark_ms")

    def __init__(self, context: OperatorContext, *, uses_timers: bool) -> None:
        self._context = context
        self._main = _Output()
        self._sides: dict[str, _Output] = {}
        self._timers = KeyTimers(self, context.timers) if uses_timers else None
        self.key: Any = None
        self.timestamp_ms: int | None = None
        self.watermark_ms = MIN_WATERMARK

    @property
    def operator_id(self) -> str:
        """The operator's stable name."""
        return self._context.operator_id

    @property
    def subtask(self) -> int:
        """Which subtask this is, from 0."""
        return self._context.subtask

    @property
    def timers(self) -> KeyTimers:
        """The timers of the key.

        Raises:
            ValueError: the stream is not keyed, or the function defines no `on_timer`.
        """
        if self._timers is None:
            raise ValueError("timers need a keyed stream and an on_timer(): call key_by before, and define on_timer")
        return self._timers

    def state(self, descriptor: StateDescriptor[H]) -> H:
        """The handle of a state that `ProcessFunction.states` declared. Only in `open`; it follows the
        key."""
        return self._context.state(descriptor)

    def now_ms(self) -> int:
        """Processing time: milliseconds since 1970 UTC by the engine's clock. Not the same in a replay."""
        return self._context.now_ms()

    def emit(self, value: Any, timestamp_ms: int | None = None) -> None:
        """Give out a result, as if it were returned, with another timestamp if one is given."""
        self._main.add(value, timestamp_ms)

    def side_output(self, tag: str, value: Any, timestamp_ms: int | None = None) -> None:
        """Send a value to a side output."""
        side = self._sides.get(tag)
        if side is None:
            side = self._sides[tag] = _Output()
        side.add(value, timestamp_ms)

    def count(self, name: str, n: int = 1) -> None:
        """Add to a counter that is exported with the operator's metrics."""
        self._context.count(name, n)


class Process(Operator[In, Out]):
    """Runs a `ProcessFunction` on a stream without keys: no state, no timers.

    Results keep the key, timestamp and origin of their record. When the function fails on a record, none of
    the results and side outputs of that record goes out; what it has changed in its state stays changed.

    A record costs one call. No state.

    Args:
        function: the user's function object.
        on_error: what to do with a record that the function fails on. Not a `Retry`: the failed call may have
            changed state.

    Raises:
        TypeError: `function` is not a `ProcessFunction`.
        ValueError: it has state or timers but the stream no keys, or `on_error` is not one of the three.
    """

    kind = "process"
    wants_watermarks = True

    def __init__(self, function: ProcessFunction[In, Out], *, on_error: LastResort = "fail") -> None:
        check_on_error(on_error, retry=False)
        if not isinstance(function, ProcessFunction):
            raise TypeError(f"process takes an object of a subclass of ProcessFunction, not {function!r}")
        if not self.keyed and (function.states() or has_timers(function)):
            raise ValueError(
                f"{type(function).__name__} keeps state or timers, which belong to a key: call key_by before process"
            )
        self.function = function
        self.on_error = on_error

    def states(self) -> Sequence[StateDescriptor[Any]]:
        return self.function.states()

    def open(self, context: OperatorContext) -> None:
        self._context = context
        self._guard = Guard(self.on_error, context)
        self._user = ProcessContext(context, uses_timers=self.uses_timers)
        self._function = copy.copy(self.function)
        self._set_key: Callable[[Any], None] | None = context.set_current_key if self.states() else None
        self._function.open(self._user)

    def process(self, batch: Batch[In]) -> Batch[Out] | None:
        return self._apply(self._function.process, batch)

    def _apply(self, call: Callable[..., Any], batch: Batch[Any]) -> Batch[Out] | None:
        """The results of one of the user's methods for the records of a batch, timers firing in between."""
        user, main, sides = self._user, self._user._main, self._user._sides
        timers, set_key = user._timers, self._set_key
        timestamps, watermarks = batch.timestamps, batch.watermarks
        keys = batch.keys if self.keyed else None
        values, indices = main.values, main.indices
        failures: list[Failure] = []
        for index, value in enumerate(batch.values):
            if watermarks is not None and watermarks[index] > user.watermark_ms:
                self._rise(watermarks[index], index)
            if timestamps is not None:
                user.timestamp_ms = timestamps[index]
            if keys is not None:
                user.key = keys[index]
                if set_key is not None:
                    set_key(user.key)
            try:
                results = call(value, user)
                if results is not None:
                    values.extend(results)
            except Exception as error:
                for output in (main, *sides.values()):
                    output.forget()
                failures.append(Failure(index, error))
                if self.on_error == "fail":
                    self._guard.reject(batch, failures)
            else:
                if len(values) == len(indices) + 1:
                    indices.append(index)
                else:
                    main.settle(index)
                if sides:
                    for output in sides.values():
                        output.settle(index)
            if timers is not None and timers.overdue:
                self._fire_due(index, user.watermark_ms)
        if failures:
            self._guard.reject(batch, failures)
        return self._give_out(batch)

    def on_watermark(self, watermark_ms: int) -> Batch[Out] | None:
        if watermark_ms <= self._user.watermark_ms:
            return None
        self._rise(watermark_ms, 0)
        return self._give_out(None)

    def on_timer(self, timestamp_ms: int, keys: Sequence[Any], *, event_time: bool) -> Batch[Out] | None:
        watermark_ms = self._user.watermark_ms
        for key in keys:
            self._fire(timestamp_ms, key, 0, watermark_ms)
        self._fire_due(0, watermark_ms)
        return self._give_out(None)

    def close(self) -> None:
        function = getattr(self, "_function", None)
        if function is not None:
            function.close()

    def _rise(self, watermark_ms: int, index: int) -> None:
        """The watermark rises before record `index`. What timers give out stands before the new watermark."""
        before = self._user.watermark_ms
        self._user.watermark_ms = watermark_ms
        self._fire_due(index, before)

    def _fire_due(self, index: int, watermark_ms: int) -> None:
        timers = self._user._timers
        if timers is not None:
            for timestamp_ms, keys in self._context.due_event_timers(self._user.watermark_ms):
                for key in keys:
                    self._fire(timestamp_ms, key, index, watermark_ms)
            timers.overdue = False

    def _fire(self, timestamp_ms: int, key: Any, index: int, watermark_ms: int) -> None:
        user = self._user
        user.key = key
        user.timestamp_ms = timestamp_ms
        if self._set_key is not None:
            self._set_key(key)
        try:
            results = self._function.on_timer(timestamp_ms, user)
            if results is not None:
                user._main.values.extend(results)
        except Exception as error:
            error.add_note(f"raised by on_timer at {timestamp_ms} for key {key!r}")
            raise
        for output in (user._main, *user._sides.values()):
            output.settle_timer(index, timestamp_ms, key, watermark_ms)

    def _give_out(self, batch: Batch[Any] | None) -> Batch[Out] | None:
        user = self._user
        for tag, output in user._sides.items():
            sent = output.take(batch)
            if sent is not None:
                self._context.side_output(tag)(sent)
        return user._main.take(batch)


class KeyedProcess(Process[In, Out]):
    """`Process` on a keyed stream, with state per key.

    A record costs, besides its call, a lookup for each state that the function asks. State: what the function declares, per
    key, until the function clears it or its `ttl` has passed.
    """

    keyed = True


class TimedProcess(KeyedProcess[In, Out]):
    """`Process` on a keyed stream, with state and timers per key.

    Event-time timers fire between the right records wherever batches are cut, in order of time. Their results
    go out before the watermark that made them due. A timer costs one insertion. State: one entry per timer, until it
    fires or is removed, besides what the function keeps.
    """

    uses_timers = True


def process_operator(
    function: ProcessFunction[In, Out], *, keyed: bool, on_error: LastResort = "fail"
) -> Process[In, Out]:
    """The operator for a function: with keys and timers, with keys, or with neither. Arguments as
    `Process`."""
    if not keyed:
        return Process(function, on_error=on_error)
    if isinstance(function, ProcessFunction) and has_timers(function):
        return TimedProcess(function, on_error=on_error)
    return KeyedProcess(function, on_error=on_error)


def has_timers(function: ProcessFunction[Any, Any]) -> bool:
    """Whether a function wants to hear of timers."""
    return type(function).on_timer is not ProcessFunction.on_timer


class _Output:
    """What goes to one output while a batch is worked on: values, and the record that each belongs to.

    `values` runs ahead; `indices` follows when a record is done, so the difference is what the record at hand
    gave out. `stamps` holds timestamp, key and watermark of the values that do not take all of them from
    their record.
    """

    __slots__ = ("indices", "moved", "stamps", "values")

    def __init__(self) -> None:
        self.values: list[Any] = []
        self.indices: list[int] = []
        self.moved: dict[int, int] = {}
        """Position → the timestamp that the user gave."""
        self.stamps: dict[int, tuple[int, Any, int]] = {}
        """Position → timestamp, key and watermark of what a timer gave."""

    def add(self, value: Any, timestamp_ms: int | None) -> None:
        if timestamp_ms is not None:
            self.moved[len(self.values)] = timestamp_ms
        self.values.append(value)

    def settle(self, index: int) -> None:
        """The record `index` is done."""
        given = len(self.values) - len(self.indices)
        if given:
            self.indices.extend(repeat(index, given))

    def settle_timer(self, index: int, timestamp_ms: int, key: Any, watermark_ms: int) -> None:
        """A timer that fired before record `index` is done."""
        for position in range(len(self.indices), len(self.values)):
            self.stamps[position] = (timestamp_ms, key, watermark_ms)
        self.settle(index)

    def forget(self) -> None:
        """The record at hand has failed: what it gave out has not been."""
        kept = len(self.indices)
        if len(self.values) > kept:
            del self.values[kept:]
            self.moved = {position: moved for position, moved in self.moved.items() if position < kept}

    def take(self, batch: Batch[Any] | None) -> Batch[Any] | None:
        """Everything settled, as records of `batch`, or without one as what timers gave; None when there is
        nothing."""
        values, indices, moved, stamps = self.values, self.indices, self.moved, self.stamps
        if not values:
            return None
        self.values, self.indices, self.moved, self.stamps = [], [], {}, {}
        if batch is None:
            timestamps, keys, watermarks = map(list, zip(*stamps.values(), strict=True))
            taken = Batch(values, timestamps, keys, watermarks)
        else:
            taken = batch.take(indices).with_values(values)
            for position, (timestamp_ms, key, watermark_ms) in stamps.items():
                if taken.timestamps is not None:
                    taken.timestamps[position] = timestamp_ms
                if taken.keys is not None:
                    taken.keys[position] = key
                if taken.watermarks is not None:
                    taken.watermarks[position] = watermark_ms
        if taken.timestamps is not None:
            for position, timestamp_ms in moved.items():
                taken.timestamps[position] = timestamp_ms
        return taken
