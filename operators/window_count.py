"""Count windows per key that overlap."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import gcd
from operator import length_hint
from typing import Any

from .aggregate import Aggregate
from .batch import Batch
from .operator import OperatorContext
from .state import KeyedTable, KeyedTableState, MapTable, MapTableState, StateDescriptor
from .two_stacks import TwoStacks
from .window_aggregation import MakeResults, WindowAggregation
from .window_output import WindowOutput
from .windows import CountWindows, Trigger, Window, on_watermark

_LOOP = """\
def run(values, timestamps, keys, live, missing, piece_full, moment):
    get = live.get
    for t, key, value in zip(timestamps, keys, values):
        window = get(key)
        if window is None:
            window = missing(key)
        acc = window.piece
        if acc is None:
            acc = window.piece = new()
            acc._start = t
            acc._end = t + moment
        elif acc._end <= t:
            acc._end = t + moment
        elif t < acc._start:
            acc._start = t
        @update
        window.fresh += 1
        acc._n += 1
        if acc._n == @PIECE@:
            piece_full(key, window)
"""


class SlidingCountOperator(WindowAggregation):
    """Aggregates per key over its last `n` records, after every so many.

    The first window fires when a key has `n` records, each further one `every` records later. With `partial=True` the
    records since then fire at the end of the stream, together with those before that their window would have held. The
    bounds of a result span the timestamps of its records; they are 0 without event time. Records count in the order in
    which they come, so no record is late.

    A record costs one lookup and one update, and its share of the pieces of which windows are made: about two merges for
    each piece, of as many records as the greatest common divisor of `n` and `every`. State: one accumulator per key and
    piece, an entry each.

    Args:
        assigner: `windows.count(n, every=m)`.
        aggregates: name → aggregate.
        trigger: none: these windows fire when they are full.
        record_type, results, inline: as for `WindowOperator`.

    Raises:
        ValueError: there is a trigger, or an aggregate does not fit.
    """

    def __init__(
        self,
        assigner: CountWindows,
        aggregates: Mapping[str, Aggregate[Any, Any]],
        *,
        trigger: Trigger | None = None,
        record_type: Any = None,
        results: MakeResults | None = None,
        inline: bool = True,
    ) -> None:
        assert assigner.every is not None
        if trigger not in (None, on_watermark()):
            raise ValueError(f"windows {assigner} fire when they are full: leave the trigger out")
        self.assigner = assigner
        piece = gcd(assigner.n, assigner.every)
        self._pieces_of_step = assigner.every // piece
        super().__init__(
            aggregates,
            Trigger(final=False),
            marks={"_start": (int, "0"), "_end": (int, "0"), "_n": (int, "0")},
            template=_LOOP.replace("@PIECE@", str(piece)),
            lines={},
            record_type=record_type,
            results=results,
            inline=inline,
        )
        if not self.layout.mergeable:
            raise ValueError(f"windows {assigner} put pieces together, and fold cannot: give it merge=")
        accumulator = self.layout.accumulator
        self._window_type = TwoStacks.head_type(self.layout, {"piece": accumulator | None, "count": int, "fresh": int})
        self._windows_state: KeyedTableState[Any] = KeyedTableState("windows", self._window_type)
        self._pieces_state: MapTableState[Any] = MapTableState("pieces", accumulator, key_type=int)

    def states(self) -> Sequence[StateDescriptor[Any]]:
        return (self._windows_state, self._pieces_state)

    def open(self, context: OperatorContext) -> None:
        super().open(context)
        self._windows: KeyedTable[Any, Any] = context.state(self._windows_state)
        self._pieces: MapTable = context.state(self._pieces_state)
        self._stacks = TwoStacks(self._pieces, self._merged, self._code["copy"])
        self._out = WindowOutput(self._make)
        self._timed = False

    def process(self, batch: Batch[Any]) -> Batch[Any] | None:
        values, keys = batch.values, batch.keys
        assert keys is not None
        self._code = self._codes.of(values)
        timed = batch.timestamps is not None
        coming = iter(values)
        timestamps = batch.timestamps or [0] * len(values)
        try:
            self._code["run"](coming, timestamps, keys, self._windows.live, self._window, self._piece_full, int(timed))
        except Exception as error:
            index = len(values) - length_hint(coming) - 1
            raise self._context.record_error(error, batch, index) from error
        return self._out.take(timed=timed)

    def on_end(self) -> Batch[Any] | None:
        if self.assigner.partial:
            for key, window in list(self._windows.items()):
                if window.fresh:
                    whole = self._stacks.whole(window, key)
                    if window.piece is not None and whole is not None:
                        whole = self._code["copy"](whole)
                        self._merged(whole, window.piece)
                    self._fire(key, window.piece if whole is None else whole)
        return self._out.take(timed=self._timed)

    def _window(self, key: Any) -> Any:
        window = self._windows.load(key)
        if window is None:
            window = self._windows.live[key] = self._window_type(None, 0, 0)
        return window

    def _piece_full(self, key: Any, window: Any) -> None:
        window.count += window.piece._n
        self._stacks.put(window, key, window.piece)
        window.piece = None
        if window.count == self.assigner.n:
            assert self.assigner.every is not None
            self._fire(key, self._stacks.whole(window, key))
            window.count -= self.assigner.every
            window.fresh = 0
            for _ in range(self._pieces_of_step):
                self._stacks.drop(window, key)

    def _merged(self, acc: Any, later: Any) -> None:
        self._code["merge"](acc, later)
        acc._start = min(acc._start, later._start)
        acc._end = max(acc._end, later._end)

    def _fire(self, key: Any, acc: Any) -> None:
        window = Window(acc._start, acc._end)
        # A window that holds a record with a timestamp is never empty.
        self._timed = acc._end > acc._start
        self._out.add([self._code["result"](acc, key, window.start_ms, window.end_ms)], [key], window)
