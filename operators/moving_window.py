"""A window per key that takes records in at one end and gives them up at the other, and knows their aggregates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from .aggregate import Aggregate
from .codegen import Code, Variants
from .layout import Layout, typed_by_record, value_type
from .operator import OperatorContext
from .parts import storable
from .retraction import RetractableAggregate, Retraction, moves
from .state import MapTable, MapTableState, StateDescriptor
from .two_stacks import TwoStacks


class MovingWindow:
    """The records of a key that a moving window holds, and their aggregates.

    Aggregates that can take a record away (`moves`) do so; the others lie in two stacks. What a record has put into the
    former is kept until it is taken away, entry by entry.

    Args:
        aggregates: name → aggregate.
        record_type: the type of the records, where it is known.
        times: whether the times of the records will be asked for.
        more: fields to keep per key besides: name → type; their value is 0 at first.

    Attributes:
        result_type: the Struct type of the results: `key`, `value` (the record) and the aggregates.

    Raises:
        ValueError: there is no aggregate, a name cannot be one, or one cannot be used.
    """

    def __init__(
        self,
        aggregates: Mapping[str, Aggregate[Any, Any]],
        *,
        record_type: Any,
        times: bool = False,
        more: Mapping[str, Any] | None = None,
    ) -> None:
        bounds = {"key": Any, "value": Any if record_type is None else record_type}
        self.result_type = Layout(aggregates, bounds=bounds, record_type=record_type).result
        typed = {name: typed_by_record(aggregate, record_type) for name, aggregate in aggregates.items()}
        self._moving = [RetractableAggregate(name, one) for name, one in typed.items() if moves(one)]
        merged = {name: one for name, one in typed.items() if not moves(one)}
        self._names = list(aggregates)
        self._merged_names = list(merged)
        self._codes: Variants | None = None
        queue: list[tuple[str, Any]] = []
        self._items_state: MapTableState[Any] | None = None
        if merged:
            layout = Layout(merged, record_type=record_type)
            if not layout.mergeable:
                raise ValueError("moving windows put pieces together, and fold cannot: give it merge=")
            self._codes = Variants(lambda mapping: Code(layout, "", mapping=mapping))
            self._queue_type = TwoStacks.head_type(layout)
            queue = [("queue", self._queue_type)]
            self._items_state = MapTableState("items", layout.accumulator, key_type=int)
        known = [value_type(one.aggregate, record_type) for one in self._moving]
        self._taking = [not all(part.every_record for part in one.parts) for one in self._moving]
        self._untyped = [number for number, kind in enumerate(known) if kind is None and self._taking[number]]
        self._row_type: Any = msgspec.defstruct(
            "Row",
            [
                ("time", int),
                ("left_out", int),
                *[(f"v{i}", Any if kind is None else kind | None) for i, kind in enumerate(known)],
            ],
            array_like=True,
        )
        self._slots = [slot for one in self._moving for slot in one.slots()]
        self.window_type: Any = msgspec.defstruct(
            "MovingWindow",
            [
                *[(name, kind, 0) for name, kind in (more or {}).items()],
                ("oldest", int, 0),
                ("next", int, 0),
                *[(name, kind) for name, kind in queue],
                *self._slots,
            ],
            array_like=True,
            kw_only=True,
        )
        self._rows_state: MapTableState[Any] | None = None
        if self._moving or times:
            self._rows_state = MapTableState("rows", self._row_type, key_type=int)

    def states(self) -> Sequence[StateDescriptor[Any]]:
        """The tables of the records."""
        return [state for state in (self._rows_state, self._items_state) if state is not None]

    def open(self, context: OperatorContext) -> OpenedMovingWindow:
        """The same at work in a subtask."""
        return OpenedMovingWindow(self, context)


class OpenedMovingWindow:
    """A `MovingWindow` at work in a subtask. The window of a key is kept by the operator."""

    def __init__(self, description: MovingWindow, context: OperatorContext) -> None:
        self._description = description
        self._moving = [one.opened(context) for one in description._moving]
        self._rows: MapTable | None = None
        if description._rows_state is not None:
            self._rows = context.state(description._rows_state)
        self._stacks: TwoStacks | None = None
        self._code: Code | None = None
        if description._codes is not None:
            assert description._items_state is not None
            self._items: MapTable = context.state(description._items_state)
            self._code = description._codes[False]
            self._stacks = TwoStacks(self._items, self._code["merge"], self._code["copy"])
        # What the inner loops need of each moving aggregate, looked up once.
        self._puts = [
            (1 << number, one.condition, one.read if takes else None, _slots(one))
            for number, (one, takes) in enumerate(zip(self._moving, description._taking, strict=True))
        ]
        self._drops = [(1 << number, f"v{number}", _slots(one)) for number, one in enumerate(self._moving)]
        place = {name: number for number, name in enumerate(description._names)}
        self._shown = [(place[one.name], one.aggregate.finish, _slots(one)) for one in self._moving]
        self._merged = [(place[name], name) for name in description._merged_names]

    def records_are(self, values: Sequence[Any]) -> None:
        """What the records of the batch in hand are like."""
        if self._description._codes is not None:
            self._code = self._description._codes.of(values)

    def empty(self) -> Any:
        """The window of a key without records."""
        slots = {name: part.empty() for one in self._moving for part, name in _slots(one)}
        if self._stacks is not None:
            slots["queue"] = self._description._queue_type()
        return self._description.window_type(**slots)

    def put(self, window: Any, key: Any, value: Any, timestamp_ms: int) -> None:
        """Take a record in."""
        taken: list[Any] = []
        left_out = 0
        for bit, condition, read, slots in self._puts:
            if condition is not None and not condition(value):
                left_out |= bit
                taken.append(None)
                continue
            x = None if read is None else read(value)
            taken.append(x)
            for part, name in slots:
                if x is not None or part.every_record:
                    setattr(window, name, part.add(getattr(window, name), key, x))
        for number in self._description._untyped:
            storable(taken[number])
        if self._rows is not None:
            self._rows.put(key, window.next, self._description._row_type(timestamp_ms, left_out, *taken))
        window.next += 1
        if self._stacks is not None:
            assert self._code is not None
            acc = self._code["new"]()
            self._code["add"](acc, value, timestamp_ms)
            self._stacks.put(window.queue, key, acc)

    def oldest_ms(self, window: Any, key: Any) -> int:
        """The timestamp of the oldest record, of which there must be one. Only of a window that keeps times."""
        assert self._rows is not None
        row: Any = self._rows.get(key, window.oldest)
        time_ms: int = row.time
        return time_ms

    def drop(self, window: Any, key: Any) -> None:
        """Take the oldest record away."""
        if self._rows is not None:
            row: Any = self._rows.get(key, window.oldest)
            for bit, taken, slots in self._drops:
                if row.left_out & bit:
                    continue
                x = getattr(row, taken)
                for part, name in slots:
                    if x is not None or part.every_record:
                        setattr(window, name, part.remove(getattr(window, name), key, x))
            self._rows.remove(key, window.oldest)
        window.oldest += 1
        if self._stacks is not None:
            self._stacks.drop(window.queue, key)

    def aggregates(self, window: Any, key: Any) -> list[Any]:
        """The aggregates of what the window holds, which is something, in the order in which they were given."""
        found: list[Any] = [None] * len(self._description._names)
        for place, finish, slots in self._shown:
            found[place] = finish(*[shown for part, name in slots for shown in part.shown(getattr(window, name))])
        if self._stacks is not None:
            assert self._code is not None
            merged = self._code["result"](self._stacks.whole(window.queue, key), key)
            for place, name in self._merged:
                found[place] = getattr(merged, name)
        return found

    def clear(self, key: Any) -> None:
        """Forget the records of a key."""
        if self._rows is not None:
            self._rows.clear(key)
        if self._stacks is not None:
            self._items.clear(key)


def _slots(aggregate: RetractableAggregate) -> list[tuple[Retraction, str]]:
    """The parts of an aggregate, each with the name of its slot."""
    return [(part, name) for part, (name, _) in zip(aggregate.parts, aggregate.slots(), strict=True)]
