"""Attempts at a pattern: what is kept of them, and how one goes on."""

from __future__ import annotations

from typing import Any

import msgspec

from .pattern_buffer import SoFar
from .pattern_plan import PatternPlan, Target
from .pattern_step import Condition


class Attempt(msgspec.Struct, array_like=True, gc=False):
    """A match that has begun, or is complete and waits for its turn.

    Attributes:
        step: the step that took the newest record.
        count: how many records that step has.
        open: what may still become of it; see `PatternPlan`.
        record: id of the newest record.
        link: which of that record's links.
        start: id of the first record.
        start_ms: its timestamp.
        last_ms: timestamp of the newest record.
        length: how many records it has.
        rounds: which round of its step's group it is in; 0 where the step is in none.
    """

    step: int
    count: int
    open: int
    record: int
    link: int
    start: int
    start_ms: int
    last_ms: int
    length: int
    rounds: int


class Attempts(msgspec.Struct, array_like=True):
    """What is kept of a key besides its records.

    Attributes:
        next_record: the id of the next record.
        going_on: the attempts that are not over, in the order in which they began.
        complete: the matches that wait for an earlier attempt, in their order.
        timer_ms: when the key is looked at next; None: when its next record comes.
    """

    next_record: int = 0
    going_on: list[Attempt] = []
    complete: list[Attempt] = []
    timer_ms: int | None = None


def extended(
    plan: PatternPlan, attempt: Attempt | None, target: Target, at: tuple[int, int], timestamp_ms: int
) -> Attempt:
    """The attempt with one record more, or a new one.

    Args:
        plan: the pattern.
        attempt: what goes on; None begins.
        target: the step that takes the record.
        at: the record's id, and the link that leads from it.
        timestamp_ms: its timestamp.
    """
    record, link = at
    count = attempt.count + 1 if attempt is not None and target.loop else 1
    step = -1 if attempt is None else attempt.step
    rounds = plan.rounds(step, 0 if attempt is None else attempt.rounds, target)
    bits = plan.opened(target.step, count, rounds)
    if attempt is None:
        return Attempt(target.step, count, bits, record, link, record, timestamp_ms, timestamp_ms, 1, rounds)
    start, length = attempt.start, attempt.length + 1
    return Attempt(target.step, count, bits, record, link, start, attempt.start_ms, timestamp_ms, length, rounds)


class Tests:
    """Whether a record fits a condition; asked once where the record alone decides."""

    __slots__ = ("_known", "_record", "so_far")

    def __init__(self, record: Any) -> None:
        self._record = record
        self._known: dict[Condition, object] = {}
        self.so_far: SoFar[Any] | None = None

    def __call__(self, condition: Condition) -> object:
        if condition.contextual:
            return condition.function(self._record, self.so_far)
        known = self._known
        if condition not in known:
            known[condition] = condition.function(self._record)
        return known[condition]
