"""A step of a pattern, and the conditions that records meet."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Protocol, TypeVar

from .time import format_ms

T_co = TypeVar("T_co", covariant=True)


class MatchSoFar(Protocol[T_co]):
    """What a condition with two arguments sees of the match that its record would go on with."""

    def __getitem__(self, step: str) -> Sequence[T_co]:
        """The records that a step has taken so far. Read only when asked for."""
        ...


@dataclass(frozen=True, eq=False)
class Condition:
    """A user's condition.

    Attributes:
        function: it; called with the record, or with the record and the match so far.
        contextual: whether it takes the match so far.
    """

    function: Callable[..., object]
    contextual: bool

    def __call__(self, value: Any, so_far: Any) -> object:
        return self.function(value, so_far) if self.contextual else self.function(value)

    def both(self, other: Condition) -> Condition:
        """True where both are."""
        if self.contextual or other.contextual:
            return Condition(lambda value, so_far: self(value, so_far) and other(value, so_far), contextual=True)
        one, two = self.function, other.function
        return Condition(lambda value: one(value) and two(value), contextual=False)

    def either(self, other: Condition) -> Condition:
        """True where one is."""
        if self.contextual or other.contextual:
            return Condition(lambda value, so_far: self(value, so_far) or other(value, so_far), contextual=True)
        one, two = self.function, other.function
        return Condition(lambda value: one(value) or two(value), contextual=False)


ALWAYS = Condition(lambda value: True, contextual=False)
"""The condition of a step without `where`."""


class Contiguity(Enum):
    """What may lie between a record of a match and the one before it."""

    STRICT = "next"
    """Nothing."""
    RELAXED = "followed_by"
    """Records that do not fit the step."""
    ANY = "followed_by_any"
    """Any records: each one that fits goes on with a match of its own."""


@dataclass(frozen=True)
class Step:
    """One step of a pattern.

    Attributes:
        name: its name in matches.
        contiguity: what may lie between the step before and its first record.
        negative: it must not come: a match goes on, or ends, without such a record.
        condition: what fits.
        least: how many records it takes at least, if it takes any.
        most: how many at most; None: without end.
        optional: whether it may take none.
        inner: what may lie between its own records.
        greedy: whether it takes as many as it can.
        until: the record that ends its loop.
        within_ms: how much less than this each of its records comes after the one before it in the match; of a
            `not_followed_by` at the end: how long it must not come.
    """

    name: str
    contiguity: Contiguity
    negative: bool = False
    condition: Condition = ALWAYS
    least: int = 1
    most: int | None = 1
    optional: bool = False
    inner: Contiguity = Contiguity.RELAXED
    greedy: bool = False
    until: Condition | None = None
    within_ms: int | None = None

    @property
    def loops(self) -> bool:
        """Whether it can take more than one record."""
        return self.most != 1

    def __str__(self) -> str:
        words = [f"{'not_' if self.negative else ''}{self.contiguity.value}({self.name!r})"]
        words += _how_often(self)
        words += [name for name in ("greedy", "until") if getattr(self, name)]
        if self.within_ms is not None:
            words.append(f"within_previous {format_ms(self.within_ms)}")
        return " ".join(words)


@dataclass(frozen=True)
class Group:
    """Steps that come together, any number of times.

    Attributes:
        first: index of the first of them among the steps of the pattern.
        last: index of the last.
        least: how many rounds there are at least, if there are any.
        most: how many at most; None: without end.
        optional: whether there may be none.
        inner: what may lie between two rounds.
    """

    first: int
    last: int
    least: int = 1
    most: int | None = 1
    optional: bool = False
    inner: Contiguity = Contiguity.RELAXED

    @property
    def loops(self) -> bool:
        """Whether there can be more than one round."""
        return self.most != 1

    def __str__(self) -> str:
        return " ".join(["group", *_how_often(self)])


def _how_often(what: Step | Group) -> list[str]:
    words = []
    if (what.least, what.most) != (1, 1):
        most = "or more" if what.most is None else f"to {what.most}"
        words.append(f"{what.least} {most}")
    if what.loops and what.inner is not Contiguity.RELAXED:
        words.append("consecutive" if what.inner is Contiguity.STRICT else "combinations")
    return [*words, "optional"] if what.optional else words


def condition_of(test: Callable[..., object], called: str) -> Condition:
    """A user's function as a condition.

    Raises:
        ValueError: it takes neither one argument nor two; `called` names the method.
    """
    if not callable(test):
        raise ValueError(
            f"{called} takes a function of the record, or of the record and the match so far, not {test!r}"
        )
    try:
        parameters = inspect.signature(test).parameters.values()
    except (TypeError, ValueError):  # builtins without a signature
        return Condition(test, contextual=False)
    needed = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) and p.default is p.empty]
    if len(needed) > 2 or (not needed and not any(p.kind is not p.KEYWORD_ONLY for p in parameters)):
        raise ValueError(
            f"{called} takes a function of the record, or of the record and the match so far, not {test!r}"
        )
    return Condition(test, contextual=len(needed) == 2)
