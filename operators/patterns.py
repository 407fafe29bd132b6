"""What to look for in the records of a key: steps, what may lie between them, and what a match leaves behind.

    patterns.begin("small", Payment).where(lambda p: p.amount < 1).next("large").where(lambda p: p.amount > 500).within("1m")

A pattern is a description: every method gives a new one, and `KeyedStream.match` carries it out. The words, and what
they mean, are those of Flink's CEP.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any, Generic, TypeVar, overload

import msgspec

from .pattern_step import ALWAYS, Contiguity, Group, MatchSoFar, Step, condition_of
from .time import Duration, duration_ms, format_ms

K = TypeVar("K")
T = TypeVar("T")


class Match(msgspec.Struct, Generic[K, T], frozen=True):
    """Records of a key that fit a pattern; in the side output `timed_out`, records that began to.

    Attributes:
        key: the key.
        start_ms: timestamp of the first record.
        end_ms: timestamp of the last record.
        events: the records by step, in order; a step that took none has an empty list.
    """

    key: K
    start_ms: int
    end_ms: int
    events: dict[str, list[T]]

    def __getitem__(self, step: str) -> list[T]:
        """The records that a step took.

        Raises:
            KeyError: the pattern has no such step.
        """
        return self.events[step]

    def first(self, step: str) -> T:
        """The first record that a step took.

        Raises:
            LookupError: the pattern has no such step, or it took none.
        """
        return self.events[step][0]

    def last(self, step: str) -> T:
        """The last record that a step took.

        Raises:
            LookupError: the pattern has no such step, or it took none.
        """
        return self.events[step][-1]


@dataclass(frozen=True)
class Pattern(Generic[T]):
    """A sequence of steps. Made by `begin`; methods that say how many, or what fits, speak of the newest step.

    In place of a step may stand a pattern: its steps are then a group, and methods that say how many speak of all of them
    together.

    Attributes:
        steps: the steps, in order, those of groups among them.
        within_ms: a match spans less than this from its first record to its last; None: any time.
        type: the type of the records, where it was given.
        groups: the groups, in order.
    """

    steps: tuple[Step, ...]
    within_ms: int | None = None
    type: Any = None
    groups: tuple[Group, ...] = ()

    # --------------------------------------------------------------------- steps

    def next(self, name: str | Pattern[T]) -> Pattern[T]:
        """A step whose record comes right after the one before: any other record of the key ends the attempt."""
        return self._and(name, Contiguity.STRICT)

    def followed_by(self, name: str | Pattern[T]) -> Pattern[T]:
        """A step that takes the next record that fits; those that do not are passed over."""
        return self._and(name, Contiguity.RELAXED)

    def followed_by_any(self, name: str | Pattern[T]) -> Pattern[T]:
        """A step that takes any later record that fits: one match for each."""
        return self._and(name, Contiguity.ANY)

    def not_next(self, name: str) -> Pattern[T]:
        """The record right after the one before must not fit. At the end of a pattern it is sure with the next record of
        the key, when `within` is over, or at the end of the stream."""
        return self._and(name, Contiguity.STRICT, negative=True)

    def not_followed_by(self, name: str) -> Pattern[T]:
        """No record that fits may come before the step after it has its record; at the end of a pattern: before
        `within`, or its own `within_previous`, is over."""
        return self._and(name, Contiguity.RELAXED, negative=True)

    # ---------------------------------------------------------------- what fits

    @overload
    def where(self, test: Callable[[T], object]) -> Pattern[T]: ...
    @overload
    def where(self, test: Callable[[T, MatchSoFar[T]], object]) -> Pattern[T]: ...
    def where(self, test: Callable[..., object]) -> Pattern[T]:
        """What fits the step: `lambda record: …`, or `lambda record, match: …`, where `match["a"]` are the records that
        step `a` has taken. Called again, both must hold."""
        condition = condition_of(test, "where")
        newest = self._newest
        return self._with(condition=condition if newest.condition is ALWAYS else newest.condition.both(condition))

    @overload
    def or_where(self, test: Callable[[T], object]) -> Pattern[T]: ...
    @overload
    def or_where(self, test: Callable[[T, MatchSoFar[T]], object]) -> Pattern[T]: ...
    def or_where(self, test: Callable[..., object]) -> Pattern[T]:
        """What fits as well.

        Raises:
            ValueError: the step has no `where` before.
        """
        newest = self._newest
        if newest.condition is ALWAYS:
            raise ValueError(f"step {newest.name!r}: or_where comes after a where, or everything fits")
        return self._with(condition=newest.condition.either(condition_of(test, "or_where")))

    @overload
    def until(self, test: Callable[[T], object]) -> Pattern[T]: ...
    @overload
    def until(self, test: Callable[[T, MatchSoFar[T]], object]) -> Pattern[T]: ...
    def until(self, test: Callable[..., object]) -> Pattern[T]:
        """The step takes no more records once one fits this; that one is not taken either."""
        return self._with(until=condition_of(test, "until"))

    # ----------------------------------------------------------------- how many

    def times(self, least: int, most: int | None = None) -> Pattern[T]:
        """The step takes exactly `least` records, or from `least` to `most`.

        Raises:
            ValueError: a number is less than 1, or `most` less than `least`.
        """
        if least < 1 or (most is not None and most < least):
            asked = f"times({least})" if most is None else f"times({least}, {most})"
            raise ValueError(
                f"step {self.steps[-1].name!r}: {asked} needs 1 <= least <= most; none at all is optional()"
            )
        return self._with_number(least=least, most=least if most is None else most)

    def times_or_more(self, least: int) -> Pattern[T]:
        """The step takes `least` records or more.

        Raises:
            ValueError: `least` is less than 1.
        """
        return self.times(least)._with_number(most=None)

    def one_or_more(self) -> Pattern[T]:
        """The step takes one record or more; a match for each number of them, unless it is `greedy`."""
        return self.times_or_more(1)

    def optional(self) -> Pattern[T]:
        """The step may take no record at all."""
        return self._with_number(optional=True)

    def greedy(self) -> Pattern[T]:
        """The step takes as many records as it can: a match goes on to the next step, or ends, only with a record that the
        step cannot take, or when it can take no more."""
        return self._with(greedy=True)

    def consecutive(self) -> Pattern[T]:
        """The records of the step come right after each other, as with `next`."""
        return self._with_number(inner=Contiguity.STRICT)

    def allow_combinations(self) -> Pattern[T]:
        """The step may leave out records that fit, as with `followed_by_any`. Matches may be as many as there are subsets
        of them."""
        return self._with_number(inner=Contiguity.ANY)

    # --------------------------------------------------------------------- time

    def within(self, duration: Duration) -> Pattern[T]:
        """A match spans less than `duration`, from its first record to its last. Speaks of the whole pattern, wherever it
        stands; of several the shortest counts.

        Raises:
            ValueError: it is not a duration, or 0.
        """
        milliseconds = _positive_ms(duration, "within")
        return replace(self, within_ms=milliseconds if self.within_ms is None else min(milliseconds, self.within_ms))

    def within_previous(self, duration: Duration) -> Pattern[T]:
        """Each record of the step comes less than `duration` after the record before it in the match. Of a
        `not_followed_by` at the end: none that fits comes so soon.

        Raises:
            ValueError: it is not a duration, or 0.
        """
        return self._with(within_ms=_positive_ms(duration, "within_previous"))

    def __str__(self) -> str:
        steps = [str(step) for step in self.steps]
        steps[0] = steps[0].replace(Contiguity.ANY.value, "begin", 1)
        for group in self.groups:
            steps[group.first] = f"{group} ({steps[group.first]}"
            steps[group.last] = f"{steps[group.last]})"
        told = ", ".join(steps)
        return told if self.within_ms is None else f"{told} within {format_ms(self.within_ms)}"

    # ----------------------------------------------------------------- internals

    @property
    def _newest(self) -> Step:
        """The newest step.

        Raises:
            ValueError: it is the last of a group, which is closed.
        """
        if self._newest_group is not None:
            raise ValueError(
                "the newest step is a group, which has a number, optional, consecutive and allow_combinations: say the rest "
                "of its steps, where they are made"
            )
        return self.steps[-1]

    @property
    def _newest_group(self) -> Group | None:
        group = self.groups[-1] if self.groups else None
        return group if group is not None and group.last == len(self.steps) - 1 else None

    def _and(self, added: str | Pattern[T], contiguity: Contiguity, *, negative: bool = False) -> Pattern[T]:
        if isinstance(added, Pattern):
            if negative:
                raise ValueError("what must not come is a step, not a group")
            return self._and_group(added, contiguity)
        _check_name(added)
        self._check_new(added)
        return replace(self, steps=(*self.steps, Step(added, contiguity, negative=negative)))

    def _and_group(self, group: Pattern[T], contiguity: Contiguity) -> Pattern[T]:
        _check_group(group)
        for step in group.steps:
            self._check_new(step.name)
        first, *others = group.steps
        steps = (*self.steps, replace(first, contiguity=contiguity), *others)
        return replace(self, steps=steps, groups=(*self.groups, Group(len(self.steps), len(steps) - 1)))

    def _check_new(self, name: str) -> None:
        if any(name == step.name for step in self.steps):
            raise ValueError(f"a pattern has two steps {name!r}: give each a name of its own")

    def _with(self, **settings: Any) -> Pattern[T]:
        return replace(self, steps=(*self.steps[:-1], replace(self._newest, **settings)))

    def _with_number(self, **settings: Any) -> Pattern[T]:
        group = self._newest_group
        if group is None:
            return self._with(**settings)
        return replace(self, groups=(*self.groups[:-1], replace(group, **settings)))


@overload
def begin(name: str) -> Pattern[Any]: ...
@overload
def begin(name: Pattern[T]) -> Pattern[T]: ...
@overload
def begin(name: str, type: type[T]) -> Pattern[T]: ...
def begin(name: str | Pattern[Any], type: Any = None) -> Pattern[Any]:
    """The first step of a pattern. Every record that fits it begins an attempt.

    Args:
        name: the step's name; or a pattern, whose steps are a group.
        type: the type of the records, for checkers, and for storing them where the stream does not know it.

    Raises:
        ValueError: the name is empty, or the pattern cannot be a group.
    """
    # Nothing stands before it, so nothing can lie between.
    if isinstance(name, Pattern):
        return Pattern((), type=type or name.type)._and_group(name, Contiguity.ANY)
    _check_name(name)
    return Pattern((Step(name, Contiguity.ANY),), type=type)


class SkipTo(Enum):
    """Which attempts of a key a match does away with."""

    NONE = "no_skip"
    """None."""
    NEXT = "skip_to_next"
    """Those that began with its first record."""
    PAST_LAST = "skip_past_last"
    """Those that began with one of its records, or between them."""
    FIRST = "skip_to_first"
    """Those that began before the first record of a step."""
    LAST = "skip_to_last"
    """Those that began before the last record of a step."""


@dataclass(frozen=True)
class AfterMatch:
    """What a match leaves of the other attempts of its key. Made by `no_skip`, `skip_to_next` and so on.

    Attributes:
        to: where matching goes on.
        step: the step that `to` speaks of.
    """

    to: SkipTo
    step: str | None = None


def no_skip() -> AfterMatch:
    """Every match is given out."""
    return AfterMatch(SkipTo.NONE)


def skip_to_next() -> AfterMatch:
    """A match ends all other attempts that began with the same record."""
    return AfterMatch(SkipTo.NEXT)


def skip_past_last() -> AfterMatch:
    """A match ends all attempts that began before it was over: matches do not overlap."""
    return AfterMatch(SkipTo.PAST_LAST)


def skip_to_first(step: str) -> AfterMatch:
    """A match ends all attempts that began before the first record that `step` took; none, when it took none."""
    return AfterMatch(SkipTo.FIRST, step)


def skip_to_last(step: str) -> AfterMatch:
    """A match ends all attempts that began before the last record that `step` took; none, when it took none."""
    return AfterMatch(SkipTo.LAST, step)


def _check_group(pattern: Pattern[Any]) -> None:
    """Refuse what cannot be a group of steps.

    Raises:
        ValueError: says why.
    """
    if pattern.groups:
        raise ValueError("a group cannot have groups in it: name its steps one by one")
    if pattern.within_ms is not None:
        raise ValueError("a group has no within: it speaks of a whole match, so say it of that")
    if len([step for step in pattern.steps if not step.negative]) < 2:
        raise ValueError(f"a group has two steps or more: give step {pattern.steps[0].name!r} its number itself")
    for step in (pattern.steps[0], pattern.steps[-1]):
        if step.negative or step.optional:
            raise ValueError(f"step {step.name!r}: a group begins and ends with a step that takes a record")


def _check_name(name: str) -> None:
    if not name or not isinstance(name, str):
        raise ValueError(f"a step's name is a string that is not empty, not {name!r}")


def _positive_ms(duration: Duration, called: str) -> int:
    milliseconds = duration_ms(duration)
    if milliseconds == 0:
        raise ValueError(f"{called} must be longer than 0ms")
    return milliseconds
