"""Pairs of two streams whose event times are not too far from each other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

from .batch import Batch
from .errors import FAILED, OnError, check_on_error
from .joined import How, Joined, PairList, Pairs, check_how
from .operator import MultiInputOperator, OperatorContext
from .state import StateDescriptor
from .time import format_ms
from .timed_rows import Surroundings, TimedRows, rows_state
from .watermark_mark import WatermarkMark

Out = TypeVar("Out")

_PANES_PER_INTERVAL: Final = 2
_MOMENTS_PER_WAIT: Final = 1000
_SHORTEST_PANE_MS: Final = 100
_NOBODY: Final = (None,)


class IntervalJoin(MultiInputOperator[Out]):
    """Gives out each pair of a left and a right record that have the same key and of which the right one's time is the left
    one's plus `lower_ms` to `upper_ms`, both included.

    A pair comes as soon as both are there, with the later one's timestamp. With `how` other than `inner` a record
    without a partner comes when the watermark has passed the last moment at which one could have come; that moment is
    its timestamp, or its own time, where that is later. Such moments are rounded up to a thousandth of the longer bound.
    A record at or behind the watermark is `late`.

    A record costs one append, and one look at each of the up to 3 panes of time that its interval touches. State:
    every record until the watermark has passed the last partner that it could have; with `how` other than `inner` also
    a timer per key and moment.

    Args:
        lower_ms: how much later the right record must be at least; negative: how much earlier it may be.
        upper_ms: how much later the right record may be.
        left_type: the type of the left records, as they are stored.
        right_type: the same of the right.
        how: whose records come out without a partner.
        select: makes of (left, right) the value to give out; None: a `Joined`.
        on_error: what to do with a pair that `select` fails on.
        pane_ms: how finely records are kept apart by time; None leaves it to the join.

    Raises:
        ValueError: a setting is wrong.
    """

    kind = "interval_join"
    keyed = True
    needs_event_time = True
    uses_timers = False
    side_outputs = ("late", FAILED)

    def __init__(
        self,
        lower_ms: int,
        upper_ms: int,
        *,
        left_type: Any,
        right_type: Any,
        how: How = "inner",
        select: Callable[[Any, Any], Out] | None = None,
        on_error: OnError = "fail",
        pane_ms: int | None = None,
    ) -> None:
        check_how(how, "interval_join")
        check_on_error(on_error)
        if lower_ms > upper_ms:
            lower, upper = (f"{'-' * (ms < 0)}{format_ms(abs(ms))}" for ms in (lower_ms, upper_ms))
            raise ValueError(f"interval_join(lower={lower!r}, upper={upper!r}): lower must not exceed upper")
        self.lower_ms = lower_ms
        self.upper_ms = upper_ms
        self.how = how
        self.select = select
        self.on_error = on_error
        wait_ms = max(abs(lower_ms), abs(upper_ms))
        self._moment_ms = max(1, wait_ms // _MOMENTS_PER_WAIT)
        self._pane_ms = pane_ms or max(
            (upper_ms - lower_ms) // _PANES_PER_INTERVAL, wait_ms // _MOMENTS_PER_WAIT, _SHORTEST_PANE_MS
        )
        self._bounds = ((lower_ms, upper_ms), (-upper_ms, -lower_ms))
        self._row_states = (rows_state("left", left_type), rows_state("right", right_type))
        self._kept_alone = (how in ("left", "outer"), how in ("right", "outer"))
        # They are needed for records without a partner only.
        self.uses_timers = any(self._kept_alone)

    def states(self) -> Sequence[StateDescriptor[Any]]:
        return (*self._row_states, WatermarkMark.STATE)

    def open(self, context: OperatorContext) -> None:
        self._context = context
        self._pairs = Pairs(self.select, self.on_error, context)
        self._late = context.side_output("late")
        self._mark = WatermarkMark(context)
        self._sides = [TimedRows(context.state(state), self._pane_ms) for state in self._row_states]

    def process_input(self, index: int, batch: Batch[Any]) -> Batch[Out] | None:
        timestamps, keys = batch.timestamps, batch.keys
        assert timestamps is not None
        assert keys is not None
        lower_ms, upper_ms = self._bounds[index]
        kept_alone, other_kept_alone = self._kept_alone[index], self._kept_alone[1 - index]
        others = self._sides[1 - index]
        around = Surroundings(others, lower_ms, upper_ms)
        watermark_ms = self._mark.watermark_ms
        is_left = index == 0
        late: list[int] = []
        pairs: list[Joined[Any, Any]] = []
        times: list[int] = []
        indices: list[int] = []
        for i, (time_ms, key, value) in enumerate(zip(timestamps, keys, batch.values, strict=True)):
            if time_ms <= watermark_ms:
                late.append(i)
                continue
            before = len(pairs)
            for pane, rows, start, stop in around.of(key, time_ms):
                met = rows.values[start:stop]
                pairs += [Joined(value, o) for o in met] if is_left else [Joined(o, value) for o in met]
                times += [time_ms if t < time_ms else t for t in rows.times[start:stop]]
                if other_kept_alone and True in rows.alone[start:stop]:
                    others.meet(pane, key, start, stop)
                    around.forget()
            if kept_alone:
                alone = len(pairs) == before
                if time_ms + upper_ms > watermark_ms:
                    self._sides[index].add_flagged(time_ms, key, value, alone=alone)
                    if alone:
                        self._context.timers.set_event(self._moment(time_ms + upper_ms), key)
                elif alone:
                    pairs.append(Joined(value, None) if is_left else Joined(None, value))
                    times.append(max(time_ms, self._moment(time_ms + upper_ms)))
            indices += [i] * (len(pairs) - before)
        if not kept_alone:
            self._keep(index, batch, watermark_ms + max(0, -upper_ms))
        if late:
            self._context.count("late", len(late))
            self._late(batch.take(late))
        if not pairs:
            return None
        of = batch.take(indices)
        return self._pairs.give_out(Batch(pairs, times, of.keys, of.watermarks, of.origin))

    def _keep(self, index: int, batch: Batch[Any], after_ms: int) -> None:
        """Keep the records later than `after_ms`."""
        timestamps, keys, values = batch.timestamps, batch.keys, batch.values
        assert timestamps is not None
        assert keys is not None
        if min(timestamps) <= after_ms:
            kept = [i for i, time_ms in enumerate(timestamps) if time_ms > after_ms]
            timestamps, keys, values = [timestamps[i] for i in kept], [keys[i] for i in kept], [values[i] for i in kept]
        self._sides[index].add_all(timestamps, keys, values)

    def on_timer(self, timestamp_ms: int, keys: Sequence[Any], *, event_time: bool) -> Batch[Out] | None:
        out = PairList()
        for key in keys:
            for index, side in enumerate(self._sides):
                if not self._kept_alone[index]:
                    continue
                last_ms = timestamp_ms - self._bounds[index][1]
                for _, rows, start, stop in side.slices(key, last_ms - self._moment_ms + 1, last_ms):
                    for place in range(start, stop):
                        if rows.alone[place]:
                            value = (rows.values[place],)
                            left, right = (value, _NOBODY) if index == 0 else (_NOBODY, value)
                            out.add(left, right, key, max(timestamp_ms, rows.times[place]))
        return self._pairs.give_out(out.batch())

    def on_watermark(self, watermark_ms: int) -> Batch[Out] | None:
        if watermark_ms > self._mark.watermark_ms:
            self._mark.watermark_ms = watermark_ms
            past_ms = watermark_ms - watermark_ms % self._moment_ms
            for (_, upper_ms), side in zip(self._bounds, self._sides, strict=True):
                side.drop_to(past_ms - upper_ms + 1)
        return None

    def prepare_snapshot(self, checkpoint_id: int) -> None:
        self._mark.save()

    def _moment(self, time_ms: int) -> int:
        """The time, rounded up to what records without a partner come out at."""
        return time_ms + -time_ms % self._moment_ms
