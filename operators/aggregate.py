"""What one aggregate is: the parts that it keeps of a group of records, and how its result is made of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Generic, TypeAlias, TypeVar

from .parts import Part

In = TypeVar("In")
Out = TypeVar("Out")

Slots: TypeAlias = list[list[Any]]


@dataclass(frozen=True, repr=False)
class Aggregate(Generic[In, Out]):
    """One aggregate of a group of records.

    `init`, `add`, `merge` and `result` say what it computes. The operators run generated code that does the
    same.

    Attributes:
        kind: its name: `mean`.
        field: what it aggregates.
        parts: what it keeps; two aggregates of an operator that need the same part share it.
        finish: the result from the slots of all parts.
        finish_code: the same as source; `$0`, `$1`… are the slots.
        type: the type of its result.
        functions: what `finish_code` calls, besides builtins.
        typed: makes the same aggregate for values of a known type; None where the type makes no difference or
            was declared.
        mergeable: whether parts of a group can be put together, which sliding and session windows need.
        condition: which records it takes in; None: all.
    """

    kind: str
    field: Any
    parts: tuple[Part, ...]
    finish: Callable[..., Out]
    finish_code: str
    type: Any
    functions: Mapping[str, Any] = field(default_factory=dict)
    typed: Callable[[Any], Aggregate[In, Out]] | None = None
    mergeable: bool = True
    condition: Callable[[In], object] | None = None

    def where(self, condition: Callable[[In], object]) -> Aggregate[In, Out]:
        """The same aggregate of the records for which a condition holds. Give the same function, not an equal one, to
        several aggregates, and it is asked once.

        >>> from tidegate.operators.agg import count
        >>> count().where(lambda price: price > 100)
        count().where(<lambda>)
        """
        asked = condition if self.condition is None else _both(self.condition, condition)
        typed = self.typed
        if typed is None:
            return replace(self, condition=asked)
        return replace(self, condition=asked, typed=lambda known: typed(known).where(asked))

    def __repr__(self) -> str:
        field_name = getattr(self.field, "__name__", repr(self.field)) if self.field is not None else ""
        asked = "" if self.condition is None else f".where({getattr(self.condition, '__name__', '…')})"
        return f"{self.kind}({field_name}){asked}"

    def init(self) -> Slots:
        """An accumulator that has taken in nothing: for each part its slots."""
        return [part.empty() for part in self.parts]

    def add(self, slots: Slots, value: Any, timestamp_ms: int = 0) -> None:
        """Take in what the field says of a record for which the condition holds."""
        for part, own in zip(self.parts, slots, strict=True):
            if value is not None or part.every_record:
                part.add(own, value, timestamp_ms)

    def merge(self, slots: Slots, other: Slots) -> None:
        """Take in what another accumulator has taken in; that one may not be used afterwards."""
        for part, own, others in zip(self.parts, slots, other, strict=True):
            part.merge(own, others)

    def result(self, slots: Slots) -> Out:
        """The aggregate of all that was taken in."""
        return self.finish(*[slot for own in slots for slot in own])


def _both(one: Callable[[Any], object], other: Callable[[Any], object]) -> Callable[[Any], object]:
    return lambda record: one(record) and other(record)


def retyped(declared: Any, make: Callable[[Any], Aggregate[In, Out]]) -> Callable[[Any], Aggregate[In, Out]] | None:
    """What the user declared goes before what is known otherwise."""
    return make if declared is None else None


def optional_type(type_: Any) -> Any:
    """The type of a result that is None of nothing."""
    return Any if type_ is None else type_ | None


def list_type(type_: Any) -> Any:
    """The type of a result that lists values."""
    return list[Any] if type_ is None else list[type_]
