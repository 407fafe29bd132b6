"""Each record with the version of a table's row that held at its event time."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from typing import Any, Final, Generic, TypeVar

import msgspec

from .batch import Batch
from .errors import FAILED, Guard, OnError, check_on_error
from .joined import How, Joined, Pairs, check_how
from .operator import MultiInputOperator, OperatorContext
from .state import KeyedTable, KeyedTableState, StateDescriptor
from .table_input import TableInput
from .timed_rows import TimedRows, rows_state
from .watermark_mark import WatermarkMark

Out = TypeVar("Out")
V = TypeVar("V")

_PANE_MS: Final = 10


class Versions(msgspec.Struct, Generic[V], array_like=True):
    """The versions of a row that somebody may still ask for.

    Attributes:
        times: from when each holds, ascending.
        rows: the rows; None from when there is none.
    """

    times: list[int]
    rows: list[V | None]


class TemporalJoin(MultiInputOperator[Out]):
    """Gives out each record with the newest row of its key whose event time is not after the record's.

    A record waits until the watermark has reached it: then every version that it could take is there, and the result does
    not depend on which of the two inputs was read faster. Records come out in order of event time, with their own
    timestamp and key. Of two versions with the same time the one that came last counts.

    A record at or behind the watermark is `late`. A version behind it can no longer change what was given out; it is
    taken in if it is newer than the one that holds, so that it counts from now on, and is `late` otherwise.

    A record costs one append, and one search among the versions of its key. State: the records between the watermark
    and the newest; of each key the version that holds at the watermark, and newer ones. Older versions go when the key is
    met again, a key whose newest version is a deletion when the watermark reaches that.

    Args:
        versions: how the records of the second input become rows; a deletion holds from its time on.
        record_type: the type of the records, as they are stored.
        how: `inner`: records without a row are dropped; `left`: they come without one.
        select: makes of (record, row) the value to give out; None: a `Joined`.
        on_error: what to do with a pair that `select` fails on.

    Raises:
        ValueError: a setting is wrong, or the table forgets rows by processing time.
    """

    kind = "temporal_join"
    inputs = ("stream", "versions")
    keyed = True
    needs_event_time = True
    emits_only_on_watermark = True
    uses_timers = True
    side_outputs = ("late", FAILED)

    def __init__(
        self,
        versions: TableInput,
        *,
        record_type: Any,
        how: How = "inner",
        select: Callable[[Any, Any], Out] | None = None,
        on_error: OnError = "fail",
    ) -> None:
        check_how(how, "temporal_join", known=("inner", "left"))
        check_on_error(on_error)
        if versions.ttl is not None:
            raise ValueError("temporal_join: versions go by event time, so leave ttl out of latest()")
        self.versions = versions
        self.how = how
        self.select = select
        self.on_error = on_error
        self._waiting_state = rows_state("waiting", record_type)
        self._versions_state = KeyedTableState[Any]("versions", Versions[versions.row_type])  # type: ignore[name-defined]  # the type is a value here

    def states(self) -> Sequence[StateDescriptor[Any]]:
        return (self._waiting_state, self._versions_state, WatermarkMark.STATE)

    def open(self, context: OperatorContext) -> None:
        self._context = context
        self._pairs = Pairs(self.select, self.on_error, context)
        self._guard = Guard(self.versions.on_error, context)
        self._late = context.side_output("late")
        self._mark = WatermarkMark(context)
        self._waiting = TimedRows(context.state(self._waiting_state), _PANE_MS)
        self._versions: KeyedTable[Any, Versions[Any]] = context.state(self._versions_state)
        self._deleted: list[Any] = []

    def process_input(self, index: int, batch: Batch[Any]) -> Batch[Out] | None:
        late = self._take_records(batch) if index == 0 else self._take_versions(batch)
        if late is not None:
            self._context.count("late", len(late))
            self._late(late)
        return None

    def on_timer(self, timestamp_ms: int, keys: Sequence[Any], *, event_time: bool) -> Batch[Out] | None:
        # Records that wait may still ask for what was before the deletion; they come out with the watermark that follows.
        self._deleted += keys
        return None

    def on_watermark(self, watermark_ms: int) -> Batch[Out] | None:
        if watermark_ms <= self._mark.watermark_ms:
            return None
        self._mark.watermark_ms = watermark_ms
        taken = self._waiting.take_to(watermark_ms)
        rows = [self._row_at(key, time_ms) for time_ms, key, _ in taken]
        for key in dict.fromkeys([*[key for _, key, _ in taken], *self._deleted]):
            self._forget_old(key)
        self._deleted = []
        if self.how == "inner":
            taken = [record for record, row in zip(taken, rows, strict=True) if row is not None]
            rows = [row for row in rows if row is not None]
        if not taken:
            return None
        times, keys, values = map(list, zip(*taken, strict=True))
        return self._pairs.give_out(Batch(list(map(Joined, values, rows)), times, keys))

    def prepare_snapshot(self, checkpoint_id: int) -> None:
        self._mark.save()

    def _take_records(self, batch: Batch[Any]) -> Batch[Any] | None:
        assert batch.timestamps is not None
        assert batch.keys is not None
        watermark_ms = self._mark.watermark_ms
        if min(batch.timestamps) > watermark_ms:
            self._waiting.add_all(batch.timestamps, batch.keys, batch.values)
            return None
        in_time = [time_ms > watermark_ms for time_ms in batch.timestamps]
        if any(in_time):
            self._take_records(batch.select(in_time))
        return batch.select([not taken for taken in in_time])

    def _take_versions(self, batch: Batch[Any]) -> Batch[Any] | None:
        batch, rows = self.versions.rows(batch, self._guard)
        late: list[int] = []
        watermark_ms = self._mark.watermark_ms
        for index, (key, time_ms, row) in enumerate(zip(batch.keys or (), batch.timestamps or (), rows, strict=True)):
            versions = self._versions.live.get(key) or self._versions.load(key)
            if versions is None:
                if row is None and time_ms <= watermark_ms:
                    continue
                versions = Versions([], [])
                self._versions.put(key, versions)
            times = versions.times
            if time_ms <= watermark_ms:
                holding = bisect_right(times, watermark_ms) - 1
                if holding >= 0 and times[holding] > time_ms:
                    late.append(index)
                    continue
            place = bisect_left(times, time_ms)
            if place < len(times) and times[place] == time_ms:
                versions.rows[place] = row
            else:
                times.insert(place, time_ms)
                versions.rows.insert(place, row)
            if row is None and time_ms > watermark_ms:
                self._context.timers.set_event(time_ms, key)
            self._forget_old(key)
        return batch.take(late) if late else None

    def _row_at(self, key: Any, time_ms: int) -> Any:
        versions = self._versions.get(key)
        if versions is None:
            return None
        place = bisect_right(versions.times, time_ms)
        return versions.rows[place - 1] if place else None

    def _forget_old(self, key: Any) -> None:
        """Forget what nobody can ask for any more: the watermark has been told, and no record before it waits."""
        versions = self._versions.get(key)
        if versions is None:
            return
        holding = bisect_right(versions.times, self._mark.watermark_ms) - 1
        # From a deletion on there is nothing, as before the first version.
        old = holding + 1 if holding >= 0 and versions.rows[holding] is None else max(holding, 0)
        if old == len(versions.times):
            self._versions.remove(key)
        elif old:
            versions = self._versions.live.get(key) or self._versions.load(key)
            assert versions is not None
            del versions.times[:old], versions.rows[:old]
