"""Running aggregates per key, without windows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import repeat
from operator import length_hint
from typing import Any

from .aggregate import Aggregate
from .batch import Batch
from .changes import Change
from .codegen import Code, Variants
from .layout import Layout
from .operator import Operator, OperatorContext
from .state import KeyedTable, KeyedTableState, StateDescriptor

_LOOP = """\
def run(values, timestamps, keys, live, missing, emit, timed):
    get = live.get
    for t, key, value in zip(timestamps, keys, values):
        acc = get(key)
        if acc is None:
            acc = missing(key)
            if acc is None:
                acc = live[key] = new()
        @update
        @emit
"""

_MARK = [
    "acc._time = t if timed else None",
    "if not acc._pending:",
    "    acc._pending = True",
    "    emit(key)",
]


class KeyedAggregate(Operator[Any, Any]):
    """Aggregates of all records of a key so far.

    Gives out one updated result per record, with the record's timestamp, key and origin. With `emit_every_ms`
    only the newest result of each key that changed, at full multiples of that interval of processing time,
    and at the end of the stream; its timestamp is that of the key's last record.

    A record costs one lookup, one update and one result. State: one accumulator per key, for ever.

    Args:
        aggregates: name → aggregate.
        emit_every_ms: how often results are given out, in milliseconds; None: per record.
        record_type: the type of the records, where it is known.
        inline: write the inner loop out; False runs the plain twin.

    Raises:
        ValueError: there is no aggregate, a name cannot be one, or `emit_every_ms` is not positive.
    """

    kind: str = "aggregate"
    keyed: bool = True
    uses_timers: bool = False

    def __init__(
        self,
        aggregates: Mapping[str, Aggregate[Any, Any]],
        *,
        emit_every_ms: int | None = None,
        record_type: Any = None,
        inline: bool = True,
    ) -> None:
        if emit_every_ms is not None and emit_every_ms < 1:
            raise ValueError(f"emit_every must be longer than 0ms, not {emit_every_ms}ms")
        self.emit_every_ms = emit_every_ms
        # It depends on the setting, which is settled here.
        self.uses_timers = emit_every_ms is not None
        marks = None if emit_every_ms is None else {"_time": (int | None, "None"), "_pending": (bool, "False")}
        self.layout = Layout(aggregates, marks=marks, bounds={"key": Any}, record_type=record_type)
        lines = None if emit_every_ms is None else {"emit": _MARK}
        self._codes = Variants(lambda mapping: Code(self.layout, _LOOP, lines=lines, mapping=mapping, inline=inline))
        self._totals_state: KeyedTableState[Any] = KeyedTableState("totals", self.layout.accumulator)

    @property
    def result_type(self) -> Any:
        """The Struct type of the results."""
        return self.layout.result

    def code(self) -> str:
        """The source of the inner loop, as it is written for records with fields."""
        return self._codes[False].source

    def states(self) -> Sequence[StateDescriptor[Any]]:
        return (self._totals_state,)

    def open(self, context: OperatorContext) -> None:
        self._context = context
        self._totals: KeyedTable[Any, Any] = context.state(self._totals_state)
        self._code = self._codes[False]

    def process(self, batch: Batch[Any]) -> Batch[Any] | None:
        values, timestamps, keys = batch.values, batch.timestamps, batch.keys
        assert keys is not None
        if isinstance(values[0], Change):
            raise TypeError(
                "aggregate got changes where it was told nothing of them, and would count what they take back: say the "
                "type of the records, with a return annotation such as Change[Row] on the function that makes them"
            )
        self._code = self._codes.of(values)
        coming = iter(values)
        results: list[Any] = []
        emit = results.append if self.emit_every_ms is None else self._schedule
        try:
            self._code["run"](
                coming, timestamps or repeat(0), keys,
                self._totals.live, self._totals.load, emit, timestamps is not None,
            )  # fmt: skip
        except Exception as error:
            index = len(values) - length_hint(coming) - 1
            raise self._context.record_error(error, batch, index) from error
        return batch.with_values(results) if results else None

    def on_timer(self, timestamp_ms: int, keys: Sequence[Any], *, event_time: bool) -> Batch[Any] | None:
        return self._give_out(keys)

    def on_end(self) -> Batch[Any] | None:
        if self.emit_every_ms is None:
            return None
        return self._give_out([key for key, acc in self._totals.items() if acc._pending])

    def _give_out(self, keys: Sequence[Any]) -> Batch[Any] | None:
        """The newest results of those of `keys` that have changed."""
        results, timestamps, changed = [], [], []
        for key in keys:
            acc = self._totals.live.get(key) or self._totals.load(key)
            if acc is not None and acc._pending:
                acc._pending = False
                results.append(self._code["result"](acc, key))
                timestamps.append(acc._time)
                changed.append(key)
        if not results:
            return None
        return Batch(results, None if None in timestamps else timestamps, changed)

    def _schedule(self, key: Any) -> None:
        assert self.emit_every_ms is not None
        now_ms = self._context.now_ms()
        self._context.timers.set_processing(now_ms - now_ms % self.emit_every_ms + self.emit_every_ms, key)
