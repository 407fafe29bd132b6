"""Aggregates from which records can be taken away again: for update streams, and for windows that move with every
record.

The parts of an aggregate have twins here that can `remove` what they were given. The aggregate's own `finish` makes
the result of what the twins show. Twins whose state may become large keep it in tables, entry by entry.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any, Generic, Protocol, TypeVar

import msgspec

from .aggregate import Aggregate
from .collecting_parts import count_value
from .exact_sum import ExactSum
from .fields import reader
from .layout import typed_by_record
from .operator import OperatorContext
from .parts import Part, storable
from .retractable_rows import ArrivalRows, RankedRows
from .state import StateDescriptor

R = TypeVar("R", RankedRows, ArrivalRows)


class Retraction(Protocol):
    """A part of an aggregate that can take away what it was given.

    Attributes:
        type: what it keeps per key, in one slot.
        every_record: whether records without a value count as well.
    """

    type: Any
    every_record: bool

    def states(self) -> Sequence[StateDescriptor[Any]]:
        """The tables it keeps besides its slot."""
        ...

    def open(self, context: OperatorContext) -> None:
        """Take the tables."""
        ...

    def empty(self) -> Any:
        """The slot before any value."""
        ...

    def add(self, slot: Any, key: Any, value: Any) -> Any:
        """Take in a value; the slot afterwards."""
        ...

    def remove(self, slot: Any, key: Any, value: Any) -> Any:
        """Take away a value; the slot afterwards.

        Raises:
            LookupError: it was never taken in, as far as that can be seen.
        """
        ...

    def shown(self, slot: Any) -> list[Any]:
        """The part's slots as the aggregate's `finish` takes them."""
        ...

    def clear(self, slot: Any, key: Any) -> None:
        """The slot is forgotten: so must be what the tables still hold, where retractions did not match."""
        ...


class RetractableAggregate:
    """An aggregate with the twins of its parts.

    Args:
        name: of the result; its tables are named after it.
        aggregate: the aggregate.

    Attributes:
        parts: the twins.
        read: reads what is aggregated of a record.
        condition: which records it takes in; None: all.

    Raises:
        ValueError: the aggregate cannot take away what it was given.
    """

    def __init__(self, name: str, aggregate: Aggregate[Any, Any]) -> None:
        self.name = name
        self.aggregate = aggregate
        self.read = reader(aggregate.field)
        self.condition = aggregate.condition
        self.parts: list[Retraction] = []
        for number, part in enumerate(aggregate.parts):
            twin = _inline(part) or _tabled(part, f"{name}_{number}")
            if twin is None:
                raise ValueError(
                    f"{name}: agg.{aggregate.kind} cannot take back what it was given, which changes need: use count, "
                    "sum, mean, variance, stddev, min, max, first, last, collect, count_distinct, quantile_exact, "
                    "top_k, top_n or most_common, or make the changes records with insert_only() or a window before"
                )
            self.parts.append(twin)

    def slots(self) -> list[tuple[str, Any]]:
        """The names and types of what it keeps."""
        return [(f"{self.name}_{number}", part.type) for number, part in enumerate(self.parts)]

    def opened(self, context: OperatorContext) -> RetractableAggregate:
        """The same for one subtask, with its tables."""
        mine = copy.copy(self)
        mine.parts = [copy.copy(part) for part in self.parts]
        for part in mine.parts:
            part.open(context)
        return mine

    def result(self, slots: Sequence[Any]) -> Any:
        """The aggregate of what the slots of its parts hold."""
        shown: list[Any] = []
        for part, slot in zip(self.parts, slots, strict=True):
            shown += part.shown(slot)
        return self.aggregate.finish(*shown)


def moves(aggregate: Aggregate[Any, Any]) -> bool:
    """Whether all parts of an aggregate can take away values at a cost that does not depend on how many there are."""
    return all(_inline(part) is not None for part in aggregate.parts)


class _Inline:
    """What twins without tables have in common."""

    type: Any
    every_record = False

    def states(self) -> Sequence[StateDescriptor[Any]]:
        return ()

    def open(self, context: OperatorContext) -> None:
        pass

    def clear(self, slot: Any, key: Any) -> None:
        pass


class Counted(_Inline):
    """How many."""

    type = int

    def __init__(self, *, every_record: bool) -> None:
        self.every_record = every_record

    def empty(self) -> int:
        return 0

    def add(self, slot: int, key: Any, value: Any) -> int:
        return slot + 1

    def remove(self, slot: int, key: Any, value: Any) -> int:
        if not slot:
            raise LookupError("there is nothing left to take away")
        return slot - 1

    def shown(self, slot: int) -> list[Any]:
        return [slot]


class Summed(_Inline):
    """The sum, without rounding."""

    type = ExactSum

    def empty(self) -> ExactSum:
        return ExactSum()

    def add(self, slot: ExactSum, key: Any, value: Any) -> ExactSum:
        slot.add(value)
        return slot

    def remove(self, slot: ExactSum, key: Any, value: Any) -> ExactSum:
        slot.remove(value)
        return slot

    def shown(self, slot: ExactSum) -> list[Any]:
        return [slot.value()]


class SummedType(_Inline):
    """The sum of values of a declared type, such as `Decimal`."""

    def __init__(self, type_: Any) -> None:
        self.type = type_

    def empty(self) -> Any:
        return self.type()

    def add(self, slot: Any, key: Any, value: Any) -> Any:
        return slot + value

    def remove(self, slot: Any, key: Any, value: Any) -> Any:
        return slot - value

    def shown(self, slot: Any) -> list[Any]:
        return [slot]


class Moments(msgspec.Struct, array_like=True):
    """Count, sum and sum of squares."""

    count: int = 0
    total: ExactSum = msgspec.field(default_factory=ExactSum)
    squares: ExactSum = msgspec.field(default_factory=ExactSum)


class MomentsKept(_Inline):
    """Count, mean and sum of squared deviations, without rounding until they are asked for."""

    type = Moments

    def empty(self) -> Moments:
        return Moments()

    def add(self, slot: Moments, key: Any, value: Any) -> Moments:
        slot.count += 1
        slot.total.add(value)
        slot.squares.add_square(value)
        return slot

    def remove(self, slot: Moments, key: Any, value: Any) -> Moments:
        slot.count -= 1
        slot.total.remove(value)
        slot.squares.add_square(value, -1)
        return slot

    def shown(self, slot: Moments) -> list[Any]:
        if not slot.count:
            return [0, 0.0, 0.0]
        total = slot.total.exactly()
        return [slot.count, float(total / slot.count), float(slot.squares.exactly() - total * total / slot.count)]


class CountsKept(_Inline):
    """How often each distinct value is there; None stands for NaN."""

    def __init__(self, type_: Any) -> None:
        self._typed = type_ is not None
        self.type = dict[Any, int] if type_ is None else dict[type_ | None, int]

    def empty(self) -> dict[Any, int]:
        return {}

    def add(self, slot: dict[Any, int], key: Any, value: Any) -> dict[Any, int]:
        if not (self._typed or slot):
            storable(value)
        count_value(slot, value)
        return slot

    def remove(self, slot: dict[Any, int], key: Any, value: Any) -> dict[Any, int]:
        counted = value if value == value else None  # noqa: PLR0124  # only NaN differs from itself
        left = slot.get(counted, 0) - 1
        if left > 0:
            slot[counted] = left
        elif left == 0:
            del slot[counted]
        else:
            raise LookupError(f"{value!r} was never counted")
        return slot

    def shown(self, slot: dict[Any, int]) -> list[Any]:
        return [slot]


class ListKept(_Inline):
    """All values in the order in which they came; of equal ones the first goes first."""

    def __init__(self, type_: Any, limit: int | None) -> None:
        self._typed = type_ is not None
        self._limit = limit
        self.type = list[Any] if type_ is None else list[type_]

    def empty(self) -> list[Any]:
        return []

    def add(self, slot: list[Any], key: Any, value: Any) -> list[Any]:
        if not (self._typed or slot):
            storable(value)
        slot.append(value)
        return slot

    def remove(self, slot: list[Any], key: Any, value: Any) -> list[Any]:
        for index, kept in enumerate(slot):
            if kept == value or (kept != kept and value != value):  # noqa: PLR0124  # only NaN differs from itself
                del slot[index]
                return slot
        raise LookupError(f"{value!r} was never taken in")

    def shown(self, slot: list[Any]) -> list[Any]:
        return [slot if self._limit is None else slot[: self._limit]]


class _RowsKept(Generic[R]):
    """Values that stand in tables; the slot is their head."""

    every_record = False

    def __init__(self, rows: R) -> None:
        self._rows: R = rows
        self.type = rows.head_type

    def states(self) -> Sequence[StateDescriptor[Any]]:
        return self._rows.states()

    def open(self, context: OperatorContext) -> None:
        self._rows = self._rows.opened(context)

    def empty(self) -> Any:
        return self._rows.empty()

    def add(self, slot: Any, key: Any, value: Any) -> Any:
        self._rows.add(slot, key, value)
        return slot

    def remove(self, slot: Any, key: Any, value: Any) -> Any:
        self._rows.remove(slot, key, value)
        return slot

    def clear(self, slot: Any, key: Any) -> None:
        self._rows.clear(slot, key)


class RankedKept(_RowsKept[RankedRows]):
    """The best of all values, the others in a table."""

    def __init__(self, rows: RankedRows, n: int, *, ascending: bool | None) -> None:
        super().__init__(rows)
        self._n = n
        self._ascending = ascending

    def shown(self, slot: Any) -> list[Any]:
        best = self._rows.best(slot, self._n)
        if self._ascending is None:
            return [best[0] if best else None]
        return [best[::-1] if self._ascending else best]


class ArrivalKept(_RowsKept[ArrivalRows]):
    """The first or last value of those that are still there, in the order in which they came."""

    def __init__(self, rows: ArrivalRows, *, newest: bool) -> None:
        super().__init__(rows)
        self._newest = newest

    def shown(self, slot: Any) -> list[Any]:
        return [None, slot.last if self._newest else slot.first]


def _inline(part: Part) -> Retraction | None:
    options = part.options
    if part.kind in ("records", "count"):
        return Counted(every_record=part.every_record)
    if part.kind == "sum":
        return Summed() if options[0] is None else SummedType(options[0])
    if part.kind == "moments":
        return MomentsKept()
    if part.kind in ("set", "counts"):
        return CountsKept(options[0])
    if part.kind == "list":
        return ListKept(*options)
    return None


def _tabled(part: Part, name: str) -> Retraction | None:
    options = part.options
    if part.kind in ("min", "max"):
        return RankedKept(RankedRows(name, 1, type=options[0], smallest=part.kind == "min"), 1, ascending=None)
    if part.kind == "top":
        return RankedKept(RankedRows(name, options[1], type=options[0]), options[1], ascending=True)
    if part.kind == "ranked":
        rank, n, type_, smallest = options
        return RankedKept(RankedRows(name, n, type=type_, rank=rank, smallest=smallest), n, ascending=False)
    if part.kind in ("first", "last"):
        return ArrivalKept(ArrivalRows(name, type=options[0]), newest=part.kind == "last")
    return None


def retractable(aggregates: Mapping[str, Aggregate[Any, Any]], record_type: Any) -> list[RetractableAggregate]:
    """The aggregates, each with its twins, typed as far as the records' type says.

    Raises:
        ValueError: one cannot take away what it was given.
    """
    return [
        RetractableAggregate(name, typed_by_record(aggregate, record_type)) for name, aggregate in aggregates.items()
    ]
