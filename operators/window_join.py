"""Pairs of two streams that fall into the same tumbling or sliding window."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

from .batch import Batch
from .errors import FAILED, OnError, check_on_error
from .joined import How, PairList, Pairs, check_how
from .operator import MultiInputOperator, OperatorContext
from .state import StateDescriptor
from .timed_rows import TimedRows, rows_state
from .watermark_mark import WatermarkMark
from .window_aggregation import checked_lateness
from .windows import TimeWindows

Out = TypeVar("Out")

_NOBODY: Final = (None,)


class WindowJoin(MultiInputOperator[Out]):
    """Gives out each pair of a left and a right record that have the same key and fall into the same window.

    The pairs of a window come when the watermark reaches its end, in order of the left record's time, then of the right
    one's, with the timestamp `end - 1`. Until the watermark reaches `end - 1 + allowed_lateness_ms` a further record gives
    its pairs at once. Then it is certain who has no partner: with `how` other than `inner` those come now, with that
    moment as their timestamp. A record all of whose windows are gone goes to the side output `late`.

    A record costs one append, however much windows overlap; a window one step per pair. State: every record, once, until
    no window needs its pane any more.

    Args:
        assigner: `windows.tumbling(…)` or `windows.sliding(…)`.
        left_type: the type of the left records, as they are stored.
        right_type: the same of the right.
        how: whose records come out without a partner.
        select: makes of (left, right) the value to give out; None: a `Joined`.
        allowed_lateness_ms: how long a window that has fired still takes records.
        on_error: what to do with a pair that `select` fails on.

    Raises:
        ValueError: a setting is wrong.
    """

    kind = "join"
    keyed = True
    needs_event_time = True
    emits_only_on_watermark = True
    side_outputs = ("late", FAILED)

    def __init__(
        self,
        assigner: TimeWindows,
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
        self._kept_alone = (how in ("left", "outer"), how in ("right", "outer"))

    def states(self) -> Sequence[StateDescriptor[Any]]:
        return (*self._row_states, WatermarkMark.STATE)

    def open(self, context: OperatorContext) -> None:
        self._context = context
        self._pairs = Pairs(self.select, self.on_error, context)
        self._late = context.side_output("late")
        self._mark = WatermarkMark(context)
        assigner = self.assigner
        self._sides = [TimedRows(context.state(s), assigner.pane_ms, assigner.offset_ms) for s in self._row_states]

    def process_input(self, index: int, batch: Batch[Any]) -> Batch[Out] | None:
        timestamps, keys = batch.timestamps, batch.keys
        assert timestamps is not None
        assert keys is not None
        pane_of, add = self._sides[index].pane_of, self._sides[index].add
        watermark_ms = self._mark.watermark_ms
        closed = self.assigner.closed_by(watermark_ms)
        spent = self.assigner.spent_by(watermark_ms, self.allowed_lateness_ms)
        late: list[int] = []
        out = PairList()
        for i, (timestamp_ms, key, value) in enumerate(zip(timestamps, keys, batch.values, strict=True)):
            if timestamp_ms < closed:
                pane = pane_of(timestamp_ms)
                if pane <= spent:
                    late.append(i)
                    continue
                for end in self.assigner.ends_of([pane], watermark_ms + 1 - self.allowed_lateness_ms, closed):
                    self._pair_one(index, value, key, end, out)
            add(timestamp_ms, key, value)
        if late:
            self._context.count("late", len(late))
            self._late(batch.take(late))
        return self._pairs.give_out(out.batch())

    def on_watermark(self, watermark_ms: int) -> Batch[Out] | None:
        before = self._mark.watermark_ms
        if watermark_ms <= before:
            return None
        self._mark.watermark_ms = watermark_ms
        assigner, lateness_ms = self.assigner, self.allowed_lateness_ms
        closed, closed_before = assigner.closed_by(watermark_ms), assigner.closed_by(before)
        gone, gone_before = assigner.closed_by(watermark_ms - lateness_ms), assigner.closed_by(before - lateness_ms)
        spent = assigner.spent_by(watermark_ms, lateness_ms)
        if (closed, gone) == (closed_before, gone_before) and spent == assigner.spent_by(before, lateness_ms):
            return None
        panes = sorted({pane for side in self._sides for pane in side.panes_to(closed)})
        out = PairList()
        firing = set(assigner.ends_of(panes, closed_before, closed))
        going = set(assigner.ends_of(panes, gone_before, gone)) if any(self._kept_alone) else set()
        for end in sorted(firing | going):
            own = panes[bisect_right(panes, end - assigner.size_ms) : bisect_right(panes, end)]
            left, right = (side.by_key(own) for side in self._sides)
            if end in firing:
                for key in left:
                    if key in right:
                        out.add(left[key], right[key], key, end - 1)
            if end in going:
                self._add_alone(left, right, end - 1 + lateness_ms, out)
        for side in self._sides:
            side.drop_to(spent)
        return self._pairs.give_out(out.batch())

    def prepare_snapshot(self, checkpoint_id: int) -> None:
        self._mark.save()

    def _pair_one(self, index: int, value: Any, key: Any, end: int, out: PairList) -> None:
        """A further record of a window that has fired, with its partners."""
        others = self._sides[1 - index].values_between(key, end - self.assigner.size_ms, end - 1)
        left, right = ([value], others) if index == 0 else (others, [value])
        out.add(left, right, key, end - 1)

    def _add_alone(
        self, left: dict[Any, list[Any]], right: dict[Any, list[Any]], timestamp_ms: int, out: PairList
    ) -> None:
        """The records of a window of whose key the other side has none."""
        if self._kept_alone[0]:
            for key, values in left.items():
                if key not in right:
                    out.add(values, _NOBODY, key, timestamp_ms)
        if self._kept_alone[1]:
            for key, values in right.items():
                if key not in left:
                    out.add(_NOBODY, values, key, timestamp_ms)
