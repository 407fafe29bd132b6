"""Session windows per key."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from operator import length_hint
from typing import Any

from .aggregate import Aggregate
from .batch import Batch
from .operator import OperatorContext
from .state import KeyedTable, KeyedTableState, StateDescriptor
from .watermark_mark import WatermarkMark
from .window_aggregation import MakeResults, WindowAggregation, checked_lateness
from .window_output import PENDING, WindowOutput, trigger_lines
from .windows import SessionWindows, Trigger, Window, gap_ms, on_watermark

_NO_TIMER = 1 << 62

_LOOP = """\
def run(values, timestamps, keys, live, place, fire, schedule, reach_of):
    get = live.get
    for t, key, value in zip(timestamps, keys, values):
        sessions = get(key)
        if sessions:
            acc = sessions[-1]
            last = acc._last
            if acc._start <= t < last + @GAP@ and acc._open:
                @reach
                @update
                @trigger
                continue
        acc = place(t, key, value)
        @placed
"""

_PLAIN_REACH = ["if t > last:", "    acc._last = t"]
_OWN_REACH = ["reach = reach_of(t, value)", "if reach > last:", "    acc._last = reach"]


class SessionOperator(WindowAggregation):
    """Aggregates per key and session.

    A session is `[first timestamp, last timestamp + gap)`, and where each record has a gap of its own it ends with the
    last of them. A record within it, or less than the gap before it, joins it, and a record that closes the gap between
    two joins them into one. A record exactly `gap` after the last starts anew. A session fires when the watermark reaches
    its end - 1. Until the watermark reaches that and `allowed_lateness_ms` a record that joins it fires it again: at once
    where its end stays behind the watermark, else when the watermark comes there. A record whose session would end too
    early even for that is `late`.

    A record that continues its key's newest session costs one lookup and one update; another one a walk over
    the key's sessions. State: per key the sessions that are open or may still take late records, and one
    timer for each, which is moved only when it comes and the session has grown.

    Args:
        assigner: `windows.session(gap)`, the gap a duration or a function of the record.
        aggregates: name → aggregate.
        allowed_lateness_ms: how long a session that has fired still takes records, in milliseconds of event
            time.
        trigger: when sessions fire; they do not forget what they gave out.
        record_type, results, inline: as for `WindowOperator`.

    Raises:
        ValueError: the trigger or an aggregate does not fit, or a setting is wrong.
    """

    needs_event_time: bool = True
    emits_only_on_watermark: bool = True
    uses_timers: bool = True
    side_outputs: Sequence[str] = ("late",)

    def __init__(
        self,
        assigner: SessionWindows,
        aggregates: Mapping[str, Aggregate[Any, Any]],
        *,
        allowed_lateness_ms: int = 0,
        trigger: Trigger | None = None,
        record_type: Any = None,
        results: MakeResults | None = None,
        inline: bool = True,
    ) -> None:
        self.assigner = assigner
        self.allowed_lateness_ms = checked_lateness(allowed_lateness_ms)
        trigger = trigger or on_watermark()
        fires = trigger_lines(trigger, "fire(key, acc)")
        super().__init__(
            aggregates,
            trigger,
            marks={
                "_start": (int, "0"),
                "_last": (int, "0"),
                "_timer": (int, "0"),
                "_open": (bool, "True"),
                PENDING: (int, "0"),
            },
            template=_LOOP.replace("@GAP@", str(assigner.gap_ms)),
            lines={
                "reach": _PLAIN_REACH if assigner.gap_of is None else _OWN_REACH,
                "trigger": fires,
                "placed": ["if acc is not None:", *[f"    {line}" for line in fires]] if fires else [],
            },
            record_type=record_type,
            results=results,
            inline=inline,
        )
        if not self.layout.mergeable:
            raise ValueError("sessions are put together when they meet, and fold cannot: give it merge=")
        if trigger.custom is not None:
            raise ValueError("sessions are put together when they meet, and what a custom trigger keeps cannot be")
        if trigger.purging:
            raise ValueError("a session cannot forget what it gave out: use a trigger without purging")
        self._sessions_state: KeyedTableState[Any] = KeyedTableState(
            "sessions",
            list[self.layout.accumulator],  # type: ignore[name-defined]  # the type is a value here
        )

    def states(self) -> Sequence[StateDescriptor[Any]]:
        return (self._sessions_state, WatermarkMark.STATE)

    def open(self, context: OperatorContext) -> None:
        super().open(context)
        self._sessions: KeyedTable[Any, list[Any]] = context.state(self._sessions_state)
        self._mark = WatermarkMark(context)
        self._late = context.side_output("late")
        self._out = WindowOutput(self._make)

    def process(self, batch: Batch[Any]) -> Batch[Any] | None:
        values = batch.values
        timestamps, keys = batch.timestamps, batch.keys
        assert timestamps is not None
        assert keys is not None
        self._code = self._codes.of(values)
        self._coming = coming = iter(values)
        self._size = len(values)
        self._late_indices: list[int] = []
        try:
            self._code["run"](
                coming, timestamps, keys, self._sessions.live, self._place, self._fire, self._schedule, self._reach
            )
        except Exception as error:
            raise self._context.record_error(error, batch, self._index()) from error
        if self._late_indices:
            self._context.count("late", len(self._late_indices))
            self._late(batch.take(self._late_indices))
        return self._out.take()

    def on_timer(self, timestamp_ms: int, keys: Sequence[Any], *, event_time: bool) -> Batch[Any] | None:
        for key in keys:
            sessions = self._sessions.live.get(key) or self._sessions.load(key)
            if sessions is None:
                continue
            if event_time:
                kept = [acc for acc in sessions if not self._passed(acc, key, timestamp_ms)]
                if kept:
                    sessions[:] = kept
                else:
                    self._sessions.remove(key)
            else:
                for acc in sessions:
                    if acc._pending and acc._open:
                        self._fire(key, acc)
        return self._out.take()

    def on_watermark(self, watermark_ms: int) -> Batch[Any] | None:
        self._mark.watermark_ms = max(self._mark.watermark_ms, watermark_ms)
        return None

    def prepare_snapshot(self, checkpoint_id: int) -> None:
        self._mark.save()

    def _place(self, timestamp_ms: int, key: Any, value: Any) -> Any:
        """Take a record into the sessions it touches, or into a new one. Returns the session for the early
        trigger; None when the record is late or the session has fired for it."""
        gap, watermark_ms = self.assigner.gap_ms, self._mark.watermark_ms
        reach = self._reach(timestamp_ms, value)
        sessions = self._sessions.live.get(key)
        if sessions is None:
            sessions = self._sessions.load(key) or []
        met = [a for a in sessions if a._start < reach + gap and timestamp_ms < a._last + gap]
        last = max([reach, *[acc._last for acc in met]])
        closes_ms = last + gap - 1
        if closes_ms + self.allowed_lateness_ms <= watermark_ms:
            self._late_indices.append(self._index())
            return None
        if met:
            acc = met[0]
            acc._start = min(acc._start, timestamp_ms)
            for other in met[1:]:
                self._code["merge"](acc, other)
                acc._timer = min(acc._timer, other._timer)
                acc._pending += other._pending
            if len(met) > 1:
                gone = {id(other) for other in met[1:]}
                sessions[:] = [a for a in sessions if id(a) not in gone]
        else:
            acc = self._code["new"]()
            acc._start, acc._timer = timestamp_ms, _NO_TIMER
            sessions.append(acc)
            sessions.sort(key=lambda a: a._start)
            if len(sessions) == 1:
                self._sessions.put(key, sessions)
        acc._last = last
        acc._open = closes_ms > watermark_ms
        self._code["add"](acc, value, timestamp_ms)
        needed_ms = closes_ms if acc._open else closes_ms + self.allowed_lateness_ms
        if acc._timer > needed_ms:
            self._set_timer(acc, key, needed_ms)
        if acc._open:
            return acc
        if self.trigger.final:
            self._fire(key, acc)
        return None

    def _reach(self, timestamp_ms: int, value: Any) -> int:
        """What `_last` of a session must not be less than: a record's timestamp, to which the gap is added, or where
        each record has a gap of its own the end of that, to which nothing is."""
        gap_of = self.assigner.gap_of
        return timestamp_ms if gap_of is None else timestamp_ms + gap_ms(gap_of(value))

    def _passed(self, acc: Any, key: Any, timestamp_ms: int) -> bool:
        """Do what is due for a session at a time. Returns whether it is over and gone."""
        if acc._timer > timestamp_ms:
            return False
        closes_ms = acc._last + self.assigner.gap_ms - 1
        if acc._open and closes_ms <= timestamp_ms:
            acc._open = False
            if self.trigger.final:
                self._fire(key, acc)
        needed_ms = closes_ms if acc._open else closes_ms + self.allowed_lateness_ms
        if needed_ms <= timestamp_ms:
            return True
        self._set_timer(acc, key, needed_ms)
        return False

    def _fire(self, key: Any, acc: Any) -> None:
        acc._pending = 0
        window = Window(acc._start, acc._last + self.assigner.gap_ms)
        self._out.add([self._code["result"](acc, key, window.start_ms, window.end_ms)], [key], window)

    def _set_timer(self, acc: Any, key: Any, at_ms: int) -> None:
        acc._timer = at_ms
        self._context.timers.set_event(at_ms, key)

    def _index(self) -> int:
        return self._size - length_hint(self._coming) - 1
