"""Patterns in the records of a key."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from typing import Any, Literal, TypeVar

from .batch import Batch
from .errors import FAILED, Failure, Guard, OnError, check_on_error
from .operator import Operator, OperatorContext
from .pattern_attempt import Attempt, Attempts, Tests, extended
from .pattern_buffer import NO_LINK, Link, PatternBuffer, SoFar
from .pattern_checks import check_pattern
from .pattern_plan import PatternPlan, Target
from .patterns import AfterMatch, Match, Pattern, SkipTo, no_skip
from .state import (
    KeyedTable,
    KeyedTableState,
    LocalListState,
    MapTableState,
    StateDescriptor,
    WindowTable,
    WindowTableState,
)
from .watermark_mark import WatermarkMark

T = TypeVar("T")
Out = TypeVar("Out")

TIMED_OUT = "timed_out"
"""The side output of attempts whose time was over."""


class PatternMatch(Operator[T, Out]):
    """Finds patterns in the records of each key, in order of event time, those of one moment in the order in which
    they came.

    A record waits until the watermark has come to it; then each attempt of its key goes on with it, passes it by or
    ends. A match goes out when it is certain, with that moment's timestamp: mostly that of its last record, later where a
    pattern ends with what must not come, or with a greedy step, or where `after_match` has it wait for an attempt that
    began before it. What is not a match when `within` is over goes to the side output `timed_out`. A record that comes
    after its watermark is `late`.

    A record costs, besides its wait, one look at each attempt of its key; a condition that looks at the record alone is
    called once, however many attempts ask. State: the records that wait; per key the attempts (ten numbers each) and each
    record that one of them holds, once. `within` bounds it: without, an attempt that never goes on stays for ever.

    Args:
        pattern: what to look for.
        type: the type of the records, for storing them; `Any` for plain data.
        select: makes of a match what is given out; None gives out the `Match`.
        after_match: what a match leaves of the other attempts of its key; None is `no_skip`.
        on_error: what to do with a record that a condition fails on (as if it had not come, unless the job fails), and with
            a match that `select` fails on. `Retry` is not possible.

    Raises:
        ValueError: the pattern cannot be carried out, or an argument is wrong.
    """

    kind = "match"
    keyed = True
    needs_event_time = True
    emits_only_on_watermark = True
    side_outputs = ("late", TIMED_OUT, FAILED)

    def __init__(
        self,
        pattern: Pattern[T],
        *,
        type: Any = Any,
        select: Callable[[Match[Any, T]], Out] | None = None,
        after_match: AfterMatch | None = None,
        on_error: OnError = "fail",
    ) -> None:
        self.after_match = after_match or no_skip()
        check_pattern(pattern, self.after_match)
        check_on_error(on_error, retry=False)
        self.pattern = pattern
        self.select = select
        self.on_error = on_error
        self._plan = PatternPlan(pattern)
        self._waiting_state: WindowTableState[Any] = WindowTableState("waiting", list[type])
        self._timers_state: WindowTableState[bool] = WindowTableState("timers", bool)
        self._attempts_state: KeyedTableState[Attempts] = KeyedTableState("attempts", Attempts)
        self._records_state = MapTableState[Any]("records", type, key_type=int)
        # It holds nothing: that its type has changed says that what is kept of attempts has lost its meaning.
        self._pattern_state: LocalListState[str] = LocalListState("pattern", Literal[str(pattern)])
        self._links_state = MapTableState[Any]("links", list[Link], key_type=int)

    def states(self) -> Sequence[StateDescriptor[Any]]:
        return (
            self._waiting_state, self._timers_state, self._attempts_state, self._records_state, self._links_state,
            self._pattern_state,
            WatermarkMark.STATE,
        )  # fmt: skip

    def open(self, context: OperatorContext) -> None:
        self._context = context
        self._waiting: WindowTable[Any, list[T]] = context.state(self._waiting_state)
        self._timers: WindowTable[Any, bool] = context.state(self._timers_state)
        self._attempts: KeyedTable[Any, Attempts] = context.state(self._attempts_state)
        self._buffer: PatternBuffer[T] = PatternBuffer(
            context.state(self._records_state), context.state(self._links_state)
        )
        self._mark = WatermarkMark(context)
        self._late = context.side_output("late")
        self._guard = Guard(self.on_error, context)
        self._matches = _Gathered()
        self._timed_out = _Gathered()

    def process(self, batch: Batch[T]) -> None:
        timestamps, keys = batch.timestamps, batch.keys
        assert timestamps is not None
        assert keys is not None
        watermark_ms, waiting = self._mark.watermark_ms, self._waiting
        live, late = waiting.live, []
        for index, (timestamp_ms, key, value) in enumerate(zip(timestamps, keys, batch.values, strict=True)):
            if timestamp_ms <= watermark_ms:
                late.append(index)
                continue
            moment = live.get(timestamp_ms)
            if moment is None:
                moment = waiting.open(timestamp_ms)
            records = moment.get(key)
            if records is None:
                records = waiting.load(timestamp_ms, key)
            if records is None:
                moment[key] = [value]
            else:
                records.append(value)
        if late:
            self._context.count("late", len(late))
            self._late(batch.take(late))

    def on_watermark(self, watermark_ms: int) -> Batch[Out] | None:
        if watermark_ms <= self._mark.watermark_ms:
            return None
        self._mark.watermark_ms = watermark_ms
        beyond = watermark_ms + 1
        while True:
            record_ms, timer_ms = self._waiting.first(), self._timers.first()
            record_ms = beyond if record_ms is None else record_ms
            timer_ms = beyond if timer_ms is None else timer_ms
            if min(record_ms, timer_ms) > watermark_ms:
                return self._give_out()
            # A timer stands for the end of its moment: what comes in that moment is in time.
            if record_ms <= timer_ms:
                for key, records in self._waiting.take(record_ms).items():
                    for record in records:
                        self._take_record(record_ms, key, record)
            else:
                for key in self._timers.take(timer_ms):
                    self._time_passes(timer_ms, key)

    def on_end(self) -> Batch[Out] | None:
        now_ms = self._mark.watermark_ms
        for key, attempts in list(self._attempts.items()):
            complete = []
            for attempt in attempts.going_on:
                if attempt.open & self._plan.end:
                    complete.append(attempt)
                else:
                    self._buffer.release(key, attempt.record, attempt.link)
            attempts.going_on = []
            self._settle(key, attempts, complete, now_ms)
            self._attempts.remove(key)
        return self._give_out()

    def prepare_snapshot(self, checkpoint_id: int) -> None:
        self._mark.save()

    # ------------------------------------------------------------------- a record

    def _take_record(self, timestamp_ms: int, key: Any, record: T) -> None:
        attempts = self._attempts.live.get(key)
        if attempts is None:
            attempts = self._attempts.load(key)
        plan = self._plan
        going_on = [] if attempts is None else attempts.going_on
        test = Tests(record)
        moves: list[tuple[Attempt | None, Sequence[Target], int]] = []
        try:
            # Nothing changes before every condition has been asked: a record that one fails on leaves no trace.
            for attempt in going_on:
                if plan.contextual:
                    test.so_far = SoFar(self._buffer, key, attempt.record, attempt.link, plan.names)
                taking, left = plan.advance(plan.places[attempt.step], attempt.open, test)
                moves.append((attempt, taking, left))
            if plan.contextual:
                test.so_far = SoFar(self._buffer, key, NO_LINK, 0, plan.names)
            beginning, _ = plan.advance(plan.start, plan.start.onward | plan.fresh, test)
        except Exception as error:
            self._guard.reject(Batch([record], [timestamp_ms], [key]), [Failure(0, error)])
            return
        if beginning:
            moves.append((None, beginning, 0))
        elif attempts is None:
            return
        if attempts is None:
            attempts = Attempts()
            self._attempts.put(key, attempts)
        complete = self._move(timestamp_ms, key, record, attempts, moves)
        self._settle(key, attempts, complete, timestamp_ms)
        self._store(key, attempts)

    def _move(
        self,
        timestamp_ms: int,
        key: Any,
        record: T,
        attempts: Attempts,
        moves: list[tuple[Attempt | None, Sequence[Target], int]],
    ) -> list[Attempt]:
        """Carry out what a record does to the attempts. Returns the matches that are certain now."""
        buffer, record_id = self._buffer, attempts.next_record
        links: list[Link] = []
        moved: list[Attempt] = []
        for attempt, taking, left in moves:
            for target in taking:
                moved.append(extended(self._plan, attempt, target, (record_id, len(links)), timestamp_ms))
                if attempt is None:
                    links.append(Link(target.step, NO_LINK, 0, 1))
                else:
                    links.append(Link(target.step, attempt.record, attempt.link, 1))
                    buffer.hold(key, attempt.record, attempt.link)
            if attempt is not None:
                attempt.open = left
                moved.append(attempt)
        if links:
            attempts.next_record = record_id + 1
            buffer.put(key, record_id, record, links)
        # Those that begin with the same record stay together, so the order is that of their beginnings.
        going_on: list[Attempt] = []
        complete: list[Attempt] = []
        for attempt in moved:
            if not self._sort_out(key, attempt, going_on, complete):
                buffer.release(key, attempt.record, attempt.link)
        attempts.going_on = going_on
        return complete

    def _sort_out(self, key: Any, attempt: Attempt, going_on: list[Attempt], complete: list[Attempt]) -> bool:
        """Put an attempt where it belongs now; both places hold its newest record. Returns False when it is over."""
        plan = self._plan
        if plan.certain(plan.places[attempt.step], attempt.open):
            attempt.open = attempt.open & ~(plan.end | plan.waiting) | plan.done
            complete.append(attempt)
            if plan.alive(attempt.open):
                self._buffer.hold(key, attempt.record, attempt.link)
                going_on.append(copy(attempt))
        elif plan.alive(attempt.open):
            going_on.append(attempt)
        else:
            return False
        return True

    def _store(self, key: Any, attempts: Attempts) -> None:
        """Keep what is left of a key, and set its timer."""
        going_on, plan = attempts.going_on, self._plan
        if not going_on:
            self._attempts.remove(key)
            return
        if plan.timed:
            ends = [plan.ends_ms(plan.places[a.step], a.open, a.start_ms, a.last_ms) for a in going_on]
            timer_ms = min([end for end in ends if end is not None], default=None)
        else:
            timer_ms = None if plan.within_ms is None else going_on[0].start_ms + plan.within_ms - 1
        if timer_ms is not None and (attempts.timer_ms is None or timer_ms < attempts.timer_ms):
            attempts.timer_ms = timer_ms
            self._timers.open(timer_ms)[key] = True

    # ----------------------------------------------------------------------- time

    def _time_passes(self, now_ms: int, key: Any) -> None:
        attempts = self._attempts.live.get(key) or self._attempts.load(key)
        # The key may have begun anew since the timer was set, or an earlier one have done its work.
        if attempts is None or attempts.timer_ms != now_ms:
            return
        plan, within_ms = self._plan, self._plan.within_ms
        attempts.timer_ms = None
        going_on: list[Attempt] = []
        complete: list[Attempt] = []
        for attempt in attempts.going_on:
            if within_ms is not None and attempt.start_ms + within_ms - 1 <= now_ms:
                if attempt.open & plan.end:
                    complete.append(attempt)
                    continue
                attempt.open &= plan.done
            else:
                for bit, ms in plan.places[attempt.step].timed:
                    if attempt.last_ms + ms - 1 <= now_ms:
                        attempt.open &= ~bit
            if not self._sort_out(key, attempt, going_on, complete):
                if not attempt.open & plan.done:
                    self._time_out(key, attempt, now_ms)
                self._buffer.release(key, attempt.record, attempt.link)
        attempts.going_on = going_on
        self._settle(key, attempts, complete, now_ms)
        self._store(key, attempts)

    def _time_out(self, key: Any, attempt: Attempt, now_ms: int) -> None:
        if self._context.listened(TIMED_OUT):
            path = self._buffer.path(key, attempt.record, attempt.link)
            self._timed_out.add(self._match(key, attempt, path), now_ms, key)

    # -------------------------------------------------------------------- matches

    def _settle(self, key: Any, attempts: Attempts, complete: list[Attempt], now_ms: int) -> None:
        """Give out those of the matches that are certain whose turn it is."""
        # Of those that begin with one record the longest comes first.
        complete.sort(key=lambda attempt: (attempt.start, -attempt.length))
        if self.after_match.to is SkipTo.NONE:
            for attempt in complete:
                self._give(key, attempt, now_ms)
            return
        attempts.complete = sorted([*attempts.complete, *complete], key=lambda attempt: attempt.start)
        while attempts.complete:
            first = attempts.complete[0]
            # An earlier attempt may yet become a match that does away with this one.
            if attempts.going_on and attempts.going_on[0].start < first.start:
                return
            del attempts.complete[0]
            self._skip(key, attempts, self._goes_on_at(first, self._give(key, first, now_ms)))

    def _give(self, key: Any, attempt: Attempt, now_ms: int) -> list[tuple[int, int]]:
        """Give out a match, which then holds nothing any more. Returns its path."""
        path = self._buffer.path(key, attempt.record, attempt.link)
        self._matches.add(self._match(key, attempt, path), now_ms, key)
        self._buffer.release(key, attempt.record, attempt.link)
        return path

    def _match(self, key: Any, attempt: Attempt, path: list[tuple[int, int]]) -> Match[Any, T]:
        events = self._buffer.events(key, path, self._plan.names)
        return Match(key, attempt.start_ms, attempt.last_ms, events)

    def _goes_on_at(self, match: Attempt, path: list[tuple[int, int]]) -> int:
        """The first record with which an attempt may begin that is not done away with by a match."""
        to, names = self.after_match.to, self._plan.names
        if to is SkipTo.NEXT:
            return match.start + 1
        if to is SkipTo.PAST_LAST:
            return match.record + 1
        taken = [record_id for step, record_id in path if names[step] == self.after_match.step]
        if not taken:
            return match.start
        return taken[0] if to is SkipTo.FIRST else taken[-1]

    def _skip(self, key: Any, attempts: Attempts, start: int) -> None:
        """Do away with the attempts that began before a record."""
        for attempt in (*attempts.going_on, *attempts.complete):
            if attempt.start < start:
                self._buffer.release(key, attempt.record, attempt.link)
        attempts.going_on = [attempt for attempt in attempts.going_on if attempt.start >= start]
        attempts.complete = [attempt for attempt in attempts.complete if attempt.start >= start]

    def _give_out(self) -> Batch[Out] | None:
        timed_out = self._timed_out.take()
        if timed_out is not None:
            self._context.side_output(TIMED_OUT)(timed_out)
        matches = self._matches.take()
        if matches is None or self.select is None:
            return matches
        selected, kept = self._guard.apply(self.select, matches)
        if kept is not None:
            matches = matches.take(kept)
        return matches.with_values(selected) if selected else None


class _Gathered:
    """Values on their way into a batch."""

    def __init__(self) -> None:
        self._values: list[Any] = []
        self._timestamps: list[int] = []
        self._keys: list[Any] = []

    def add(self, value: Any, timestamp_ms: int, key: Any) -> None:
        self._values.append(value)
        self._timestamps.append(timestamp_ms)
        self._keys.append(key)

    def take(self) -> Batch[Any] | None:
        """What was added since the last call; None when there is nothing."""
        if not self._values:
            return None
        batch = Batch(self._values, self._timestamps, self._keys)
        self._values, self._timestamps, self._keys = [], [], []
        return batch
