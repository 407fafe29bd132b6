"""Global and count windows per key: windows without bounds in time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from operator import length_hint
from typing import Any

from .aggregate import Aggregate
from .batch import Batch
from .operator import OperatorContext
from .state import KeyedTable, KeyedTableState, StateDescriptor
from .window_aggregation import MakeResults, WindowAggregation
from .window_output import PENDING, WindowOutput, trigger_lines, trigger_marks
from .windows import CountWindows, GlobalWindows, Trigger, Window, on_watermark

_LOOP = """\
def run(values, keys, live, missing, fire, schedule):
    t = 0
    get = live.get
    for key, value in zip(keys, values):
        acc = get(key)
        if acc is None:
            acc = missing(key)
            if acc is None:
                acc = live[key] = new()
        @update
        @trigger


def run_timed(values, timestamps, keys, live, missing, fire, schedule):
    get = live.get
    for t, key, value in zip(timestamps, keys, values):
        acc = get(key)
        if acc is None:
            acc = missing(key)
            if acc is None:
                acc = live[key] = new()
                acc._start = t
                acc._end = t
        if acc._end <= t:
            acc._end = t + 1
        elif t < acc._start:
            acc._start = t
        @update
        @trigger
"""


class GlobalWindowOperator(WindowAggregation):
    """Aggregates per key over all its records, or over each `n` of them.

    A global window fires as its trigger says, and at the end of the stream unless the trigger is
    `windows.on_count`. A count window fires when it holds `n` records and starts anew; what is left at the
    end of the stream fires only with `partial=True`. The bounds of a result span the timestamps of its
    records; they are 0 without event time. Records count in the order in which they come, so no record is
    late.

    A record costs one lookup and one update. State: one accumulator per key.

    Args:
        assigner: `windows.global_()` or `windows.count(n)`.
        aggregates: name → aggregate.
        trigger: when a global window fires; count windows have their own.
        record_type, results, inline: as for `WindowOperator`.

    Raises:
        ValueError: the trigger does not fit, or a setting is wrong.
    """

    def __init__(
        self,
        assigner: GlobalWindows | CountWindows,
        aggregates: Mapping[str, Aggregate[Any, Any]],
        *,
        trigger: Trigger | None = None,
        record_type: Any = None,
        results: MakeResults | None = None,
        inline: bool = True,
    ) -> None:
        self.assigner = assigner
        fires = trigger or on_watermark()
        self._fires_at_end = fires.final
        if isinstance(assigner, CountWindows):
            if trigger not in (None, on_watermark()):
                raise ValueError(f"windows {assigner} fire when they are full: leave the trigger out")
            fires = Trigger(final=False, every_count=assigner.n, purging=True)
            self._fires_at_end = assigner.partial
        super().__init__(
            aggregates,
            fires,
            marks={"_start": (int, "0"), "_end": (int, "0"), PENDING: (int, "0"), **trigger_marks(fires)},
            template=_LOOP,
            lines={"trigger": trigger_lines(fires, "fire(key, acc)")},
            record_type=record_type,
            results=results,
            inline=inline,
        )
        self._windows_state: KeyedTableState[Any] = KeyedTableState("windows", self.layout.accumulator)

    def states(self) -> Sequence[StateDescriptor[Any]]:
        return (self._windows_state,)

    def open(self, context: OperatorContext) -> None:
        super().open(context)
        self._windows: KeyedTable[Any, Any] = context.state(self._windows_state)
        self._out = WindowOutput(self._make)
        self._timed = False

    def process(self, batch: Batch[Any]) -> Batch[Any] | None:
        values, timestamps, keys = batch.values, batch.timestamps, batch.keys
        assert keys is not None
        self._code = code = self._codes.of(values)
        windows = self._windows
        coming = iter(values)
        try:
            if timestamps is None:
                code["run"](coming, keys, windows.live, windows.load, self._fire, self._schedule)
            else:
                code["run_timed"](coming, timestamps, keys, windows.live, windows.load, self._fire, self._schedule)
        except Exception as error:
            index = len(values) - length_hint(coming) - 1
            raise self._context.record_error(error, batch, index) from error
        return self._out.take(timed=timestamps is not None)

    def on_timer(self, timestamp_ms: int, keys: Sequence[Any], *, event_time: bool) -> Batch[Any] | None:
        for key in keys:
            acc = self._windows.live.get(key) or self._windows.load(key)
            if acc is not None and acc._pending:
                self._fire(key, acc)
        return self._taken()

    def on_end(self) -> Batch[Any] | None:
        if self._fires_at_end:
            for key, acc in self._windows.items():
                self._add(key, acc)
        return self._taken()

    def _fire(self, key: Any, acc: Any) -> None:
        acc._pending = 0
        self._add(key, acc)
        if self.trigger.purging:
            self._windows.remove(key)

    def _add(self, key: Any, acc: Any) -> None:
        window = Window(acc._start, acc._end)
        self._timed = acc._end > acc._start
        self._out.add([self._code["result"](acc, key, window.start_ms, window.end_ms)], [key], window)

    def _taken(self) -> Batch[Any] | None:
        # A window that holds a record with a timestamp is never empty.
        return self._out.take(timed=self._timed)
