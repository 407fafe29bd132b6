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

from .pattern_step import ALWAYS, Contiguity, MatchSoFar, Step, condition_of
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

    Attributes:
        steps: the steps, in order.
        within_ms: a match spans less than this from its first record to its last; None: any time.
        type: the type of the records, where it was given.
    """

    steps: tuple[Step, ...]
    within_ms: int | None = None
    type: Any = None

    # --------------------------------------------------------------------- steps

    def next(self, name: str) -> Pattern[T]:
        """A step whose record comes right after the one before: any other record of the key ends the attempt."""
        return self._and(Step(name, Contiguity.STRICT))

    def followed_by(self, name: str) -> Pattern[T]:
        """A step that takes the next record that fits; those that do not are passed over."""
        return self._and(Step(name, Contiguity.RELAXED))

    def followed_by_any(self, name: str) -> Pattern[T]:
        """A step that takes any later record that fits: one match for each."""
        return self._and(Step(name, Contiguity.ANY))

    def not_next(self, name: str) -> Pattern[T]:
        """The record right after the one before must not fit. At the end of a pattern it is sure with the next record of
        the key, when `within` is over, or at the end of the stream."""
        return self._and(Step(name, Contiguity.STRICT, negative=True))

    def not_followed_by(self, name: str) -> Pattern[T]:
        """No record that fits may come before the step after it has its record; at the end of a pattern: before
        `within`, or its own `within_previous`, is over."""
        return self._and(Step(name, Contiguity.RELAXED, negative=True))

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
            raise ValueError(f"step {self._newest.name!r}: {asked} needs 1 <= least <= most; none at all is optional()")
        return self._with(least=least, most=least if most is None else most)

    def times_or_more(self, least: int) -> Pattern[T]:
        """The step takes `least` records or more.

        Raises:
            ValueError: `least` is less than 1.
        """
        return replace(self.times(least)._with(most=None))

    def one_or_more(self) -> Pattern[T]:
        """The step takes one record or more; a match for each number of them, unless it is `greedy`."""
        return self.times_or_more(1)

    def optional(self) -> Pattern[T]:
        """The step may take no record at all."""
        return self._with(optional=True)

    def greedy(self) -> Pattern[T]:
        """The step takes as many records as it can: a match goes on to the next step, or ends, only with a record that the
        step cannot take, or when it can take no more."""
        return self._with(greedy=True)

    def consecutive(self) -> Pattern[T]:
        """The records of the step come right after each other, as with `next`."""
        return self._with(inner=Contiguity.STRICT)

    def allow_combinations(self) -> Pattern[T]:
        """The step may leave out records that fit, as with `followed_by_any`. Matches may be as many as there are subsets
        of them."""
        return self._with(inner=Contiguity.ANY)

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
        first, *others = map(str, self.steps)
        steps = ", ".join([first.replace(Contiguity.ANY.value, "begin", 1), *others])
        return steps if self.within_ms is None else f"{steps} within {format_ms(self.within_ms)}"

    # ----------------------------------------------------------------- internals

    @property
    def _newest(self) -> Step:
        return self.steps[-1]

    def _and(self, step: Step) -> Pattern[T]:
        _check_name(step.name)
        if any(step.name == other.name for other in self.steps):
            raise ValueError(f"a pattern has two steps {step.name!r}: give each a name of its own")
        return replace(self, steps=(*self.steps, step))

    def _with(self, **settings: Any) -> Pattern[T]:
        return replace(self, steps=(*self.steps[:-1], replace(self._newest, **settings)))


@overload
def begin(name: str) -> Pattern[Any]: ...
@overload
def begin(name: str, type: type[T]) -> Pattern[T]: ...
def begin(name: str, type: Any = None) -> Pattern[Any]:
    """The first step of a pattern. Every record that fits it begins an attempt.

    Args:
        name: the step's name.
        type: the type of the records, for checkers, and for storing them where the stream does not know it.

    Raises:
        ValueError: the name is empty.
    """
    _check_name(name)
    # Nothing stands before it, so nothing can lie between.
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


def check_pattern(pattern: Pattern[Any], after_match: AfterMatch) -> None:
    """Refuse what cannot be carried out.

    Raises:
        ValueError: says which step, and why.
    """
    if not isinstance(pattern, Pattern):
        raise ValueError(f'match takes a pattern, patterns.begin("a").next("b")…, not {pattern!r}')
    for step in pattern.steps:
        _check_step(step, last=step is pattern.steps[-1])
    _check_end(pattern)
    named = {step.name for step in pattern.steps if not step.negative}
    if after_match.step is not None and after_match.step not in named:
        raise ValueError(
            f"{after_match.to.value}({after_match.step!r}): the pattern has no such step that takes records"
        )


def _check_step(step: Step, *, last: bool) -> None:
    what = f"step {step.name!r}"
    if step.negative:
        if step.loops or step.least > 1 or step.optional or step.greedy or step.until is not None:
            raise ValueError(f"{what} must not come: it cannot have a number, optional, greedy or until")
        if step.within_ms is not None and not (last and step.contiguity is Contiguity.RELAXED):
            raise ValueError(
                f"{what}: within_previous is for steps that take records, and for not_followed_by at the end"
            )
        return
    if step.greedy and step.least == step.most and not step.optional:
        raise ValueError(f"{what} takes {step.least} and never more: greedy means nothing for it")
    if step.until is not None and not step.loops:
        raise ValueError(f"{what}: until ends a loop: use it with one_or_more, times_or_more or times")
    if step.inner is not Contiguity.RELAXED and not step.loops:
        name = "consecutive" if step.inner is Contiguity.STRICT else "allow_combinations"
        raise ValueError(f"{what}: {name} speaks of several records: use it with one_or_more, times_or_more or times")


def _check_end(pattern: Pattern[Any]) -> None:
    """At its end a pattern must come to know that nothing more will come."""
    if pattern.within_ms is not None:
        return
    for step in reversed(pattern.steps):
        if step.negative:
            if step.contiguity is Contiguity.RELAXED and pattern.steps[-1].within_ms is None:
                raise ValueError(
                    f"a pattern that ends with not_followed_by({step.name!r}) must know how long to wait: add within "
                    "or within_previous"
                )
            continue
        endless = step.greedy and step.most is None and step.inner is not Contiguity.STRICT
        if endless and step.until is None and step.within_ms is None:
            raise ValueError(
                f"a pattern that ends with the greedy step {step.name!r} never knows whether it has all: add within, "
                "within_previous, until, consecutive or a highest number"
            )
        if not step.optional:
            return


def _check_name(name: str) -> None:
    if not name or not isinstance(name, str):
        raise ValueError(f"a step's name is a string that is not empty, not {name!r}")


def _positive_ms(duration: Duration, called: str) -> int:
    milliseconds = duration_ms(duration)
    if milliseconds == 0:
        raise ValueError(f"{called} must be longer than 0ms")
    return milliseconds
