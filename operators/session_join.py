"""Pairs of two streams that fall into the same session."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

import msgspec

from .batch import Batch
from .errors import FAILED, OnError, check_on_error
from .joined import How, PairList, Pairs, check_how
from .operator import MultiInputOperator, OperatorContext
from .state import KeyedTable, KeyedTableState, StateDescriptor
from .timed_rows import TimedRows, rows_state
from .watermark_mark import WatermarkMark
from .window_aggregation import checked_lateness
from .windows import SessionWindows

Out = TypeVar("Out")

_NOBODY: Final = (None,)


class Session(msgspec.Struct, array_like=True):
    """A session that may still take records.

    Attributes:
        start_ms: the time of its first record.
        last_ms: the time of its last record so far.
        timer_ms: when its timer is due: at its end, or before, where it has grown since.
        fired: whether its pairs have been given out.
    """

    start_ms: int
    last_ms: int
    timer_ms: int
    fired: bool


class SessionJoin(MultiInputOperator[Out]):
    """Gives out each pair of a left and a right record that have the same key and fall into the same session.

    The records of both sides make up the sessions together: one is `[first timestamp, last timestamp + gap)`, and grows
    and meets others as those of an aggregation do. When the watermark reaches its end - 1 it gives out its pairs, in
    order of the left record's time, then of the right one's, with the timestamp `end - 1`. Until the watermark reaches
    `end - 1 + allowed_lateness_ms` it takes further records. What such a record brings comes at once, with the session's
    `end - 1` as it is then: its own pairs, and where it puts a session together with one that has fired, all pairs between
    the two. So each pair that is in one session in the end comes once, whatever the order of the records. When that time is
    over too, it is certain who has no partner: where one side has none, with `how` other than `inner`, the records of the
    other come now, with that moment as their timestamp. A record whose session would be over already is `late`.

    A record costs a look at its key's sessions and one append; a session one step per pair. State: the bounds of
    the sessions per key that may still take records, each of their records, once, and a timer for each.

    Args:
        assigner: `windows.session(gap)`.
        left_type, right_type, how, select, allowed_lateness_ms, on_error: as for `WindowJoin`.

    Raises:
        ValueError: a setting is wrong.
    """

    kind = "join"
    keyed = True
    needs_event_time = True
    emits_only_on_watermark = True
    uses_timers = True
    side_outputs = ("late", FAILED)

    def __init__(
        self,
        assigner: SessionWindows,
        *,
        left_type: Any,
        right_type: Any,
        how: How = "inner",
        select: Callable[[Any, Any], Out] | None = None,
        allowed_lateness_ms: int = 0,
        on_error: OnError = "fail",
    ) -> None:
        check_how(how, "join")
        check_on_error(on_error)
        self.assigner = assigner
        self.how = how
        self.select = select
        self.allowed_lateness_ms = checked_lateness(allowed_lateness_ms)
        self.on_error = on_error
        self._row_states = (rows_state("left", left_type), rows_state("right", right_type))
        self._sessions_state = KeyedTableState[Any]("sessions", list[Session])
        self._kept_alone = (how in ("left", "outer"), how in ("right", "outer"))

    def states(self) -> Sequence[StateDescriptor[Any]]:
        return (*self._row_states, self._sessions_state, WatermarkMark.STATE)

    def open(self, context: OperatorContext) -> None:
        self._context = context
        self._pairs = Pairs(self.select, self.on_error, context)
        self._late = context.side_output("late")
        self._mark = WatermarkMark(context)
        self._sessions: KeyedTable[Any, list[Session]] = context.state(self._sessions_state)
        # A session has a record in every stretch as long as its gap: it reads no pane in vain.
        self._sides = [TimedRows(context.state(state), self.assigner.gap_ms) for state in self._row_states]

    def process_input(self, index: int, batch: Batch[Any]) -> Batch[Out] | None:
        timestamps, keys = batch.timestamps, batch.keys
        assert timestamps is not None
        assert keys is not None
        live, gap_ms, add = self._sessions.live, self.assigner.gap_ms, self._sides[index].add
        late: list[int] = []
        out = PairList()
        for i, (timestamp_ms, key, value) in enumerate(zip(timestamps, keys, batch.values, strict=True)):
            sessions = live.get(key)
            newest = sessions[-1] if sessions else None
            if newest is not None and not newest.fired and newest.start_ms <= timestamp_ms < newest.last_ms + gap_ms:
                newest.last_ms = max(newest.last_ms, timestamp_ms)
            elif not self._place(timestamp_ms, key, ([value], []) if index == 0 else ([], [value]), out):
                late.append(i)
                continue
            add(timestamp_ms, key, value)
        if late:
            self._context.count("late", len(late))
            self._late(batch.take(late))
        return self._pairs.give_out(out.batch())

    def on_timer(self, timestamp_ms: int, keys: Sequence[Any], *, event_time: bool) -> Batch[Out] | None:
        out = PairList()
        for key in keys:
            sessions = self._sessions.live.get(key) or self._sessions.load(key) or []
            kept = []
            for session in sessions:
                closes_ms = self._closes_ms(session)
                if closes_ms <= timestamp_ms:
                    is_over = closes_ms + self.allowed_lateness_ms <= timestamp_ms
                    self._fire(key, session, out, is_over=is_over)
                    if is_over:
                        continue
                kept.append(session)
                if session.timer_ms <= timestamp_ms:
                    self._set_timer(key, session)
            if kept:
                sessions[:] = kept
            else:
                self._sessions.remove(key)
        return self._pairs.give_out(out.batch())

    def on_watermark(self, watermark_ms: int) -> Batch[Out] | None:
        self._mark.watermark_ms = max(self._mark.watermark_ms, watermark_ms)
        return None

    def prepare_snapshot(self, checkpoint_id: int) -> None:
        self._mark.save()

    def _place(self, timestamp_ms: int, key: Any, record: tuple[list[Any], list[Any]], out: PairList) -> bool:
        """Put a record, given as the left and the right records that it is, into the sessions that it touches, or into a new
        one; False when it is late."""
        gap_ms = self.assigner.gap_ms
        sessions = self._sessions.live.get(key)
        if sessions is None:
            sessions = self._sessions.load(key) or []
        met = [s for s in sessions if s.start_ms < timestamp_ms + gap_ms and timestamp_ms < s.last_ms + gap_ms]
        joined = Session(
            min([timestamp_ms, *[s.start_ms for s in met]]), max([timestamp_ms, *[s.last_ms for s in met]]), 0, False
        )
        closes_ms = self._closes_ms(joined)
        if closes_ms + self.allowed_lateness_ms <= self._mark.watermark_ms:
            return False
        if closes_ms <= self._mark.watermark_ms or any(s.fired for s in met):
            joined.fired = True
            self._pair_parts(key, [*[(*self._records(key, s), s.fired) for s in met], (*record, False)], closes_ms, out)
        if met:
            joined.timer_ms = min([s.timer_ms for s in met])
        else:
            self._set_timer(key, joined)
        kept = [s for s in sessions if s not in met]
        self._sessions.put(key, sorted([*kept, joined], key=_start))
        return True

    def _closes_ms(self, session: Session) -> int:
        return session.last_ms + self.assigner.gap_ms - 1

    def _set_timer(self, key: Any, session: Session) -> None:
        session.timer_ms = self._closes_ms(session) + (self.allowed_lateness_ms if session.fired else 0)
        self._context.timers.set_event(session.timer_ms, key)

    def _records(self, key: Any, session: Session) -> tuple[list[Any], list[Any]]:
        """What a session has on the left and on the right."""
        left, right = (side.values_between(key, session.start_ms, session.last_ms) for side in self._sides)
        return left, right

    def _pair_parts(
        self, key: Any, parts: Sequence[tuple[list[Any], list[Any], bool]], closes_ms: int, out: PairList
    ) -> None:
        """The pairs of a session made of parts: (what is left, what is right, whether its own pairs have come)."""
        for place, (left, _, fired) in enumerate(parts):
            partners = [other for at, part in enumerate(parts) if at != place or not fired for other in part[1]]
            out.add(left, partners, key, closes_ms)

    def _fire(self, key: Any, session: Session, out: PairList, *, is_over: bool) -> None:
        if session.fired and not is_over:
            return
        left, right = self._records(key, session)
        closes_ms = self._closes_ms(session)
        if not session.fired:
            session.fired = True
            out.add(left, right, key, closes_ms)
        if not is_over:
            return
        for side in self._sides:
            side.remove_between(key, session.start_ms, session.last_ms)
        if left and not right and self._kept_alone[0]:
            out.add(left, _NOBODY, key, closes_ms + self.allowed_lateness_ms)
        elif right and not left and self._kept_alone[1]:
            out.add(_NOBODY, right, key, closes_ms + self.allowed_lateness_ms)


def _start(session: Session) -> int:
    return session.start_ms
