"""The last record of a key before it falls silent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Generic, TypeVar

import msgspec

from . import agg
from .batch import Batch
from .dedupe import TimeDomain, check_time
from .operator import Operator, OperatorContext
from .state import KeyedTable, KeyedTableState, StateDescriptor
from .time import Duration, duration_ms
from .windowed import window_aggregate
from .windows import session

T = TypeVar("T")


class Held(msgspec.Struct, Generic[T], array_like=True):
    """The newest record of a key, and when it goes out unless another comes."""

    value: T
    timestamp_ms: int | None
    due_ms: int


class Debounce(Operator[T, T]):
    """Gives out the last record of a key once none has come for `silence_ms` of processing time, or at the end of the
    stream. Records that another follows sooner are dropped.

    A record that goes out keeps its timestamp and key. It may stand behind the watermark by then: event time is
    what `debounce_operator` takes a session window for.

    A record costs one lookup. State: one record and one timer per key that is not silent; the timer is moved only
    when it comes and the key has had records since.

    Args:
        silence_ms: how long a key must be silent, in milliseconds.
        type: the type of the records, for storing them; None: numbers, strings, lists and dicts of them.

    Raises:
        ValueError: `silence_ms` is not positive.
    """

    kind: str = "debounce"
    keyed: bool = True
    uses_timers: bool = True

    def __init__(self, silence_ms: int, *, type: Any = None) -> None:
        if silence_ms < 1:
            raise ValueError(f"debounce needs a silence longer than 0ms, not {silence_ms}ms")
        self.silence_ms = silence_ms
        self._held_state: KeyedTableState[Any] = KeyedTableState("held", Held[Any if type is None else type])  # type: ignore[misc]  # the type is a value here

    def states(self) -> Sequence[StateDescriptor[Any]]:
        return (self._held_state,)

    def open(self, context: OperatorContext) -> None:
        self._context = context
        self._held: KeyedTable[Any, Held[T]] = context.state(self._held_state)

    def process(self, batch: Batch[T]) -> None:
        keys = batch.keys
        assert keys is not None
        due_ms = self._context.now_ms() + self.silence_ms
        live, load, set_timer = self._held.live, self._held.load, self._context.timers.set_processing
        timestamps: Sequence[int | None] = batch.timestamps or [None] * len(batch)
        for key, value, timestamp_ms in zip(keys, batch.values, timestamps, strict=True):
            held = live.get(key) or load(key)
            if held is None:
                live[key] = Held(value, timestamp_ms, due_ms)
                set_timer(due_ms, key)
            else:
                held.value, held.timestamp_ms, held.due_ms = value, timestamp_ms, due_ms

    def on_timer(self, timestamp_ms: int, keys: Sequence[Any], *, event_time: bool) -> Batch[T] | None:
        silent = []
        for key in keys:
            held = self._held.get(key)
            if held is None:
                continue
            if held.due_ms <= timestamp_ms:
                silent.append((key, held))
                self._held.remove(key)
            else:
                self._context.timers.set_processing(held.due_ms, key)
        return _given_out(silent)

    def on_end(self) -> Batch[T] | None:
        waiting = list(self._held.items())
        for key, _ in waiting:
            self._held.remove(key)
        return _given_out(waiting)


def _given_out(entries: Sequence[tuple[Any, Held[T]]]) -> Batch[T] | None:
    if not entries:
        return None
    timestamps = [held.timestamp_ms for _, held in entries]
    timed = [timestamp for timestamp in timestamps if timestamp is not None]
    return Batch(
        [held.value for _, held in entries],
        timed if len(timed) == len(entries) else None,
        [key for key, _ in entries],
    )


def debounce_operator(silence: Duration, *, time: TimeDomain = "event", type: Any = None) -> Operator[Any, Any]:
    """The operator behind `debounce`. By event time it is a session window of which the newest record goes out,
    `silence` after it and with the timestamp of that moment; by processing time it is `Debounce`.

    Args:
        silence: how long no record of a key comes.
        time: whose time that is.
        type: the type of the records, for storing them.

    Raises:
        ValueError: the silence is not positive, or the time is not known.
    """
    check_time(time)
    if time == "processing":
        return Debounce(duration_ms(silence), type=type)
    return window_aggregate(
        session(silence),
        {"newest": agg.last(type=type)},
        results=lambda _key, _window, result: (result.newest,),
    )
