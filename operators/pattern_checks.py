"""Patterns that cannot be carried out are refused when the topology is built."""

from __future__ import annotations

from typing import Any

from .pattern_step import Contiguity, Group, Step
from .patterns import AfterMatch, Pattern


def check_pattern(pattern: Pattern[Any], after_match: AfterMatch) -> None:
    """Refuse what cannot be carried out.

    Raises:
        ValueError: says which step, and why.
    """
    if not isinstance(pattern, Pattern):
        raise ValueError(f'match takes a pattern, patterns.begin("a").next("b")…, not {pattern!r}')
    for step in pattern.steps:
        _check_step(step, last=step is pattern.steps[-1])
    for group in pattern.groups:
        _check_inner(group, f"the group of {pattern.steps[group.first].name!r}")
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
    _check_inner(step, what)


def _check_inner(counted: Step | Group, what: str) -> None:
    if counted.inner is not Contiguity.RELAXED and not counted.loops:
        name = "consecutive" if counted.inner is Contiguity.STRICT else "allow_combinations"
        raise ValueError(f"{what}: {name} speaks of several records: use it with one_or_more, times_or_more or times")


def _check_end(pattern: Pattern[Any]) -> None:
    """At its end a pattern must come to know that nothing more will come."""
    if pattern.within_ms is not None:
        return
    ends = {group.last: group for group in pattern.groups}
    place = len(pattern.steps) - 1
    while place >= 0:
        step, group = pattern.steps[place], ends.get(place)
        if step.negative:
            if step.contiguity is Contiguity.RELAXED and pattern.steps[-1].within_ms is None:
                raise ValueError(
                    f"a pattern that ends with not_followed_by({step.name!r}) must know how long to wait: add within "
                    "or within_previous"
                )
            place -= 1
            continue
        _check_greedy(step, step)
        if group is not None:
            _check_greedy(pattern.steps[group.first], group)
        if group is not None and group.optional:
            place = group.first - 1
        elif step.optional:
            place -= 1
        else:
            return


def _check_greedy(step: Step, looping: Step | Group) -> None:
    """A greedy step, of a loop at the end, that may always take one more."""
    endless = step.greedy and looping.most is None and looping.inner is not Contiguity.STRICT
    if endless and (step.until is None or looping is not step) and step.within_ms is None:
        raise ValueError(
            f"a pattern that ends with the greedy step {step.name!r} never knows whether it has all: add within, "
            "within_previous, until, consecutive or a highest number"
        )
