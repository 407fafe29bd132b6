"""A pattern made ready: for each step that an attempt may stand at, what the next record can do.

An attempt that has taken a record is described by the step, how many records the step has, and a set of bits that
says what is still open to it: which steps may take the next record that fits, whether it may end as it is. Every
record of the key either is taken (a new attempt goes on from it) or passes by, and closes some of the bits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from .pattern_step import Condition, Contiguity, Group, Step
from .patterns import Pattern


@dataclass(frozen=True, eq=False)
class Target:
    """A step that may take the next record.

    Attributes:
        bit: its bit in `open`.
        step: its index among the steps that take records.
        loop: whether the attempt stands at this step already.
        again: whether it begins another round of the group at whose end the attempt stands.
        condition: what it takes.
        until: what ends its loop.
        strict: only the very next record.
        relaxed: only the next one that fits.
        beyond: what is closed by a record that it could take, because it is greedy.
    """

    bit: int
    step: int
    loop: bool
    again: bool
    condition: Condition
    until: Condition | None
    strict: bool
    relaxed: bool
    beyond: int


@dataclass(frozen=True, eq=False)
class Forbidden:
    """A record that must not come.

    Attributes:
        condition: what it looks like.
        strict: only the very next record counts.
        closes: what is closed when it comes.
    """

    condition: Condition
    strict: bool
    closes: int


@dataclass(frozen=True, eq=False)
class Place:
    """Where an attempt stands: at a step, or before the first.

    Attributes:
        least: how many records the step takes at least.
        most: how many at most; None: without end.
        loop_bit: the bit of the step's own loop; 0 before the first step.
        rounds: the group that ends with this step: how many rounds it has at least and at most; None where none ends.
        again_bit: the bit of the group's first step, if there may be another round; else 0.
        onward: what is open once the step has enough records, and the group enough rounds.
        targets: the steps that may take the next record: the loop, the next round, then the others in order.
        forbidden: the records that must not come.
        greedy: the bits of targets that must be closed before the attempt may end.
        timed: (bit, milliseconds): closed so long after the attempt's last record.
        waits_for_record: whether what is forbidden at the end is settled by the very next record.
    """

    least: int
    most: int | None
    loop_bit: int
    rounds: tuple[int, int | None] | None
    again_bit: int
    onward: int
    targets: tuple[Target, ...]
    forbidden: tuple[Forbidden, ...]
    greedy: int
    timed: tuple[tuple[int, int], ...]
    waits_for_record: bool


class PatternPlan:
    """A pattern, made ready.

    Attributes:
        names: the names of the steps that take records.
        within_ms: as in the pattern.
        start: the place before the first step.
        places: the place after each step.
        end: the bit that says that the attempt may end as it is.
        fresh: the bit of an attempt that has seen no record since its last one.
        waiting: the bit of an attempt that may end only when something has not come for long enough.
        done: the bit of an attempt that has been given out as a match.
        steps_mask: the bits of all steps.
        contextual: whether a condition looks at the match so far.
        timed: whether anything but the whole pattern has a time.
    """

    def __init__(self, pattern: Pattern[Any]) -> None:
        takers: list[Step] = []
        negatives: list[list[Step]] = []
        indices: list[int] = []
        for step in pattern.steps:
            if not step.negative:
                takers.append(step)
                negatives.append([])
            else:
                negatives[-1].append(step)
            indices.append(len(takers) - 1)
        self._takers, self._negatives = takers, negatives
        groups = [replace(g, first=indices[g.first], last=indices[g.last]) for g in pattern.groups]
        self._groups = {index: group for group in groups for index in range(group.first, group.last + 1)}
        n = len(takers)
        self.names = [step.name for step in takers]
        self.within_ms = pattern.within_ms
        self.steps_mask = (1 << n) - 1
        self.end, self.fresh, self.waiting, self.done = (1 << n + i for i in range(4))
        self.start = self._place(-1)
        self.places = [self._place(index) for index in range(n)]
        conditions = [c for step in pattern.steps for c in (step.condition, step.until) if c is not None]
        self.contextual = any(condition.contextual for condition in conditions)
        self.timed = any(place.timed for place in self.places)

    def opened(self, step: int, count: int, rounds: int) -> int:
        """What is open to an attempt that has just taken the record number `count` of `step`, in the round number `rounds` of
        the step's group."""
        place = self.places[step]
        bits = self.fresh
        if place.most is None or count < place.most:
            bits |= place.loop_bit
        if count >= place.least:
            if place.rounds is None:
                return bits | place.onward
            least, most = place.rounds
            if most is None or rounds < most:
                bits |= place.again_bit
            if rounds >= least:
                bits |= place.onward
        return bits

    def rounds(self, step: int, rounds: int, target: Target) -> int:
        """The number of the round in which `target` takes a record; 0 where it is in no group.

        Args:
            step: where the attempt stands; −1 before the first step.
            rounds: the number of the round there.
            target: what takes the record.
        """
        group = self._groups.get(target.step)
        if group is None:
            return 0
        if target.again:
            return rounds + 1
        return rounds if self._groups.get(step) is group else 1

    def advance(self, place: Place, bits: int, test: Callable[[Condition], object]) -> tuple[Sequence[Target], int]:
        """The targets that take a record, and what is open to the attempt when it passes by.

        Args:
            place: where the attempt stands.
            bits: what is open to it.
            test: whether the record fits a condition.
        """
        fresh = bits & self.fresh
        for forbidden in place.forbidden:
            if bits & forbidden.closes and (fresh or not forbidden.strict) and test(forbidden.condition):
                bits &= ~forbidden.closes
        left = bits & ~fresh
        if place.waits_for_record:
            left &= ~self.waiting
        taking = []
        for target in place.targets:
            if not bits & target.bit:
                continue
            fits = test(target.condition)
            ended = target.until is not None and (fits or target.loop) and test(target.until)
            if fits and not ended:
                taking.append(target)
                bits &= ~target.beyond
                left &= ~target.beyond
            if target.strict or (fits and target.relaxed) or (ended and target.loop):
                left &= ~target.bit
        return taking, left

    def certain(self, place: Place, bits: int) -> bool:
        """Whether the attempt is a match as it is: nothing more can be taken that must be, nothing is waited for."""
        return bool(bits & self.end) and not bits & (place.greedy | self.waiting)

    def alive(self, bits: int) -> bool:
        """Whether anything can still become of the attempt."""
        return bool(bits & (self.steps_mask | self.end))

    def ends_ms(self, place: Place, bits: int, start_ms: int, last_ms: int) -> int | None:
        """The last moment at which the attempt stands as it does, if no record comes; None: for ever."""
        ends = [last_ms + ms - 1 for bit, ms in place.timed if bits & bit]
        if self.within_ms is not None:
            ends.append(start_ms + self.within_ms - 1)
        return min(ends, default=None)

    def _place(self, index: int) -> Place:
        takers, last = self._takers, len(self._takers) - 1
        own = takers[index] if index >= 0 else None
        onward_steps = list(self._reachable(index))
        reaches_end = onward_steps[-1] > last
        ahead = onward_steps[:-1] if reaches_end else onward_steps
        at_end = self._negatives[last] if reaches_end else []
        group = self._groups.get(index)
        ends = group if group is not None and group.last == index else None
        # In the order in which greedy steps have a right to a record.
        wanted = [(index, "loop")] if own is not None and own.loops else []
        wanted += [(ends.first, "again")] if ends is not None and ends.loops else []
        wanted += [(other, "") for other in ahead]
        targets = [
            self._target(step, how, ends, sum(1 << later for later, _ in wanted[place + 1 :]))
            for place, (step, how) in enumerate(wanted)
        ]
        onward = sum(1 << other for other in ahead)
        if reaches_end:
            onward |= self.end | (self.waiting if at_end else 0)
        lasting = [step for step in at_end if step.contiguity is Contiguity.RELAXED]
        timed = [(t.bit, ms) for t in targets if (ms := takers[t.step].within_ms) is not None]
        return Place(
            least=1 if own is None else own.least,
            most=1 if own is None else own.most,
            loop_bit=0 if own is None else 1 << index,
            rounds=None if ends is None else (ends.least, ends.most),
            again_bit=1 << ends.first if ends is not None and ends.loops else 0,
            onward=onward,
            targets=tuple(targets),
            forbidden=tuple(self._forbidden(index, ahead, at_end)),
            greedy=sum(t.bit for t in targets if t.beyond),
            timed=(*timed, *((self.waiting, step.within_ms) for step in lasting if step.within_ms is not None)),
            waits_for_record=bool(at_end) and not lasting,
        )

    def _reachable(self, index: int) -> Iterable[int]:
        """The steps that can come next: optional ones, alone or in a group, and the first that is not; behind the last step
        comes the end."""
        other = index + 1
        while other < len(self._takers):
            yield other
            group = self._groups.get(other)
            if group is not None and group.first == other and group.optional:
                other = group.last + 1
            elif self._takers[other].optional:
                other += 1
            else:
                return
        if index >= 0:
            yield other

    def _target(self, index: int, how: str, group: Group | None, later: int) -> Target:
        """A step that may take the next record.

        Args:
            index: which.
            how: `loop`, or `again` for another round of `group`; else empty.
            group: the group that ends where the attempt stands.
            later: the bits of the steps that a greedy step has a right before.
        """
        step = self._takers[index]
        contiguity = step.inner if how == "loop" else step.contiguity
        if how == "again" and group is not None:
            contiguity = group.inner
        return Target(
            bit=1 << index,
            step=index,
            loop=how == "loop",
            again=how == "again",
            condition=step.condition,
            until=step.until,
            strict=contiguity is Contiguity.STRICT,
            relaxed=contiguity is Contiguity.RELAXED,
            beyond=later | self.end | self.waiting if step.greedy else 0,
        )

    def _forbidden(self, index: int, ahead: Sequence[int], at_end: Sequence[Step]) -> Iterable[Forbidden]:
        """What must not come, with what it closes: the steps behind it, and at the end the end. Right behind the step
        where the attempt stands it ends the step's loop too."""
        last = len(self._takers) - 1
        for after in range(max(index, 0), last + 1):
            steps = at_end if after == last else self._negatives[after] if after + 1 in ahead else ()
            closes = self.steps_mask if after == index else self.steps_mask & ~((2 << after) - 1)
            if after == last:
                closes |= self.end | self.waiting
            for step in steps:
                yield Forbidden(step.condition, step.contiguity is Contiguity.STRICT, closes)
