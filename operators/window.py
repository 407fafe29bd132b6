"""Tumbling and sliding windows per key."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from functools import partial
from operator import length_hint
from typing import Any

from .aggregate import Aggregate
from .batch import Batch
from .operator import OperatorContext
from .pane_merge import Entries, Merging, PaneMerge, merge_of_key
from .pane_totals import PaneTotals
from .state import StateDescriptor, WindowTable, WindowTableState
from .watermark_mark import WatermarkMark
from .window_aggregation import MakeResults, WindowAggregation, checked_lateness
from .window_output import WindowOutput, trigger_lines, trigger_marks
from .windows import TimeWindows, Trigger, Window, on_watermark

_FEW_PANES = 4

_LOOP = """\
def run(values, timestamps, keys, closed, open_pane, closed_record, fire, schedule):
    start = end = 0
    opened = {}
    for t, key, value in zip(timestamps, keys, values):
        if not start <= t < end:
            pane_start = t - (t - @OFFSET@) % @PANE@
            if pane_start + @PANE@ <= closed:
                closed_record(t, key, value)
                continue
            start = pane_start
            end = pane_start + @PANE@
            known = opened.get(end)
            if known is None:
                known = opened[end] = open_pane(end)
            pane, get, load = known
        acc = get(key)
        if acc is None:
            acc = load(end, key)
            if acc is None:
                @fresh
        @update
        @trigger
"""


class WindowOperator(WindowAggregation):
    """Aggregates per key and window of event time.

    A window `[start, end)` fires when the watermark reaches `end - 1`: one result per key that has records in
    it, with the timestamp `end - 1`. Until the watermark reaches `end - 1 + allowed_lateness_ms` each further
    record fires the windows it belongs to again, for its key. Then the state goes; a record all of whose
    windows are gone goes to the side output `late` and is counted as `late`.

    A record costs one update, in the pane it falls into, however much windows overlap. State: one accumulator
    per key and pane that has records, from the first of them until no window needs the pane any more. Firing
    a window costs about three merges per key and slide, also independent of the overlap; with count() and sums of
    integers alone one merge and one subtraction. Firing again for a late record costs about three merges per
    window that it fires.

    Args:
        assigner: `windows.tumbling(…)` or `windows.sliding(…)`.
        aggregates: name → aggregate.
        allowed_lateness_ms: how long a window that has fired still takes records, in milliseconds of event
            time.
        trigger: when windows fire. Counts, custom triggers and purging are for tumbling windows only.
        record_type: the type of the records, where it is known.
        results: makes of (key, window, result) the values to give out; None gives out the result itself.
        inline: write the inner loop out; False runs the plain twin.

    Raises:
        ValueError: the trigger or an aggregate does not fit the windows, or a setting is wrong.
    """

    needs_event_time: bool = True
    _slides = True  # a window begins one slide after the one before
    emits_only_on_watermark: bool = True
    side_outputs: Sequence[str] = ("late",)

    def __init__(
        self,
        assigner: TimeWindows,
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
        self._tumbling = assigner.size_ms == assigner.slide_ms
        trigger = trigger or on_watermark()
        by_record = trigger.every_count is not None or trigger.custom is not None
        super().__init__(
            aggregates,
            trigger,
            marks=trigger_marks(trigger),
            template=_LOOP.replace("@PANE@", str(assigner.pane_ms)).replace("@OFFSET@", str(assigner.offset_ms)),
            lines={"trigger": trigger_lines(trigger, "fire(end, key, acc)")},
            record_type=record_type,
            results=results,
            inline=inline,
        )
        if not self._tumbling:
            if not self.layout.mergeable:
                raise ValueError(
                    f"windows {assigner} put pieces together, and fold cannot: give it merge=, or use tumbling windows"
                )
            if by_record or trigger.purging:
                raise ValueError(
                    f"windows {assigner} cannot fire by count or a rule of yours, or forget what they gave out: use "
                    'tumbling windows, or windows.early(every="10s")'
                )
        self._panes_state: WindowTableState[Any] = WindowTableState("panes", self.layout.accumulator)

    def states(self) -> Sequence[StateDescriptor[Any]]:
        return (self._panes_state, WatermarkMark.STATE)

    def open(self, context: OperatorContext) -> None:
        super().open(context)
        self._panes: WindowTable[Any, Any] = context.state(self._panes_state)
        self._mark = WatermarkMark(context)
        self._late = context.side_output("late")
        self._order = list(self._panes.namespaces())
        ways = (field.name for field in fields(Merging))
        self._merging = Merging(**{name: self._code[name] for name in ways})
        self._totals, self._merged = self._sliding()
        self._out = WindowOutput(self._make)

    def _sliding(self) -> tuple[PaneTotals | None, PaneMerge]:
        """How windows are put together from panes."""
        code, panes, assigner = self._code, self._panes, self.assigner
        totals = None
        if self.layout.subtractable and self._slides:
            totals = PaneTotals(assigner.size_ms, panes.read, code["merge_all"], code["subtract_all"])
        return totals, PaneMerge(assigner.size_ms, assigner.offset_ms, panes.read, panes.get, self._merging)

    def process(self, batch: Batch[Any]) -> Batch[Any] | None:
        values = batch.values
        timestamps, keys = batch.timestamps, batch.keys
        assert timestamps is not None
        assert keys is not None
        self._code = code = self._codes.of(values)
        # A list's iterator knows how much is left: that gives the index of the record in hand, at no cost per record.
        self._coming = coming = iter(values)
        self._size = len(values)
        self._late_indices: list[int] = []
        try:
            code["run"](
                coming, timestamps, keys, self._closed(self._mark.watermark_ms), self._opened,
                self._closed_record, self._count_reached, self._schedule,
            )  # fmt: skip
        except Exception as error:
            raise self._context.record_error(error, batch, self._index()) from error
        del self._coming, coming  # the iterator would keep the records alive until the next batch
        if self._late_indices:
            self._context.count("late", len(self._late_indices))
            self._late(batch.take(self._late_indices))
        return self._out.take()

    def on_watermark(self, watermark_ms: int) -> Batch[Any] | None:
        before = self._mark.watermark_ms
        if watermark_ms <= before:
            return None
        self._mark.watermark_ms = watermark_ms
        closed, closed_before = self._closed(watermark_ms), self._closed(before)
        spent = self._spent(watermark_ms)
        if closed == closed_before and spent == self._spent(before):
            return None
        panes = self._order[: bisect_right(self._order, closed)]
        if self._tumbling and self.trigger.final and not self.allowed_lateness_ms:
            for end in panes:
                self._fire(end, self._panes.take(end))
            del self._order[: len(panes)]
            return self._out.take()
        if self.trigger.final:
            for end in self._ends(panes, closed_before, closed):
                self._fire(end, self._window(end, panes))
                if self.trigger.purging:
                    self._panes.drop(end)
        if self._totals is not None:
            self._totals.leave(closed + self.assigner.slide_ms - self.assigner.size_ms, panes)
        gone = bisect_right(panes, spent)
        for pane in panes[:gone]:
            self._panes.drop(pane)
        del self._order[:gone]
        return self._out.take()

    def on_timer(self, timestamp_ms: int, keys: Sequence[Any], *, event_time: bool) -> Batch[Any] | None:
        closed = self._closed(self._mark.watermark_ms)
        in_open_windows = self._order[bisect_right(self._order, closed - self.assigner.size_ms) :]
        for key in keys:
            changed = []
            for pane in in_open_windows:
                acc = self._panes.get(pane, key)
                if acc is not None and acc._pending:
                    self._panes.load(pane, key)._pending = 0  # type: ignore[union-attr]  # it is there
                    changed.append(pane)
            self._fire_key(self._ends(changed, closed, changed[-1] + self.assigner.size_ms if changed else closed), key)
        return self._out.take()

    def prepare_snapshot(self, checkpoint_id: int) -> None:
        self._mark.save()

    def _closed(self, watermark_ms: int) -> int:
        return self.assigner.closed_by(watermark_ms)

    def _spent(self, watermark_ms: int) -> int:
        return self.assigner.spent_by(watermark_ms, self.allowed_lateness_ms)

    def _ends(self, panes: Sequence[int], after: int, until: int) -> list[int]:
        return self.assigner.ends_of(panes, after, until)

    # ------------------------------------------------------------------- firing

    def _start(self, end: int) -> int:
        """Where the window that ends at `end` starts."""
        return end - self.assigner.size_ms

    def _fire(self, end: int, entries: Entries) -> None:
        if entries:
            start = self._start(end)
            self._out.add(self._code["results"](entries, start, end), list(entries), Window(start, end))

    def _fire_key(self, ends: Sequence[int], key: Any) -> None:
        """Fire windows for one key, from the panes of the key."""
        get = partial(self._get_of, key)
        for end, acc in merge_of_key(ends, self._start, self.assigner.pane_ms, get, self._merging):
            start = self._start(end)
            self._out.add([self._code["result"](acc, key, start, end)], [key], Window(start, end))
            if self.trigger.purging:
                self._panes.remove(end, key)

    def _get_of(self, key: Any, pane: int) -> Any:
        return self._panes.get(pane, key)

    def _window(self, end: int, panes: Sequence[int]) -> Entries:
        if self._tumbling:
            return self._panes.read(end)
        if self._totals is not None:
            return self._totals.window(end, panes)
        start = end - self.assigner.size_ms
        own = panes[bisect_right(panes, start) : bisect_right(panes, end)]
        if self.assigner.size_ms // self.assigner.pane_ms <= _FEW_PANES:
            return self._merged.plainly(own)
        return self._merged.window(end, own)

    def _opened(self, end: int) -> tuple[Entries, Callable[[Any], Any], Callable[[int, Any], Any]]:
        """A pane as the inner loop works with it, for as long as the batch lasts."""
        entries = self._open_pane(end)
        return entries, entries.get, self._panes.loader(end)

    def _open_pane(self, end: int) -> Entries:
        index = bisect_right(self._order, end)
        if not index or self._order[index - 1] != end:
            self._order.insert(index, end)
        return self._panes.open(end)

    def _count_reached(self, end: int, key: Any, acc: Any) -> None:
        acc._pending = 0
        start = end - self.assigner.size_ms
        self._out.add([self._code["result"](acc, key, start, end)], [key], Window(start, end))
        if self.trigger.purging:
            self._panes.remove(end, key)

    def _closed_record(self, timestamp_ms: int, key: Any, value: Any) -> None:
        """A record of a pane that has been in a window which fired: late, or reason to fire again."""
        assigner, watermark_ms = self.assigner, self._mark.watermark_ms
        pane = timestamp_ms - (timestamp_ms - assigner.offset_ms) % assigner.pane_ms + assigner.pane_ms
        if pane <= self._spent(watermark_ms):
            self._late_indices.append(self._index())
            return
        entries = self._open_pane(pane)
        acc = entries.get(key)
        if acc is None:
            acc = self._panes.load(pane, key)
        if acc is None:
            acc = entries[key] = self._code["new"]()
        self._code["add"](acc, value, timestamp_ms)
        if not self._tumbling:
            self._change(pane, key, value, timestamp_ms)
        if not self.trigger.final:
            if self.trigger.every_count is not None:
                acc._pending += 1
                if acc._pending >= self.trigger.every_count:
                    self._count_reached(pane, key, acc)
            elif self.trigger.custom is not None and self._code["asks"](acc, value, timestamp_ms):
                self._count_reached(pane, key, acc)
            return
        closed = self._closed(watermark_ms)
        expired = watermark_ms + 1 - self.allowed_lateness_ms
        self._fire_key(self._ends([pane], expired, closed), key)
        still_open = self._ends([pane], closed, closed + assigner.size_ms)
        if self.trigger.every_ms is not None and still_open and not acc._pending:
            acc._pending = 1
            self._schedule(key)

    def _change(self, pane: int, key: Any, value: Any, timestamp_ms: int) -> None:
        """What is held beside the panes follows a record that has gone into one of them."""
        if self._totals is None:
            self._merged.changed(pane, key)
            return
        totals = self._totals.totals_of(pane)
        if totals is not None:
            acc = totals.get(key)
            if acc is None:
                acc = totals[key] = self._code["new"]()
            self._code["add"](acc, value, timestamp_ms)

    def _index(self) -> int:
        return self._size - length_hint(self._coming) - 1
