"""The records that one side of a join waits with, by time and key."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import takewhile
from operator import itemgetter
from typing import Any, Generic, TypeAlias, TypeVar

import msgspec

from .state import WindowTable, WindowTableState

V = TypeVar("V")


class PaneRows(msgspec.Struct, Generic[V], array_like=True):
    """The records of a key in a pane, in order of time; of one time in the order in which they came.

    Attributes:
        times: their event times, in milliseconds.
        values: the records.
        alone: which of them have met no partner; empty where nobody asks for it.
    """

    times: list[int]
    values: list[V]
    alone: list[bool] = []


Stretch: TypeAlias = tuple[int, PaneRows[Any], int, int]
"""A stretch of records of a key: the end of their pane, the records in it, from where, and up to where."""


def rows_state(name: str, value_type: Any) -> WindowTableState[Any]:
    """Declares the state of a `TimedRows`."""
    return WindowTableState(name, PaneRows[value_type])


class TimedRows:
    """Records by time and key. Time is cut into panes, so that one who looks for a stretch of time reads the panes that
    it touches, and what is too old goes pane by pane, unread.

    Args:
        table: bound from `rows_state`.
        pane_ms: length of a pane.
        offset_ms: where panes begin.
    """

    def __init__(self, table: WindowTable[Any, Any], pane_ms: int, offset_ms: int = 0) -> None:
        self.table = table
        self._pane_ms = pane_ms
        self._offset_ms = offset_ms

    def pane_of(self, timestamp_ms: int) -> int:
        """The end of the pane of a time."""
        return timestamp_ms - (timestamp_ms - self._offset_ms) % self._pane_ms + self._pane_ms

    def panes_between(self, first_ms: int, last_ms: int) -> range:
        """The ends of the panes from that of the first time to that of the last."""
        return range(self.pane_of(first_ms), self.pane_of(last_ms) + 1, self._pane_ms)

    def add(self, timestamp_ms: int, key: Any, value: Any) -> None:
        """Take a record in."""
        _insert(self._loaded(self.pane_of(timestamp_ms), key), timestamp_ms, value)

    def add_all(self, timestamps: Sequence[int], keys: Sequence[Any], values: Sequence[Any]) -> None:
        """Take records in: for each pane and key what `add` asks for each record."""
        start_ms = end_ms = 0
        for time_ms, key, value in zip(timestamps, keys, values, strict=True):
            if not start_ms <= time_ms < end_ms:
                end_ms = self.pane_of(time_ms)
                start_ms = end_ms - self._pane_ms
                entries, load = self.table.open(end_ms), self.table.loader(end_ms)
            rows = entries.get(key)
            if rows is None:
                rows = load(end_ms, key)
                if rows is None:
                    rows = entries[key] = PaneRows([], [], [])
            _insert(rows, time_ms, value)

    def add_flagged(self, timestamp_ms: int, key: Any, value: Any, *, alone: bool) -> None:
        """Take a record in, and whether it has met a partner already. Of one side all are flagged or none."""
        rows = self._loaded(self.pane_of(timestamp_ms), key)
        rows.alone.insert(_insert(rows, timestamp_ms, value), alone)

    def slices(self, key: Any, first_ms: int, last_ms: int) -> Iterator[Stretch]:
        """The records of a key from `first_ms` to `last_ms`, both included. Not to be changed."""
        get = self.table.get
        for pane in self.panes_between(first_ms, last_ms):
            rows = get(pane, key)
            if rows is not None:
                start, stop = bisect_left(rows.times, first_ms), bisect_right(rows.times, last_ms)
                if start < stop:
                    yield pane, rows, start, stop

    def values_between(self, key: Any, first_ms: int, last_ms: int) -> list[Any]:
        """The records of a key from `first_ms` to `last_ms`, both included, in order of time."""
        return [v for _, rows, start, stop in self.slices(key, first_ms, last_ms) for v in rows.values[start:stop]]

    def meet(self, pane: int, key: Any, start: int, stop: int) -> None:
        """The flagged records from `start` to `stop` of a pane and key have met a partner."""
        self._loaded(pane, key).alone[start:stop] = [False] * (stop - start)

    def remove_between(self, key: Any, first_ms: int, last_ms: int) -> None:
        """Forget the records of a key from `first_ms` to `last_ms`, both included."""
        for pane, rows, start, stop in list(self.slices(key, first_ms, last_ms)):
            if stop - start == len(rows.times):
                self.table.remove(pane, key)
            else:
                rows = self._loaded(pane, key)
                del rows.times[start:stop], rows.values[start:stop], rows.alone[start:stop]

    def panes_to(self, end_ms: int) -> list[int]:
        """The ends of the panes that hold anything, up to `end_ms`, ascending."""
        first = self.table.first()
        if first is None or first > end_ms:
            return []
        return list(takewhile(lambda pane: pane <= end_ms, self.table.namespaces()))

    def drop_to(self, end_ms: int) -> None:
        """Forget all panes that end by `end_ms`."""
        # There may be many more panes behind: they are not asked for.
        while (first := self.table.first()) is not None and first <= end_ms:
            self.table.drop(first)

    def take_to(self, last_ms: int) -> list[tuple[int, Any, Any]]:
        """The records up to `last_ms` as (time, key, record), in order of time; they are forgotten."""
        taken: list[tuple[int, Any, Any]] = []
        while (first := self.table.first()) is not None and first - self._pane_ms <= last_ms:
            if first <= last_ms + 1:
                for key, rows in self.table.take(first).items():
                    taken += [(t, key, v) for t, v in zip(rows.times, rows.values, strict=True)]
                continue
            for key, rows in list(self.table.read(first).items()):
                stop = bisect_right(rows.times, last_ms)
                taken += [(t, key, v) for t, v in zip(rows.times[:stop], rows.values[:stop], strict=True)]
                self.remove_between(key, first - self._pane_ms, last_ms)
            break
        taken.sort(key=itemgetter(0))
        return taken

    def by_key(self, panes: Iterable[int]) -> dict[Any, list[Any]]:
        """The records of whole panes, by key, in order of time."""
        found: dict[Any, list[Any]] = {}
        for pane in panes:
            for key, rows in self.table.read(pane).items():
                if key in found:
                    found[key] += rows.values
                else:
                    found[key] = list(rows.values)
        return found

    def _loaded(self, pane: int, key: Any) -> PaneRows[Any]:
        entries = self.table.live.get(pane)
        if entries is None:
            entries = self.table.open(pane)
        rows: PaneRows[Any] | None = entries.get(key)
        if rows is None:
            rows = self.table.load(pane, key)
            if rows is None:
                rows = entries[key] = PaneRows([], [], [])
        return rows


def _insert(rows: PaneRows[Any], time_ms: int, value: Any) -> int:
    """Put a record behind all that are not later; its place."""
    times = rows.times
    if not times or time_ms >= times[-1]:
        times.append(time_ms)
        rows.values.append(value)
        return len(times) - 1
    place = bisect_right(times, time_ms)
    times.insert(place, time_ms)
    rows.values.insert(place, value)
    return place


class Surroundings:
    """The records from `lower_ms` to `upper_ms` around a time, both included, for many keys and times of a batch: which panes
    these are is asked once for all times between two bounds.

    Args:
        rows: where to look.
        lower_ms: how much later the records must be at least; negative: how much earlier they may be.
        upper_ms: how much later they may be.
    """

    def __init__(self, rows: TimedRows, lower_ms: int, upper_ms: int) -> None:
        self._rows = rows
        self._lower_ms = lower_ms
        self._upper_ms = upper_ms
        self.forget()

    def of(self, key: Any, time_ms: int) -> list[Stretch]:
        """The records of a key around a time. Not to be changed."""
        if not self._from_ms <= time_ms < self._until_ms:
            self._move(time_ms)
        found = []
        for pane, read in self._panes:
            rows = read(key)
            if rows is not None:
                start = bisect_left(rows.times, time_ms + self._lower_ms)
                stop = bisect_right(rows.times, time_ms + self._upper_ms)
                if start < stop:
                    found.append((pane, rows, start, stop))
        return found

    def forget(self) -> None:
        """Something has changed where this looks."""
        self._from_ms = self._until_ms = 0
        self._panes: list[tuple[int, Callable[[Any], PaneRows[Any] | None]]] = []
        self._known: dict[int, Callable[[Any], PaneRows[Any] | None] | None] = {}

    def _move(self, time_ms: int) -> None:
        lower_ms, upper_ms, known = self._lower_ms, self._upper_ms, self._known
        panes = self._rows.panes_between(time_ms + lower_ms, time_ms + upper_ms)
        self._panes = []
        for pane in panes:
            if pane not in known:
                known[pane] = self._rows.table.reader(pane)
            read = known[pane]
            if read is not None:
                self._panes.append((pane, read))
        # From here on a time looks into another pane at its lower bound, or at its upper.
        changes = (panes[0] - lower_ms, panes[-1] - upper_ms)
        self._from_ms, self._until_ms = max(changes) - panes.step, min(changes)
