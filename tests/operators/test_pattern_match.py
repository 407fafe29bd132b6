"""Patterns against a brute-force oracle that tries every way to read the records of a key."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations, pairwise, product, takewhile
from pathlib import Path as FilePath
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from tidegate.connectors import memory
from tidegate.engine import OperatorError, RunConfig, Topology, TopologyError, restart, run
from tidegate.engine.testing import OperatorHarness
from tidegate.engine.testing.scripted import BARRIER, CRASH, ScriptedSource, run_script
from tidegate.operators import MatchSoFar, patterns
from tidegate.operators.pattern_checks import check_pattern
from tidegate.operators.pattern_match import PatternMatch
from tidegate.operators.pattern_step import Condition, Contiguity, Group, Step
from tidegate.operators.patterns import AfterMatch, Pattern
from tidegate.operators.time import MAX_WATERMARK, MIN_WATERMARK

Event = tuple[int, str]
"""Timestamp and value. A value fits a step when the step's letter is in it."""

Path = tuple[tuple[int, int], ...]
"""(step, index of the event)."""

Moment = tuple[int, int]
"""A timestamp, and the index of an event; `END` for when all events of that time have come."""

END = 1_000
NEVER = (MAX_WATERMARK, END)
BEYOND = (MAX_WATERMARK, END + 1)


class Oracle:
    """What a pattern says about the events of one key, read off its definition."""

    def __init__(self, pattern: Pattern[str], events: list[Event]) -> None:
        self.events = events
        self.within = pattern.within_ms
        self.steps = [step for step in pattern.steps if not step.negative]
        self.nots: list[list[Step]] = [[] for _ in self.steps]
        places, seen = [], -1
        for step in pattern.steps:
            if step.negative:
                self.nots[seen].append(step)
            else:
                seen += 1
            places.append(seen)
        self.last = pattern.steps[-1]
        self.groups = [replace(group, first=places[group.first], last=places[group.last]) for group in pattern.groups]

    def fits(self, condition: Condition, path: Path, event: int) -> bool:
        """Whether an event fits, in the light of what has been taken."""
        so_far: dict[str, list[str]] = {step.name: [] for step in self.steps}
        for step, taken in path:
            so_far[self.steps[step].name].append(self.events[taken][1])
        return bool(condition(self.events[event][1], so_far))

    def paths(self) -> list[Path]:
        """Every path that the events allow, whether it is a match or the beginning of one."""
        found: list[Path] = []
        for length in range(1, len(self.events) + 1):
            for chosen in combinations(range(len(self.events)), length):
                found += self._labelled((), chosen)
        return found

    def _labelled(self, path: Path, chosen: tuple[int, ...]) -> list[Path]:
        if not chosen:
            return [path]
        found = []
        for step in range(len(self.steps)):
            if self._may_follow(path, step, chosen[0]):
                found += self._labelled((*path, (step, chosen[0])), chosen[1:])
        return found

    def _count(self, path: Path) -> int:
        """How many records the newest step has, one after the other."""
        return len(list(takewhile(lambda taken: taken[0] == path[-1][0], reversed(path))))

    def _ended(self, step: int) -> Group | None:
        """The group that ends with a step."""
        return next((group for group in self.groups if group.last == step), None)

    def _rounds(self, path: Path, group: Group) -> int:
        """How often the group that a path ends in has begun."""
        inside = [step for step, _ in path if group.first <= step <= group.last]
        return 1 + sum(later < earlier for earlier, later in pairwise(inside))

    def _between(self, path: Path, to: int) -> list[Step]:
        """What must not come between the end of a path and a record of step `to` (beyond the last: the end)."""
        if to == len(self.steps):
            return self.nots[-1]
        at = path[-1][0] if path else 0
        behind = range(at, at + 1) if path and to <= at else range(at, to)
        left_out = {
            a for g in self.groups if (at < g.first or not path) and to > g.last for a in range(g.first, g.last)
        }
        return [step for a in behind if a not in left_out for step in self.nots[a]]

    def _reachable(self, path: Path) -> list[int]:
        """The steps that may come next, as far as numbers go; `len(steps)` is the end. In the order in which greedy ones have
        a right: more of the same, another round of the group, what comes later."""
        at = path[-1][0] if path else -1
        found = []
        if path and (self.steps[at].most is None or self._count(path) < self.steps[at].most):  # type: ignore[operator]
            found.append(at)
        enough = not path or self._count(path) >= self.steps[at].least
        group = self._ended(at)
        if enough and group is not None:
            rounds = self._rounds(path, group)
            if group.most is None or rounds < group.most:
                found.append(group.first)
            enough = rounds >= group.least
        if enough:
            step = at + 1
            while step <= len(self.steps):
                found.append(step)
                skipped = next((g for g in self.groups if g.first == step and g.optional), None)
                if step < len(self.steps) and not self.steps[step].optional and skipped is None:
                    break
                step = step + 1 if skipped is None else skipped.last + 1
        return [step for step in found if path or step < len(self.steps)]

    def _contiguity(self, path: Path, to: int) -> Contiguity:
        """What may lie between the end of a path and a record of step `to`."""
        at, step = path[-1][0], self.steps[to]
        if at == to:
            return step.inner
        group = self._ended(at)
        return group.inner if to < at and group is not None else step.contiguity

    def _takes(self, path: Path, to: int, event: int) -> bool:
        """Whether `event` can be taken by `to`, leaving aside that a greedy step might want it, or an event before it."""
        if to not in self._reachable(path):
            return False
        step = self.steps[to]
        if not self.fits(step.condition, path, event):
            return False
        if step.until is not None and self.fits(step.until, path, event):
            return False
        gap = range(path[-1][1] + 1, event) if path else range(0)
        if path:
            loop = path[-1][0] == to
            contiguity = self._contiguity(path, to)
            if contiguity is Contiguity.STRICT and gap:
                return False
            if contiguity is Contiguity.RELAXED and any(self.fits(step.condition, path, e) for e in gap):
                return False
            if loop and step.until is not None and any(self.fits(step.until, path, e) for e in gap):
                return False
            since, start = self.events[path[-1][1]][0], self.events[path[0][1]][0]
            now = self.events[event][0]
            if step.within_ms is not None and now - since >= step.within_ms:
                return False
            if self.within is not None and now - start >= self.within:
                return False
        for forbidden in self._between(path, to):
            looked_at = [*gap, event]
            if forbidden.contiguity is Contiguity.STRICT:
                looked_at = looked_at[:1]
            if any(self.fits(forbidden.condition, path, e) for e in looked_at):
                return False
        return True

    def _greedy(self, path: Path, before: int) -> list[int]:
        """The greedy steps that have a right before step `before`."""
        in_order = self._reachable(path)
        sooner = in_order[: in_order.index(before)] if before in in_order else []
        return [step for step in sooner if self.steps[step].greedy]

    def _may_follow(self, path: Path, to: int, event: int) -> bool:
        if not self._takes(path, to, event):
            return False
        since = path[-1][1] + 1 if path else event
        return not any(self._takes(path, g, e) for g in self._greedy(path, to) for e in range(since, event + 1))

    def fate(self, path: Path) -> tuple[Moment | None, Moment | None]:
        """When a path is certain to be a match, and when it is timed out."""
        end, last = len(self.steps), path[-1][1]
        over = NEVER if self.within is None else (self.events[path[0][1]][0] + self.within - 1, END)
        now = (self.events[last][0], last)
        closings = {step: self._closing(path, step, over) for step in self._reachable(path) if step < end}
        if end in self._reachable(path):
            certain, spoiled = self._end(path, over)
            for greedy in self._greedy(path, end):
                certain = max(certain, closings[greedy][0])
                wanted = [e for e in range(last + 1, len(self.events)) if self._takes(path, greedy, e)]
                spoiled = min([spoiled, *[(self.events[e][0], e) for e in wanted]])
            if certain < spoiled:
                return max(certain, now), None
            closings[end] = (spoiled, False)
        # Not a match: timed out, if time closed what closed last.
        closed, by_time = max(closings.values(), default=(now, False))
        return None, closed if by_time and closed < NEVER else None

    def _end(self, path: Path, over: Moment) -> tuple[Moment, Moment]:
        """When what must not come at the end can come no more, and when it does."""
        last = path[-1][1]
        at_end = self._between(path, len(self.steps))
        certain, spoiled = (self.events[last][0], last), BEYOND
        if any(step.contiguity is Contiguity.RELAXED for step in at_end):
            certain = over
            if self.last.within_ms is not None:
                certain = min(over, (self.events[last][0] + self.last.within_ms - 1, END))
        elif at_end:
            certain = min([over, *[(self.events[e][0], e) for e in range(last + 1, len(self.events))][:1]])
        for event in reversed(range(last + 1, len(self.events))):
            looking = [step for step in at_end if step.contiguity is Contiguity.RELAXED or event == last + 1]
            if any(self.fits(step.condition, path, event) for step in looking):
                spoiled = (self.events[event][0], event)
        # The record that settles a not_next must not be the forbidden one.
        return certain, spoiled

    def _closing(self, path: Path, to: int, over: Moment) -> tuple[Moment, bool]:
        """When a step can no longer take anything, and whether time did that."""
        step, last = self.steps[to], path[-1][1]
        loop = path[-1][0] == to
        until = over if step.within_ms is None else min(over, (self.events[last][0] + step.within_ms - 1, END))
        contiguity = self._contiguity(path, to)
        for event in range(last + 1, len(self.events)):
            at = (self.events[event][0], event)
            if at > until:
                break
            between = [s for s in self._between(path, to) if s.contiguity is Contiguity.RELAXED or event == last + 1]
            if (
                contiguity is Contiguity.STRICT
                or (contiguity is Contiguity.RELAXED and self.fits(step.condition, path, event))
                or (loop and step.until is not None and self.fits(step.until, path, event))
                or any(self.fits(s.condition, path, event) for s in between)
                or any(self._takes(path, g, event) for g in self._greedy(path, to))
            ):
                return at, False
        return until, True

    def matches(self, after: AfterMatch) -> list[tuple[int, Path]]:
        """When each match is certain, and the match; those done away with left out."""
        found = [(moment, path) for path in self.paths() if (moment := self.fate(path)[0]) is not None]
        if after == patterns.no_skip():
            return [(moment[0], path) for moment, path in found]
        found.sort(key=lambda f: (f[1][0][1], f[0], -len(f[1])))
        kept = []
        while found:
            moment, path = found.pop(0)
            kept.append((moment[0], path))
            start = path[0][1]
            taken = [event for step, event in path if self.steps[step].name == after.step]
            goes_on = {
                "skip_to_next": start + 1,
                "skip_past_last": path[-1][1] + 1,
                "skip_to_first": taken[0] if taken else start,
                "skip_to_last": taken[-1] if taken else start,
            }[after.to.value]
            found = [other for other in found if other[1][0][1] >= goes_on]
        return kept


def _in(letter: str) -> Any:
    return lambda value: letter in value


def _in_if_odd(letter: str, step: str) -> Any:
    return lambda value, match: letter in value and len(match[step]) % 2 == 1


@st.composite
def pattern_of(draw: Any) -> Pattern[str]:
    """Any pattern that can be carried out, of few letters, so that much fits."""
    letters = st.sampled_from("abc")
    pattern = patterns.begin("s0", str).where(_in(draw(letters)))
    for index in range(draw(st.integers(1, 3)) + 1):
        if index:
            how = draw(
                st.sampled_from(
                    ["next", "followed_by", "followed_by", "followed_by_any", "not_next", "not_followed_by"]
                )
            )
            pattern = getattr(pattern, how)(f"s{index}")
            letter = draw(letters)
            pattern = pattern.where(_in_if_odd(letter, "s0") if draw(st.integers(0, 5)) == 0 else _in(letter))
            if how.startswith("not"):
                if draw(st.integers(0, 3)) == 0:
                    pattern = pattern.within_previous("3ms")
                continue
        number = draw(st.sampled_from([None, None, (1, None), (2, None), (2, 2), (1, 2), (2, 3)]))
        if number is not None:
            least, most = number
            pattern = pattern.times_or_more(least) if most is None else pattern.times(least, most)
            inner = draw(st.sampled_from(["", "", "consecutive", "allow_combinations"]))
            pattern = getattr(pattern, inner)() if inner else pattern
            if draw(st.integers(0, 3)) == 0:
                pattern = pattern.until(_in(draw(letters)))
        if draw(st.integers(0, 3)) == 0:
            pattern = pattern.optional()
        if draw(st.integers(0, 2)) == 0 and (number or pattern.steps[-1].optional):
            pattern = pattern.greedy()
        if draw(st.integers(0, 5)) == 0:
            pattern = pattern.within_previous(f"{draw(st.integers(1, 4))}ms")
    if draw(st.booleans()):
        pattern = replace(pattern, groups=draw(st.sampled_from([*_groups_of(pattern)])))
    within = draw(st.sampled_from([None, 1, 3, 6, 6, 20]))
    return pattern if within is None else pattern.within(f"{within}ms")


def _groups_of(pattern: Pattern[str]) -> Iterator[tuple[Group, ...]]:
    """None, and every group that some of the steps may be."""
    yield ()
    numbers = [(1, 1), (1, None), (2, 2), (1, 2), (2, None)]
    for first, last in combinations(range(len(pattern.steps)), 2):
        if any(pattern.steps[end].negative or pattern.steps[end].optional for end in (first, last)):
            continue
        for (least, most), optional, inner in product(numbers, (False, True), Contiguity):
            if most != 1 or (optional and inner is Contiguity.RELAXED):
                yield (Group(first, last, least, most, optional, inner),)


@st.composite
def histories(draw: Any) -> list[int | list[tuple[int, str, str]]]:
    """Watermarks, and batches of (timestamp, key, value), somewhat out of order and cut anywhere."""
    value = st.sampled_from(["a", "a", "b", "b", "c", "ab", "bc", "x"])
    drawn = draw(st.lists(st.tuples(st.integers(0, 2), st.sampled_from("kkkkl"), value), min_size=3, max_size=8))
    at, ahead, history = 0, [], list[Any]()
    for step, key, letters in drawn:
        at += step
        ahead.append((at, key, letters))
        if draw(st.booleans()):
            at_once = draw(st.integers(1, len(ahead)))
            history.append([ahead.pop(draw(st.integers(0, len(ahead) - 1))) for _ in range(at_once)])
        if draw(st.integers(0, 3)) == 0:
            history.append(at - draw(st.integers(-1, 3)))
    return [*history, ahead] if ahead else history


AFTER = [
    patterns.no_skip(),
    patterns.no_skip(),
    patterns.skip_to_next(),
    patterns.skip_past_last(),
    patterns.skip_to_first("s0"),
    patterns.skip_to_last("s0"),
]


def expected(
    pattern: Pattern[str], after: AfterMatch, history: list[int | list[tuple[int, str, str]]]
) -> tuple[list[Any], list[Any], list[str]]:
    """(moment, key, path as values) of matches and of what timed out, and the late values."""
    watermark, late = MIN_WATERMARK, []
    kept: dict[str, list[Event]] = {}
    for step in history:
        if isinstance(step, int):
            watermark = max(watermark, step)
            continue
        for at, key, value in step:
            if at <= watermark:
                late.append(value)
            else:
                kept.setdefault(key, []).append((at, value))
    matches, timed_out = [], []
    for key, events in kept.items():
        events.sort(key=lambda event: event[0])
        oracle = Oracle(pattern, events)

        def shown(moment: int, path: Path, key: str = key, events: list[Event] = events) -> Any:
            by_step = sorted(path, key=lambda taken: taken[0])
            return moment, key, [(f"s{_named(pattern, step)}", *events[event]) for step, event in by_step]

        matches += [shown(moment, path) for moment, path in oracle.matches(after)]
        if after == patterns.no_skip():
            timed_out += [shown(moment[0], path) for path in oracle.paths() if (moment := oracle.fate(path)[1])]
    return sorted(matches), sorted(timed_out), sorted(late)


def _named(pattern: Pattern[str], index: int) -> str:
    return [step.name for step in pattern.steps if not step.negative][index][1:]


def actual(
    pattern: Pattern[str], after: AfterMatch, history: list[int | list[tuple[int, str, str]]], **options: Any
) -> tuple[list[Any], list[Any], list[str]]:
    """The same from the operator."""
    told = replace(pattern, steps=tuple(_over_values(step) for step in pattern.steps))
    with OperatorHarness(PatternMatch(told, type=tuple[int, str], after_match=after), **options) as h:
        watermark = MIN_WATERMARK
        for step in history:
            if isinstance(step, int):
                watermark = max(watermark, step)
                h.watermark(watermark)
                told_by_now = [*h._main.batches, *h._sides["timed_out"].batches]
                assert all(at <= watermark for batch in told_by_now for at in batch.timestamps or ())
            else:
                h.push([(at, value) for at, _, value in step], [at for at, *_ in step], [key for _, key, _ in step])
        h.end()

        def shown(side: Any) -> list[Any]:
            return sorted(
                (timestamp, match.key, [(name, *event) for name, events in match.events.items() for event in events])
                for batch in side.batches
                for match, timestamp in zip(batch.values, batch.timestamps, strict=True)
            )

        assert _state_left(h) == []
        return shown(h._main), shown(h._sides["timed_out"]), sorted(value for _, value in h.side("late"))


def _state_left(h: OperatorHarness[Any]) -> list[Any]:
    """What the operator still keeps of keys."""
    tables: Any = h.node.store.tables  # type: ignore[union-attr]  # the operator has state
    left: list[Any] = [*tables.table("attempts").items()]
    left += [entry for name in ("records", "links") for key in "kl" for entry in tables.table(name).items(key)]
    return left + [moment for name in ("waiting", "timers") for moment in tables.table(name).namespaces()]


def _over_values(step: Step) -> Step:
    """The step for events that carry their timestamp."""

    def told(condition: Condition) -> Condition:
        if condition.contextual:
            return Condition(lambda event, match: condition.function(event[1], match), contextual=True)
        return Condition(lambda event: condition.function(event[1]), contextual=False)

    return replace(step, condition=told(step.condition), until=None if step.until is None else told(step.until))


def _can_be_carried_out(pattern: Pattern[str], after: AfterMatch) -> bool:
    try:
        check_pattern(pattern, after)
    except ValueError:
        return False
    return True


@pytest.mark.slow
@settings(max_examples=200, deadline=None)
@given(pattern_of(), st.sampled_from(AFTER), histories())
def test_matches_agree_with_the_oracle_when_restored_after_every_step(
    pattern: Pattern[str], after: AfterMatch, history: list[int | list[tuple[int, str, str]]]
) -> None:
    """Any quantifier, contiguity and skip strategy; disorder, late records, batches and watermarks anywhere."""
    assume(_can_be_carried_out(pattern, after))
    _compare(pattern, after, history)


def _compare(pattern: Pattern[str], after: AfterMatch, history: list[int | list[tuple[int, str, str]]]) -> None:
    found, wanted = actual(pattern, after, history), expected(pattern, after, history)
    if after == patterns.no_skip():
        assert found == wanted
    else:
        # A match may have to wait for its turn.
        assert sorted(m[1:] for m in found[0]) == sorted(m[1:] for m in wanted[0])


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(pattern_of(), histories())
def test_matches_agree_with_the_oracle_on_rocksdb_with_a_tiny_budget(
    pattern: Pattern[str], history: list[int | list[tuple[int, str, str]]]
) -> None:
    """State that is evicted all the time gives the same results."""
    assume(_can_be_carried_out(pattern, patterns.no_skip()))
    found = actual(pattern, patterns.no_skip(), history, backend="rocksdb", memory_budget_bytes=300)
    assert found == expected(pattern, patterns.no_skip(), history)


@pytest.mark.long
@pytest.mark.timeout(900)
@settings(max_examples=1_500, deadline=None)
@given(pattern_of(), st.sampled_from(AFTER), histories())
def test_many_patterns_agree_with_the_oracle(
    pattern: Pattern[str], after: AfterMatch, history: list[int | list[tuple[int, str, str]]]
) -> None:
    """The first property, for longer."""
    assume(_can_be_carried_out(pattern, after))
    _compare(pattern, after, history)


# --------------------------------------------------------------------- what else holds


def fits(*letters: str) -> Any:
    """A condition: the record begins with one of the letters."""
    return lambda value: value[0] in letters


A = patterns.begin("a", str).where(fits("a"))


def test_a_greedy_step_at_the_end_waits_for_its_time() -> None:
    """The match is certain when nothing more can come."""
    pattern = A.followed_by("b").where(fits("b")).one_or_more().greedy().within("10ms")
    with OperatorHarness(PatternMatch(pattern, type=str)) as h:
        h.push(["a", "b1", "b2", "b3"], [0, 2, 5, 10], ["k"] * 4).watermark(8)
        assert h.values == []
        h.watermark(9)
        assert [(m["b"], m.start_ms, m.end_ms, at) for m, at in h.output] == [(["b1", "b2"], 0, 5, 9)]


def test_silence_is_a_match() -> None:
    """`not_followed_by` at the end is certain when its time is over."""
    pattern = A.not_followed_by("b").where(fits("b")).within("10ms")
    with OperatorHarness(PatternMatch(pattern, type=str)) as h:
        h.push(["a1", "a2", "b", "a3"], [0, 5, 12, 13], ["k"] * 4).watermark(22)
        assert [(m.first("a"), at) for m, at in h.output] == [("a1", 9), ("a3", 22)]
        assert h.side("timed_out") == []


def test_time_between_two_steps() -> None:
    """Each record comes soon enough after the one before, however long the match is as a whole."""
    pattern = A.followed_by("b").where(fits("b")).times(2).within_previous("5ms")
    with OperatorHarness(PatternMatch(pattern, type=str)) as h:
        h.push(["a", "b1", "b2"], [0, 4, 8], ["k"] * 3).push(["a", "b1", "b2"], [0, 4, 9], ["l"] * 3).end()
        assert [(m.key, m.events) for m in h.values] == [("k", {"a": ["a"], "b": ["b1", "b2"]})]
        assert [(m.key, m.events) for m in h.side("timed_out")] == [("l", {"a": ["a"], "b": ["b1"]})]


def test_a_condition_sees_the_match_so_far() -> None:
    """Rising values, each against the last one taken."""

    def rises(value: int, match: MatchSoFar[int]) -> bool:
        taken = match["rising"] or match["first"]
        return value > taken[-1]

    pattern = patterns.begin("first", int).next("rising").where(rises).times(3)
    with OperatorHarness(PatternMatch(pattern, type=int)) as h:
        h.push([5, 1, 2, 3, 4, 0], range(6), ["k"] * 6).end()
        assert [(m.first("first"), m["rising"]) for m in h.values] == [(1, [2, 3, 4])]


def test_records_are_taken_in_order_of_event_time() -> None:
    """Whatever order they come in; those of one moment in the order in which they came."""
    with OperatorHarness(PatternMatch(A.next("b").where(fits("b")), type=str)) as h:
        h.push(["b1", "a1", "a2"], [2, 1, 5], ["k"] * 3).push(["b2"], [5], ["k"]).watermark(5)
        assert [m.events for m in h.values] == [{"a": ["a1"], "b": ["b1"]}, {"a": ["a2"], "b": ["b2"]}]


def test_late_records_go_to_their_side_output() -> None:
    """The watermark has passed them: they are counted and left out."""
    with OperatorHarness(PatternMatch(A.next("b").where(fits("b")), type=str)) as h:
        h.push(["a"], [5], ["k"]).watermark(5).push(["b", "b"], [5, 6], ["k", "k"]).end()
        assert (len(h.values), h.side("late"), h.counters["late"]) == (1, ["b"], 1)


def test_a_record_that_a_condition_fails_on_leaves_no_trace() -> None:
    """As if it had not come; or the job fails."""

    def test(value: str) -> bool:
        if value == "bad":
            raise ValueError("no letter")
        return value[0] == "b"

    pattern = A.next("b").where(test)
    with OperatorHarness(PatternMatch(pattern, type=str, on_error="dead_letter")) as h:
        h.push(["a", "bad", "b"], [1, 2, 3], ["k"] * 3).end()
        assert [m.events for m in h.values] == [{"a": ["a"], "b": ["b"]}]
        assert [(letter.value, letter.timestamp_ms) for letter in h.side("failed")] == [("bad", 2)]
    with OperatorHarness(PatternMatch(pattern, type=str)) as h, pytest.raises(OperatorError, match="no letter"):
        h.push(["a", "bad", "b"], [1, 2, 3], ["k"] * 3).end()


def test_select_makes_of_a_match_what_is_given_out() -> None:
    """Under the match's key and time; a match that it fails on goes the way of failed records."""
    pattern = A.next("b").where(fits("b"))
    operator = PatternMatch(pattern, type=str, select=lambda m: 10 // int(m.last("b")[1:]), on_error="skip")
    with OperatorHarness(operator) as h:
        h.push(["a", "b2", "a", "b0", "a", "b5"], range(6), ["k"] * 6).end()
        assert (h.output, h.keys) == ([(5, 1), (2, 5)], ["k", "k"])
        assert h.counters["skipped"] == 1


def test_a_record_is_stored_once_and_goes_with_its_last_attempt() -> None:
    """However many attempts hold it."""
    pattern = A.followed_by_any("b").where(fits("b")).one_or_more().allow_combinations().within("100ms")
    with OperatorHarness(PatternMatch(pattern, type=str)) as h:
        h.push(["a", "b1", "b2", "b3", "x"], range(5), ["k"] * 5).watermark(4)
        tables: Any = h.node.store.tables  # type: ignore[union-attr]  # the operator has state
        assert sorted(record for _, record in tables.table("records").items("k")) == ["a", "b1", "b2", "b3"]
        assert len(h.values) == 7
        h.watermark(99)
        assert _state_left(h) == []


@pytest.mark.slow
def test_a_job_that_crashes_finds_the_same_matches(tmp_path: FilePath) -> None:
    """Two subtasks, checkpoints in the middle of matches, crashes after them: every match once."""
    records = [{"k": n % 7, "at": n, "v": "ab"[n // 7 % 2]} for n in range(300)]
    script = [*records[:90], BARRIER, *records[90:130], CRASH, *records[130:200], BARRIER, CRASH, *records[200:]]
    topology, source, sink = Topology("matches"), ScriptedSource(script), memory.sink()
    pattern = patterns.begin("a", dict).where(lambda r: r["v"] == "a").next("b").where(lambda r: r["v"] == "b")
    keyed = topology.source("records", source, event_time="at").key_by("k", name="by-k")
    keyed.match(pattern.within("1s"), name="pairs").map(lambda m: (m.key, m.first("a")["at"])).sink("out", sink)
    config = RunConfig(checkpoints=tmp_path, parallelism=2, restart=restart.fixed_delay(2, "0ms"))
    status = asyncio.run(run_script(topology, source, config))
    assert (status.value, sorted(sink.values)) == (
        "finished",
        sorted((r["k"], r["at"]) for r in records[:-7] if r["v"] == "a"),
    )


@pytest.mark.slow
def test_the_state_of_another_pattern_is_refused(tmp_path: FilePath) -> None:
    """Attempts at it mean nothing to the new one; the conditions may change."""

    def pairs(pattern: Pattern[str]) -> Topology:
        topology = Topology("pairs")
        keyed = topology.source("records", memory.source(["a", "b"]), event_time=lambda v: 1).key_by(
            fits("a"), name="by"
        )
        keyed.match(pattern, name="pairs").sink("out", memory.sink())
        return topology

    run(pairs(A.next("b").where(fits("b"))), RunConfig(checkpoints=tmp_path), live=False)
    run(pairs(A.next("b").where(fits("c"))), RunConfig(checkpoints=tmp_path), live=False)
    with pytest.raises(TopologyError, match=r"`pattern` was literal\(.*next.*is now literal\(.*followed_by\('b'\)"):
        run(pairs(A.followed_by("b").where(fits("b"))), RunConfig(checkpoints=tmp_path), live=False)
