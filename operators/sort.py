"""Records in the order of event time."""

from __future__ import annotations

from collections.abc import Sequence
from heapq import heappop, heappush
from itertools import takewhile
from typing import Any, Generic, TypeVar

import msgspec

from .batch import Batch
from .operator import Operator, OperatorContext
from .state import LocalListState, StateDescriptor, WindowTable, WindowTableState
from .watermark_mark import WatermarkMark

T = TypeVar("T")


class Waiting(msgspec.Struct, Generic[T], array_like=True):
    """A record that the watermark has not reached.

    Attributes:
        number: the nth record that came to this subtask.
        value: the record.
        timestamp_ms: its event time.
    """

    number: int
    value: T
    timestamp_ms: int


class Sort(Operator[T, T]):
    """Gives out records in the order of event time, each when the watermark has reached it; of equal times in the
    order in which they came. A record that the watermark has passed before it came goes to the side output `late`.

    The order holds within a subtask, and lasts until records are sent to other subtasks. A record costs one insertion
    into a heap. State: the records that wait, all in memory; on a keyed stream, `KeyedSort` keeps them in the state
    backend.

    Args:
        type: the type of the records, for storing them; None: numbers, strings, lists and dicts of them.
    """

    kind: str = "sort"
    needs_event_time: bool = True
    emits_only_on_watermark: bool = True
    side_outputs: Sequence[str] = ("late",)

    def __init__(self, *, type: Any = None) -> None:
        self._waiting_state: LocalListState[Any] = LocalListState("waiting", Waiting[Any if type is None else type])  # type: ignore[misc]  # the type is a value here

    def states(self) -> Sequence[StateDescriptor[Any]]:
        return (self._waiting_state, WatermarkMark.STATE)

    def open(self, context: OperatorContext) -> None:
        self._saved = context.state(self._waiting_state)
        restored = sorted(self._saved.items, key=lambda record: (record.timestamp_ms, record.number))
        self._saved.items = []
        self._heap: list[tuple[int, int, T]] = [
            (record.timestamp_ms, number, record.value) for number, record in enumerate(restored)
        ]
        self._number = len(restored)
        self._line = _Line(context)

    def process(self, batch: Batch[T]) -> None:
        heap = self._heap
        for _index, timestamp_ms, value in self._line.in_time(batch):
            heappush(heap, (timestamp_ms, self._number, value))
            self._number += 1

    def on_watermark(self, watermark_ms: int) -> Batch[T] | None:
        self._line.mark.watermark_ms = max(watermark_ms, self._line.mark.watermark_ms)
        heap = self._heap
        due = []
        while heap and heap[0][0] <= watermark_ms:
            due.append(heappop(heap))
        return Batch([value for *_, value in due], [timestamp for timestamp, *_ in due]) if due else None

    def prepare_snapshot(self, checkpoint_id: int) -> None:
        self._saved.items = [Waiting(number, value, timestamp) for timestamp, number, value in self._heap]
        self._line.mark.save()


class KeyedSort(Operator[T, T]):
    """`Sort` on a keyed stream: in order over all keys of a subtask, with the records that wait in the state backend,
    where there may be more of them than fit into memory. Arguments as `Sort`.

    A record costs one lookup. State: the records that wait, by time and key.
    """

    kind: str = "sort"
    keyed: bool = True
    needs_event_time: bool = True
    emits_only_on_watermark: bool = True
    side_outputs: Sequence[str] = ("late",)

    def __init__(self, *, type: Any = None) -> None:
        self._waiting_state: WindowTableState[Any] = WindowTableState(
            "waiting",
            list[Waiting[Any if type is None else type]],  # type: ignore[misc]  # the type is a value here
        )
        self._number_state: LocalListState[int] = LocalListState("number", int)

    def states(self) -> Sequence[StateDescriptor[Any]]:
        return (self._waiting_state, self._number_state, WatermarkMark.STATE)

    def open(self, context: OperatorContext) -> None:
        self._waiting: WindowTable[Any, list[Waiting[T]]] = context.state(self._waiting_state)
        self._saved_number = context.state(self._number_state)
        self._number = max(self._saved_number.items, default=0)
        self._line = _Line(context)

    def process(self, batch: Batch[T]) -> None:
        keys = batch.keys
        assert keys is not None
        table = self._waiting
        for index, timestamp_ms, value in self._line.in_time(batch):
            key = keys[index]
            at_time = table.open(timestamp_ms)
            waiting = at_time.get(key) or table.load(timestamp_ms, key)
            if waiting is None:
                waiting = at_time[key] = []
            self._number += 1
            waiting.append(Waiting(self._number, value, timestamp_ms))

    def on_watermark(self, watermark_ms: int) -> Batch[T] | None:
        self._line.mark.watermark_ms = max(watermark_ms, self._line.mark.watermark_ms)
        values: list[T] = []
        timestamps: list[int] = []
        keys: list[Any] = []
        for timestamp_ms in due_namespaces(self._waiting, watermark_ms):
            records = [
                (record.number, key, record.value)
                for key, waiting in self._waiting.take(timestamp_ms).items()
                for record in waiting
            ]
            records.sort(key=_number_of)
            values += [value for *_, value in records]
            keys += [key for _, key, _ in records]
            timestamps += [timestamp_ms] * len(records)
        return Batch(values, timestamps, keys) if values else None

    def prepare_snapshot(self, checkpoint_id: int) -> None:
        # Copies, so that each of the new subtasks of a rescale gets one.
        self._saved_number.items = [self._number] * _COPIES
        self._line.mark.save()


_COPIES = 256


class _Line:
    """Tells records that are in time from late ones, which it sends away."""

    def __init__(self, context: OperatorContext) -> None:
        self._context = context
        self._late = context.side_output("late")
        self.mark = WatermarkMark(context)

    def in_time(self, batch: Batch[T]) -> list[tuple[int, int, T]]:
        """(index, timestamp, value) of the records that the watermark has not passed."""
        timestamps = batch.timestamps
        assert timestamps is not None
        watermark_ms = self.mark.watermark_ms
        late = [index for index, timestamp in enumerate(timestamps) if timestamp <= watermark_ms]
        if late:
            self._context.count("late", len(late))
            self._late(batch.take(late))
        return [
            (index, timestamp, value)
            for index, (timestamp, value) in enumerate(zip(timestamps, batch.values, strict=True))
            if timestamp > watermark_ms
        ]


def due_namespaces(table: WindowTable[Any, Any], until: int) -> list[int]:
    """The namespaces of a table up to `until`, ascending."""
    first = table.first()
    if first is None or first > until:
        return []
    return list(takewhile(lambda namespace: namespace <= until, table.namespaces()))


def _number_of(record: tuple[int, Any, Any]) -> int:
    return record[0]
