"""Aggregates for each record over the records of its key before it: the last so many, or those of the last so long."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .aggregate import Aggregate
from .batch import Batch
from .moving_window import MovingWindow
from .operator import Operator, OperatorContext
from .sort import due_namespaces
from .state import KeyedTable, KeyedTableState, StateDescriptor, WindowTable, WindowTableState
from .watermark_mark import WatermarkMark


class OverRows(Operator[Any, Any]):
    """For each record the aggregates of the last `n` records of its key, itself among them, in the order in which they
    come. Results have `key`, `value` (the record) and the aggregates, and take the record's timestamp and origin.

    A record costs about as much whatever `n`: counts, sums, means, variances and collections take the oldest record away
    (sums of floats without a trace of it, rounded once), the other aggregates are put together from two stacks. Only
    results that are long themselves (`collect`), or are made of all values (`quantile_exact`, `most_common`), cost what
    they are long. State: `n` entries per key, for ever.

    Args:
        aggregates: name → aggregate.
        n: how many records.
        record_type: the type of the records, where it is known.

    Raises:
        ValueError: `n` is less than 1, there is no aggregate, or one cannot be used.
    """

    kind: str = "over"
    keyed: bool = True

    def __init__(self, aggregates: Mapping[str, Aggregate[Any, Any]], n: int, *, record_type: Any = None) -> None:
        if n < 1:
            raise ValueError(f"over(last=…) takes at least 1 record, not {n}")
        self.n = n
        self._window = MovingWindow(aggregates, record_type=record_type)
        self._windows_state: KeyedTableState[Any] = KeyedTableState("windows", self._window.window_type)

    @property
    def result_type(self) -> Any:
        """The Struct type of the results."""
        return self._window.result_type

    def states(self) -> Sequence[StateDescriptor[Any]]:
        return (self._windows_state, *self._window.states())

    def open(self, context: OperatorContext) -> None:
        self._context = context
        self._windows: KeyedTable[Any, Any] = context.state(self._windows_state)
        self._own = self._window.open(context)

    def process(self, batch: Batch[Any]) -> Batch[Any]:
        keys = batch.keys
        assert keys is not None
        own, n, result = self._own, self.n, self.result_type
        own.records_are(batch.values)
        live, load = self._windows.live, self._windows.load
        results: list[Any] = []
        timestamps = batch.timestamps or [0] * len(batch)
        try:
            for key, value, timestamp_ms in zip(keys, batch.values, timestamps, strict=True):
                window = live.get(key) or load(key)
                if window is None:
                    window = live[key] = own.empty()
                elif window.next - window.oldest == n:
                    own.drop(window, key)
                own.put(window, key, value, timestamp_ms)
                results.append(result(key, value, *own.aggregates(window, key)))
        except Exception as error:
            raise self._context.record_error(error, batch, len(results)) from error
        return batch.with_values(results)


class OverTime(Operator[Any, Any]):
    """For each record the aggregates of the records of its key from the last `span_ms` before it: those with a timestamp
    in `(t - span, t]`, itself and all others of its own time among them. Results have `key`, `value` (the record) and the
    aggregates, and the record's timestamp.

    Records are taken in the order of event time, when the watermark has reached them, so results do not depend on the
    order in which they come. One that the watermark has passed goes to the side output `late`.

    Costs as `OverRows`. State: the records that wait for the watermark, and one entry per record of the last `span_ms`; a
    key that has had none for so long is forgotten.

    Args:
        aggregates: name → aggregate.
        span_ms: how long, in milliseconds.
        record_type: the type of the records, where it is known; None: they are numbers, strings, lists and dicts of them.

    Raises:
        ValueError: `span_ms` is not positive, there is no aggregate, or one cannot be used.
    """

    kind: str = "over"
    keyed: bool = True
    needs_event_time: bool = True
    emits_only_on_watermark: bool = True
    side_outputs: Sequence[str] = ("late",)

    def __init__(self, aggregates: Mapping[str, Aggregate[Any, Any]], span_ms: int, *, record_type: Any = None) -> None:
        if span_ms < 1:
            raise ValueError(f"over takes a duration longer than 0ms, not {span_ms}ms")
        self.span_ms = span_ms
        self._window = MovingWindow(aggregates, record_type=record_type, times=True, more={"newest_ms": int})
        self._windows_state: KeyedTableState[Any] = KeyedTableState("windows", self._window.window_type)
        self._waiting_state: WindowTableState[Any] = WindowTableState(
            "waiting",
            list[Any if record_type is None else record_type],  # type: ignore[misc]  # the type is a value here
        )
        self._quiet_state: WindowTableState[bool] = WindowTableState("quiet", bool)

    @property
    def result_type(self) -> Any:
        """The Struct type of the results."""
        return self._window.result_type

    def states(self) -> Sequence[StateDescriptor[Any]]:
        own = (self._windows_state, self._waiting_state, self._quiet_state, WatermarkMark.STATE)
        return (*own, *self._window.states())

    def open(self, context: OperatorContext) -> None:
        self._context = context
        self._windows: KeyedTable[Any, Any] = context.state(self._windows_state)
        self._waiting: WindowTable[Any, list[Any]] = context.state(self._waiting_state)
        self._quiet: WindowTable[Any, bool] = context.state(self._quiet_state)
        self._mark = WatermarkMark(context)
        self._late = context.side_output("late")
        self._own = self._window.open(context)

    def process(self, batch: Batch[Any]) -> None:
        keys, timestamps = batch.keys, batch.timestamps
        assert keys is not None
        assert timestamps is not None
        waiting, watermark_ms = self._waiting, self._mark.watermark_ms
        late = []
        for index, (key, timestamp_ms, value) in enumerate(zip(keys, timestamps, batch.values, strict=True)):
            if timestamp_ms <= watermark_ms:
                late.append(index)
                continue
            entries = waiting.open(timestamp_ms)
            records = entries.get(key) or waiting.load(timestamp_ms, key)
            if records is None:
                entries[key] = [value]
            else:
                records.append(value)
        if late:
            self._context.count("late", len(late))
            self._late(batch.take(late))

    def on_watermark(self, watermark_ms: int) -> Batch[Any] | None:
        self._mark.watermark_ms = max(watermark_ms, self._mark.watermark_ms)
        results: list[Any] = []
        timestamps: list[int] = []
        keys: list[Any] = []
        for timestamp_ms in due_namespaces(self._waiting, watermark_ms):
            for key, records in self._waiting.take(timestamp_ms).items():
                aggregates = self._moved_to(timestamp_ms, key, records)
                results += [self.result_type(key, value, *aggregates) for value in records]
                keys += [key] * len(records)
                timestamps += [timestamp_ms] * len(records)
        self._forget_quiet(watermark_ms)
        return Batch(results, timestamps, keys) if results else None

    def prepare_snapshot(self, checkpoint_id: int) -> None:
        self._mark.save()

    def _moved_to(self, timestamp_ms: int, key: Any, records: Sequence[Any]) -> list[Any]:
        """Take the records of a time in and those away that it leaves behind; the aggregates then."""
        own = self._own
        own.records_are(records)
        window = self._windows.live.get(key) or self._windows.load(key)
        if window is None:
            window = self._windows.live[key] = own.empty()
            self._quiet.open(timestamp_ms + self.span_ms)[key] = True
        try:
            while window.oldest < window.next and own.oldest_ms(window, key) <= timestamp_ms - self.span_ms:
                own.drop(window, key)
            window.newest_ms = timestamp_ms
            for value in records:
                own.put(window, key, value, timestamp_ms)
            return own.aggregates(window, key)
        except Exception as error:
            error.add_note(f"at a record of {timestamp_ms} with key {key!r}")
            raise

    def _forget_quiet(self, watermark_ms: int) -> None:
        """Forget the keys without a record that a later one could want."""
        for due_ms in due_namespaces(self._quiet, watermark_ms):
            for key in self._quiet.take(due_ms):
                window = self._windows.get(key)
                if window is None:
                    continue
                gone_ms = window.newest_ms + self.span_ms
                if gone_ms > watermark_ms:
                    self._quiet.open(gone_ms)[key] = True
                else:
                    self._windows.remove(key)
                    self._own.clear(key)
