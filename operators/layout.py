"""The accumulator of several aggregates: one object with the slots of all of them.

Parts that two aggregates have in common stand in it once, and a field that several aggregates use is read
once.
"""

from __future__ import annotations

import keyword
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import NoneType
from typing import Any, get_args, get_type_hints

import msgspec

from .aggregate import Aggregate
from .parts import Part

_PLAIN = frozenset({int, float, str, bool, bytes})


@dataclass(frozen=True)
class PlacedPart:
    """A part at its place.

    Attributes:
        part: the part.
        field: what it reads, as `Aggregate.field`.
        condition: which records it takes in, as `Aggregate.condition`.
        slots: the names of its slots in the accumulator.
        prefix: begins the names of its functions in generated source.
    """

    part: Part
    field: Any
    condition: Any
    slots: tuple[str, ...]
    prefix: str


@dataclass(frozen=True)
class PlacedAggregate:
    """An aggregate over its parts' places.

    Attributes:
        name: the name of its result.
        aggregate: the aggregate.
        slots: the names of the slots of all its parts, in order.
        prefix: begins the names of its functions in generated source.
    """

    name: str
    aggregate: Aggregate[Any, Any]
    slots: tuple[str, ...]
    prefix: str


class Layout:
    """Where named aggregates keep what they know, in one accumulator per key and window.

    Args:
        aggregates: name → aggregate; at least one.
        marks: slots of the operator itself, name → (type, source of the first value); they come first.
        bounds: fields that results have before the aggregates, name → type.
        record_type: the type of the records where it is known: field types then need no `type=`.

    Attributes:
        accumulator: the Struct type of an accumulator, stored as an array.
        result: the Struct type of a result.
        marks: as given.
        parts: the parts, each once.
        aggregates: the aggregates.

    Raises:
        ValueError: there is no aggregate, or a name cannot be one.
    """

    def __init__(
        self,
        aggregates: Mapping[str, Aggregate[Any, Any]],
        *,
        marks: Mapping[str, tuple[Any, str]] | None = None,
        bounds: Mapping[str, Any] | None = None,
        record_type: Any = None,
    ) -> None:
        bounds = bounds or {"key": Any}
        if not aggregates:
            raise ValueError("aggregate needs at least one aggregate: aggregate(n=agg.count())")
        for name in aggregates:
            _check_name(name, bounds)
        self.marks = dict(marks or {})
        hints = self._hints = _hints(record_type)
        placed: list[PlacedAggregate] = []
        shared: dict[Any, PlacedPart] = {}
        taken: set[str] = set(self.marks)
        for number, (name, given) in enumerate(aggregates.items()):
            aggregate = _typed(given, record_type, hints)
            slots: list[str] = []
            for part in aggregate.parts:
                identity = (part.kind, part.options, aggregate.field, aggregate.condition)
                if identity not in shared:
                    names = _slot_names(name, aggregate, part, taken)
                    shared[identity] = PlacedPart(part, aggregate.field, aggregate.condition, names, f"p{len(shared)}")
                slots += shared[identity].slots
            placed.append(PlacedAggregate(name, aggregate, tuple(slots), f"r{number}"))
        self.parts = tuple(shared.values())
        self.aggregates = tuple(placed)
        self.accumulator: Any = msgspec.defstruct(
            "Accumulator",
            [
                *[(name, type_) for name, (type_, _) in self.marks.items()],
                *[
                    (name, slot.type)
                    for bound in self.parts
                    for name, slot in zip(bound.slots, bound.part.slots, strict=True)
                ],
            ],
            array_like=True,
            # A slot never refers back to its accumulator, and millions of tracked objects slow the collector down.
            gc=False,
        )
        self.result: Any = msgspec.defstruct(
            "Result", [*bounds.items(), *[(p.name, p.aggregate.type) for p in placed]], frozen=True, gc=False
        )

    @property
    def mergeable(self) -> bool:
        """Whether accumulators of this layout can be put together."""
        return all(placed.aggregate.mergeable for placed in self.aggregates)

    @property
    def count_slot(self) -> str | None:
        """The slot that says how many records an accumulator has taken in; None where none does."""
        counts = (part for part in self.parts if part.part.kind == "records" and part.condition is None)
        return next((part.slots[0] for part in counts), None)

    @property
    def subtractable(self) -> bool:
        """Whether an accumulator that was merged into another can be taken out of it again, and the last one be known."""
        return self.count_slot is not None and all(
            placed.part.subtract is not None and (self._integers(placed.field) or not placed.part.subtracts_integers)
            for placed in self.parts
        )

    def _integers(self, field: Any) -> bool:
        """Whether the records' type says that a field has integers only, or none."""
        kind = self._hints.get(field) if isinstance(field, str) else None
        return kind is int or set(get_args(kind)) == {int, NoneType}

    def fields(self) -> dict[Any, dict[Any, list[PlacedPart]]]:
        """Condition → field → the parts that read it of the records for which the condition holds, in order; parts that
        need no value stand under `...`."""
        groups: dict[Any, dict[Any, list[PlacedPart]]] = {}
        for placed in self.parts:
            field = ... if placed.part.every_record else placed.field
            groups.setdefault(placed.condition, {}).setdefault(field, []).append(placed)
        return groups

    def never_none(self, field: Any) -> bool:
        """Whether the records' type says that a field always has a value."""
        return isinstance(field, str) and self._hints.get(field) in _PLAIN


def _check_name(name: str, bounds: Iterable[str]) -> None:
    if not name.isidentifier() or keyword.iskeyword(name) or name.startswith("_"):
        raise ValueError(f"{name!r} cannot be the name of an aggregate: use a plain Python name such as 'total'")
    if name in bounds:
        raise ValueError(f"an aggregate cannot be named {name!r}: each result has a field of that name already")


def _slot_names(name: str, aggregate: Aggregate[Any, Any], part: Part, taken: set[str]) -> tuple[str, ...]:
    names = []
    for slot in part.slots:
        single = len(aggregate.parts) == 1 and len(part.slots) == 1
        chosen = name if single else f"{name}_{slot.name}"
        while chosen in taken:
            chosen += "_"
        taken.add(chosen)
        names.append(chosen)
    return tuple(names)


def _hints(record_type: Any) -> dict[str, Any]:
    if not isinstance(record_type, type):
        return {}
    try:
        return get_type_hints(record_type)
    except (NameError, TypeError):
        return {}


def typed_by_record(aggregate: Aggregate[Any, Any], record_type: Any) -> Aggregate[Any, Any]:
    """The aggregate with the type of its values, as far as the type of the records says it."""
    return _typed(aggregate, record_type, _hints(record_type))


def value_type(aggregate: Aggregate[Any, Any], record_type: Any) -> Any:
    """The type of what an aggregate takes in, as far as the type of the records says it; None where it does not."""
    if aggregate.field is None:
        return record_type
    return _hints(record_type).get(aggregate.field) if isinstance(aggregate.field, str) else None


def _typed(aggregate: Aggregate[Any, Any], record_type: Any, hints: Mapping[str, Any]) -> Aggregate[Any, Any]:
    """The aggregate with the type of its values, where the records' type says it and the user did not."""
    if aggregate.typed is None:
        return aggregate
    known = record_type if aggregate.field is None else hints.get(aggregate.field)
    return aggregate if known in (None, Any) else aggregate.typed(known)
