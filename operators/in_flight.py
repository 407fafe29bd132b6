"""The calls of an async operator: in which order their results go out, and how they are kept in a
snapshot."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any, Generic, TypeVar

import msgspec

from .batch import Batch, Origin
from .state import LocalList, WindowTable, frozen, thawed

In = TypeVar("In")
K = TypeVar("K")


class InFlight(msgspec.Struct, Generic[In, K], omit_defaults=True):
    """A record whose result has not gone out, as it is kept in a snapshot.

    Attributes:
        value: the record.
        timestamp_ms: its event time; None in a topology without event time.
        key: its key; None before `key_by`.
        keyed: whether it has a key.
        watermark_ms: the watermark that holds before it, where batches carry watermarks; else None.
        split: the split it came from.
        offset: its position in the split.
        segment: differs from that of its neighbour where a watermark was held between them.
    """

    value: In
    timestamp_ms: int | None = None
    key: K | None = None
    keyed: bool = False
    watermark_ms: int | None = None
    split: str | None = None
    offset: Any = None
    segment: int = 0


class Call:
    """A record on its way through the function.

    Attributes:
        value: the record.
        serial: the nth call of the subtask.
        tries: how often the function was called for it.
        result: what it gave, once it is finished without an error.
        error: what the last try raised, once it is finished with one.
    """

    __slots__ = ("_batch", "_border", "_index", "_segment", "error", "result", "serial", "tries", "value")

    _segment: _Segment

    def __init__(self, batch: Batch[Any], index: int) -> None:
        self._batch = batch
        self._index = index
        self._border: int | None = None
        """The segment it was in before a restore."""
        self.value = batch.values[index]
        self.serial = 0
        self.tries = 0
        self.result: Any = None
        self.error: Exception | None = None

    @classmethod
    def restored(cls, saved: InFlight[Any, Any]) -> Call:
        """The call as it was when `saved` was made, not yet begun."""
        batch = Batch(
            [saved.value],
            None if saved.timestamp_ms is None else [saved.timestamp_ms],
            [frozen(saved.key)] if saved.keyed else None,
            None if saved.watermark_ms is None else [saved.watermark_ms],
            None if saved.split is None else Origin(saved.split, [saved.offset]),
        )
        call = cls(batch, 0)
        call._border = saved.segment
        return call

    def saved(self, *, plain_key: bool) -> InFlight[Any, Any]:
        """What a snapshot keeps. With `plain_key` tuples in the key become lists, which `restored` undoes."""
        batch, index = self._batch, self._index
        key = None if batch.keys is None else batch.keys[index]
        split, offset = batch.locate(index)
        return InFlight(
            self.value,
            None if batch.timestamps is None else batch.timestamps[index],
            thawed(key) if plain_key else key,
            batch.keys is not None,
            self.watermark_ms,
            split,
            thawed(offset),
            self._segment.number,
        )

    @property
    def watermark_ms(self) -> int | None:
        """The watermark that holds before the record, where batches carry watermarks."""
        watermarks = self._batch.watermarks
        return None if watermarks is None else watermarks[self._index]

    @property
    def key(self) -> Any:
        """The record's key; None before `key_by`."""
        keys = self._batch.keys
        return None if keys is None else keys[self._index]

    def alone(self) -> Batch[Any]:
        """A batch of nothing but the record."""
        return self._batch.take([self._index])

    def goes_with(self, other: Call) -> bool:
        """Whether the two may be in one batch: they come from one split and have the same lists filled."""
        mine, others = self._batch, other._batch
        return mine is others or (
            (None if mine.origin is None else mine.origin.split_id)
            == (None if others.origin is None else others.origin.split_id)
            and (mine.timestamps is None) == (others.timestamps is None)
            and (mine.keys is None) == (others.keys is None)
            and (mine.watermarks is None) == (others.watermarks is None)
        )


class Line:
    """The calls and watermarks whose turn to go out has not come.

    A segment holds calls whose results may overtake each other: one call when results are ordered, else all
    between two watermarks. Only the first segment gives out results, and then its watermark, when none of its
    calls is open.
    """

    def __init__(self, ordered: bool) -> None:
        self._ordered = ordered
        self._segments: deque[_Segment] = deque()
        self._n_segments = 0

    @property
    def ripe(self) -> bool:
        """Whether `take` has something to give."""
        return bool(self._segments) and (self._segments[0].n_open == 0 or bool(self._segments[0].finished))

    def add(self, call: Call) -> None:
        """The next call in the order of the records."""
        last = self._segments[-1] if self._segments else None
        before = (call.watermark_ms, call._border)
        if last is None or self._ordered or last.held_ms is not None or last.before != before:
            last = self._open(before)
        last.n_open += 1
        call._segment = last

    def hold(self, watermark_ms: int) -> None:
        """A watermark, which goes out after all calls so far."""
        if not self._segments:
            self._open((None, None))
        self._segments[-1].held_ms = watermark_ms

    def finish(self, call: Call) -> None:
        """The call has its result or its last error."""
        call._segment.n_open -= 1
        call._segment.finished.append(call)

    def take(self) -> list[Call | int]:
        """The finished calls and the watermarks whose turn it is."""
        taken: list[Call | int] = []
        while self._segments:
            first = self._segments[0]
            taken.extend(first.finished)
            first.finished = []
            if first.n_open:
                break
            if first.held_ms is not None:
                taken.append(first.held_ms)
            self._segments.popleft()
        return taken

    def _open(self, before: tuple[int | None, int | None]) -> _Segment:
        self._n_segments += 1
        segment = _Segment(self._n_segments, before)
        self._segments.append(segment)
        return segment


class _Segment:
    __slots__ = ("before", "finished", "held_ms", "n_open", "number")

    def __init__(self, number: int, before: tuple[int | None, int | None]) -> None:
        self.number = number
        self.before = before
        """What its calls have in common: the watermark before them, where batches carry watermarks, and the
        segment they were in before a restore."""
        self.held_ms: int | None = None
        """The watermark that goes out after them."""
        self.n_open = 0
        self.finished: list[Call] = []


class Turns:
    """Which calls may begin, where those of a key are made one after the other."""

    def __init__(self) -> None:
        self._behind: dict[Any, deque[Call]] = {}
        """The keys of which a call is being made, and the calls that wait for it."""

    def begins(self, call: Call) -> bool:
        """Whether it is the call's turn at once; else `ended` gives it out."""
        behind = self._behind.get(call.key)
        if behind is None:
            self._behind[call.key] = deque()
            return True
        behind.append(call)
        return False

    def ended(self, call: Call) -> Call | None:
        """The call of the same key whose turn it is now."""
        behind = self._behind[call.key]
        if behind:
            return behind.popleft()
        del self._behind[call.key]
        return None


class InFlightList:
    """The calls in flight as state of the subtask: dealt out to any subtask at a rescale.

    Args:
        state: the list.
        plain_key: whether keys are plain data, stored without a type.
    """

    def __init__(self, state: LocalList, *, plain_key: bool) -> None:
        self._state = state
        self._plain_key = plain_key

    def restored(self) -> list[Call]:
        """The calls of the snapshot, in order."""
        calls = [Call.restored(saved) for saved in self._state.items]
        self._state.items = []
        return calls

    def save(self, calls: Iterable[Call]) -> None:
        """Put the calls into the state."""
        self._state.items = [call.saved(plain_key=self._plain_key) for call in calls]


class InFlightTable:
    """The calls in flight as state of their keys: at a restore each is where its key is.

    Args:
        state: (serial, key) → what is saved of the call.
    """

    def __init__(self, state: WindowTable[Any, InFlight[Any, Any]]) -> None:
        self._state = state
        self._saved: dict[int, list[Any]] = {}
        """Serial → the keys under which it stands in the state: after a restore from several subtasks, more than one."""

    def restored(self) -> list[Call]:
        """The calls of the snapshot, those of each key in order."""
        calls = []
        for serial in list(self._state.namespaces()):
            entries = self._state.read(serial)
            self._saved[serial] = list(entries)
            for key, saved in entries.items():
                calls.append(Call.restored(msgspec.structs.replace(saved, key=key)))
        return calls

    def save(self, calls: Iterable[Call]) -> None:
        """Put the calls into the state."""
        for serial, keys in self._saved.items():
            for key in keys:
                self._state.remove(serial, key)
        self._saved = {}
        for call in calls:
            self._state.open(call.serial)[call.key] = msgspec.structs.replace(call.saved(plain_key=False), key=None)
            self._saved[call.serial] = [call.key]


def gather(calls: list[Call]) -> Batch[Any]:
    """The results of calls that go with each other, each where its record stood."""
    first = calls[0]._batch
    return Batch(
        [call.result for call in calls],
        None if first.timestamps is None else _column(calls, "timestamps"),
        None if first.keys is None else _column(calls, "keys"),
        None if first.watermarks is None else _column(calls, "watermarks"),
        None if first.origin is None else Origin(first.origin.split_id, _Positions(calls)),
    )


def _column(calls: list[Call], name: str) -> list[Any]:
    return [getattr(call._batch, name)[call._index] for call in calls]


class _Positions(Sequence[Any]):
    """Where the records of calls stood, looked up only when somebody asks."""

    def __init__(self, calls: list[Call]) -> None:
        self._calls = calls

    def __len__(self) -> int:
        return len(self._calls)

    def __getitem__(self, index: Any) -> Any:
        call = self._calls[index]
        return call._batch.locate(call._index)[1]
