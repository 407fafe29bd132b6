"""The first record of each key in an interval, and the last."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Literal, TypeAlias, TypeVar

from . import agg
from .batch import Batch
from .operator import Operator, OperatorContext
from .state import StateDescriptor, WindowTable, WindowTableState
from .time import Duration, duration_ms
from .watermark_mark import WatermarkMark
from .windowed import window_aggregate
from .windows import tumbling

T = TypeVar("T")

TimeDomain: TypeAlias = Literal["event", "processing"]
"""Whose time counts: that of the records, or that of the clock, which is not the same in a replay."""

_FOR_EVER: Final = 0


class Dedupe(Operator[T, T]):
    """Lets the first record of a key pass and drops the others, which are counted as `duplicates`.

    A record passes when no record of its key that has passed stands less than `within_ms` before or after it. So
    what passes depends on the order in which records of one key come, and on nothing else. With event time a
    record that stands `allowed_lateness_ms` or more behind the watermark goes to the side output `late`: whether it
    is a duplicate can no longer be told.

    A record costs up to three lookups. State: one number per key and interval in which a record has passed; an
    interval goes as a whole once it is `within_ms` and the lateness in the past. Without `within_ms` one number per
    key, for ever.

    Args:
        within_ms: how long a record keeps others of its key from passing, in milliseconds; None: for ever.
        time: whose time `within_ms` is of.
        allowed_lateness_ms: how far behind the watermark a record may stand, in milliseconds of event time.

    Raises:
        ValueError: a setting is out of its range, or they do not go together.
    """

    kind: str = "dedupe"
    keyed: bool = True
    side_outputs: Sequence[str] = ("late",)
    dropped: str = "duplicates"
    """The counter of the records that do not pass."""

    def __init__(self, within_ms: int | None, *, time: TimeDomain = "event", allowed_lateness_ms: int = 0) -> None:
        check_time(time)
        if within_ms is not None and within_ms < 1:
            raise ValueError(f"{self.kind} needs an interval longer than 0ms, not {within_ms}ms")
        if allowed_lateness_ms < 0:
            raise ValueError(f"allowed lateness cannot be negative: {allowed_lateness_ms}ms")
        if allowed_lateness_ms and (time != "event" or within_ms is None):
            raise ValueError("allowed_lateness belongs to an interval of event time: leave it out")
        self.within_ms = within_ms
        self.time = time
        self.allowed_lateness_ms = allowed_lateness_ms
        # It depends on the settings, which are settled here.
        self.needs_event_time = within_ms is not None and time == "event"
        self._passed_state: WindowTableState[int] = WindowTableState("passed", int)

    def states(self) -> Sequence[StateDescriptor[Any]]:
        return (self._passed_state, WatermarkMark.STATE) if self.needs_event_time else (self._passed_state,)

    def open(self, context: OperatorContext) -> None:
        self._context = context
        self._passed: WindowTable[Any, int] = context.state(self._passed_state)
        self._late = context.side_output("late")
        self._mark = WatermarkMark(context) if self.needs_event_time else None

    def process(self, batch: Batch[T]) -> Batch[T] | None:
        if self.within_ms is None:
            return self._passing(batch, self._first_ever(batch))
        if self._mark is None:
            now_ms = self._context.now_ms()
            self._forget(now_ms)
            return self._passing(batch, self._first(batch, [now_ms] * len(batch), self.within_ms))
        timestamps = batch.timestamps
        assert timestamps is not None
        late_to = self._mark.watermark_ms - self.allowed_lateness_ms
        if min(timestamps) <= late_to:
            late = [index for index, timestamp in enumerate(timestamps) if timestamp <= late_to]
            self._context.count("late", len(late))
            self._late(batch.take(late))
            batch = batch.select([timestamp > late_to for timestamp in timestamps])
            if not batch.values:
                return None
            timestamps = batch.timestamps
            assert timestamps is not None
        return self._passing(batch, self._first(batch, timestamps, self.within_ms))

    def on_watermark(self, watermark_ms: int) -> None:
        if self._mark is not None and watermark_ms > self._mark.watermark_ms:
            self._mark.watermark_ms = watermark_ms
            self._forget(watermark_ms - self.allowed_lateness_ms + 1)

    def prepare_snapshot(self, checkpoint_id: int) -> None:
        if self._mark is not None:
            self._mark.save()

    def _first(self, batch: Batch[T], times: Sequence[int], within_ms: int) -> list[int]:
        """The indices of the records that pass. An interval as long as `within_ms` holds one of a key at most, so a
        record is told apart by its own interval and its two neighbours."""
        keys = batch.keys
        assert keys is not None
        get, open_interval = self._passed.get, self._passed.open
        passing = []
        for index, (time_ms, key) in enumerate(zip(times, keys, strict=True)):
            end = time_ms - time_ms % within_ms + within_ms
            if get(end, key) is not None:
                continue
            before = get(end - within_ms, key)
            if before is not None and time_ms - before < within_ms:
                continue
            after = get(end + within_ms, key)
            if after is not None and after - time_ms < within_ms:
                continue
            open_interval(end)[key] = time_ms
            passing.append(index)
        return passing

    def _first_ever(self, batch: Batch[T]) -> list[int]:
        keys = batch.keys
        assert keys is not None
        get, passed = self._passed.get, self._passed.open(_FOR_EVER)
        passing = []
        for index, key in enumerate(keys):
            if key not in passed and get(_FOR_EVER, key) is None:
                passed[key] = 1
                passing.append(index)
        return passing

    def _passing(self, batch: Batch[T], indices: list[int]) -> Batch[T] | None:
        dropped = len(batch) - len(indices)
        if dropped == 0:
            return batch
        self._context.count(self.dropped, dropped)
        return batch.take(indices) if indices else None

    def _forget(self, from_ms: int) -> None:
        """Forget the intervals that no record of `from_ms` or later can ask for."""
        assert self.within_ms is not None
        while (end := self._passed.first()) is not None and end + self.within_ms - 1 <= from_ms:
            self._passed.drop(end)


def check_time(time: TimeDomain) -> None:
    """Refuse what names no time.

    Raises:
        ValueError: it is neither; says what there is.
    """
    if time not in ("event", "processing"):
        raise ValueError(f'time={time!r} is not known: use "event" or "processing"')


def dedupe_operator(
    within: Duration | None,
    *,
    keep: Literal["first", "last"] = "first",
    time: TimeDomain = "event",
    allowed_lateness: Duration = "0ms",
    type: Any = None,
) -> Operator[Any, Any]:
    """The operator behind `dedupe`: `Dedupe` for the first records. The last record of a key is known only when an
    interval is over, so `keep="last"` has intervals side by side, `windows.tumbling(within)`, and gives out the
    newest record of each when it ends, with the timestamp of its last moment.

    Args:
        within: the interval; None: for ever, for the first only.
        keep: which record goes out.
        time: whose time the interval is of; the last goes by event time only.
        allowed_lateness: how far behind the watermark a record may stand.
        type: the type of the records, for keeping the last.

    Raises:
        ValueError: a setting is wrong, or settings do not go together.
    """
    within_ms = None if within is None else duration_ms(within)
    if keep == "first":
        return Dedupe(within_ms, time=time, allowed_lateness_ms=duration_ms(allowed_lateness))
    if keep != "last":
        raise ValueError(f'keep={keep!r} is not known: use "first" or "last"')
    check_time(time)
    if within is None or time != "event":
        raise ValueError(
            'dedupe(keep="last") gives out a record at the end of an interval of event time: pass within= and leave '
            "time out, or use debounce, which waits for silence"
        )
    return window_aggregate(
        tumbling(within),
        {"newest": agg.last(type=type)},
        allowed_lateness=allowed_lateness,
        results=lambda _key, _window, result: (result.newest,),
    )
