"""What patterns mean: the examples that Flink documents for the same words, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
from tidegate.engine.testing import OperatorHarness
from tidegate.operators import patterns
from tidegate.operators.pattern_match import PatternMatch
from tidegate.operators.patterns import AfterMatch, Match, Pattern


def matched(pattern: Pattern[str], values: str, after: AfterMatch | None = None) -> list[str]:
    """The matches in records that come one after the other, as they are given out."""
    records = values.split()
    with OperatorHarness(PatternMatch(pattern, type=str, after_match=after)) as h:
        h.push(records, range(len(records)), ["k"] * len(records)).end()
        return [" ".join(value for step in match.events.values() for value in step) for match in h.values]


def fits(*letters: str) -> Any:
    """A condition: the record begins with one of the letters."""
    return lambda value: value[0] in letters


A = patterns.begin("a", str).where(fits("a"))


@pytest.mark.parametrize(
    ("contiguity", "wanted"),
    [("next", []), ("followed_by", ["a b1"]), ("followed_by_any", ["a b1", "a b2"])],
)
def test_contiguity_says_what_may_lie_between(contiguity: str, wanted: list[str]) -> None:
    """Nothing; what does not fit; anything."""
    assert matched(getattr(A, contiguity)("b").where(fits("b")), "a c b1 b2") == wanted


@pytest.mark.parametrize(
    ("inner", "wanted"),
    [
        ("consecutive", ["a b3 c"]),
        ("", ["a b1 b2 b3 c", "a b1 b2 c", "a b1 c", "a b2 b3 c", "a b2 c", "a b3 c"]),
        (
            "allow_combinations",
            ["a b1 b2 b3 c", "a b1 b2 c", "a b1 b3 c", "a b1 c", "a b2 b3 c", "a b2 c", "a b3 c"],
        ),
    ],
)
def test_contiguity_inside_a_loop(inner: str, wanted: list[str]) -> None:
    """The same three, between the records of one step; strict everywhere only the last `b` stands beside the `c`."""
    pattern = A.followed_by_any("b").where(fits("b")).one_or_more()
    pattern = getattr(pattern, inner)() if inner else pattern
    pattern = pattern.next("c") if inner == "consecutive" else pattern.followed_by("c")
    assert sorted(matched(pattern.where(fits("c")), "a b1 d1 b2 d2 b3 c")) == wanted


@pytest.mark.parametrize(
    ("inner", "wanted"),
    [
        ("consecutive", "1 12 123"),
        ("", "1 12 123 1234"),
        ("allow_combinations", "1 12 123 1234 124 13 134 14 2 23 234 24 3 34 4"),
    ],
)
def test_loops_that_begin_later(inner: str, wanted: str) -> None:
    """`c a+ b` in `c d a1 a2 a3 d a4 b`; only with combinations may the loop begin with a later `a`."""
    pattern = patterns.begin("c", str).where(fits("c"))
    pattern = pattern.followed_by_any("a") if inner == "allow_combinations" else pattern.followed_by("a")
    pattern = pattern.where(fits("a")).one_or_more()
    pattern = getattr(pattern, inner)() if inner else pattern
    found = matched(pattern.followed_by("b").where(fits("b")), "c d a1 a2 a3 d a4 b")
    assert sorted("".join(v[1:] for v in match.split()) for match in found) == wanted.split()


def test_until_ends_a_loop() -> None:
    """`a+ until b`: nothing spans the `b`."""
    assert sorted(matched(A.one_or_more().until(fits("b")), "a1 c a2 b a3")) == ["a1", "a1 a2", "a2", "a3"]


B_C = patterns.begin("b", str).where(fits("b")).one_or_more().next("c").where(fits("c"))


@pytest.mark.parametrize(
    ("after", "wanted"),
    [
        (patterns.no_skip(), ["b1 b2 b3 c", "b2 b3 c", "b3 c"]),
        (patterns.skip_to_next(), ["b1 b2 b3 c", "b2 b3 c", "b3 c"]),
        (patterns.skip_past_last(), ["b1 b2 b3 c"]),
        (patterns.skip_to_first("b"), ["b1 b2 b3 c", "b2 b3 c", "b3 c"]),
        (patterns.skip_to_last("b"), ["b1 b2 b3 c", "b3 c"]),
    ],
)
def test_a_match_does_away_with_others(after: AfterMatch, wanted: list[str]) -> None:
    """`b+ c` in `b1 b2 b3 c`, the earliest beginning first."""
    assert matched(B_C, "b1 b2 b3 c", after) == wanted


@pytest.mark.parametrize(
    ("after", "wanted"),
    [
        (patterns.no_skip(), ["a b c1 c2 c3 d", "b c1 c2 c3 d", "c1 c2 c3 d"]),
        (patterns.skip_to_first("cs"), ["a b c1 c2 c3 d", "c1 c2 c3 d"]),
    ],
)
def test_skipping_to_the_first_record_of_a_step(after: AfterMatch, wanted: list[str]) -> None:
    """`(a|b|c) (b|c) c+.greedy d` in `a b c1 c2 c3 d`."""
    pattern = patterns.begin("abc", str).where(fits("a", "b", "c")).next("bc").where(fits("b", "c"))
    pattern = pattern.next("cs").where(fits("c")).one_or_more().greedy().next("d").where(fits("d"))
    assert matched(pattern, "a b c1 c2 c3 d", after) == wanted


@pytest.mark.parametrize(
    ("after", "wanted"),
    [(patterns.no_skip(), ["a b1", "a b1 b2", "a b1 b2 b3"]), (patterns.skip_to_next(), ["a b1"])],
)
def test_a_match_ends_those_that_began_with_the_same_record(after: AfterMatch, wanted: list[str]) -> None:
    """`a b+` in `a b1 b2 b3`."""
    assert matched(A.next("b").where(fits("b")).one_or_more(), "a b1 b2 b3", after) == wanted


def test_what_must_not_come_before_a_loop() -> None:
    """`a !c b* d`: with a `c` in between the attempt goes on only when it has a `b` before."""
    pattern = A.not_followed_by("c").where(fits("c")).followed_by("b").where(fits("b")).one_or_more().optional()
    found = matched(pattern.followed_by("d").where(fits("d")), "a b1 c b4 b5 b6 d")
    assert sorted(found) == ["a b1 b4 b5 b6 d", "a b1 b4 b5 d", "a b1 b4 d", "a b1 d"]


@pytest.mark.parametrize(("contiguity", "wanted"), [("followed_by", []), ("followed_by_any", ["a b2 d"])])
def test_what_must_not_come_next_ends_a_loop(contiguity: str, wanted: list[str]) -> None:
    """`a b+ !c d`, the `c` right behind the first `b`."""
    pattern = getattr(A, contiguity)("b").where(fits("b")).one_or_more().not_next("c").where(fits("c"))
    assert matched(pattern.followed_by("d").where(fits("d")), "a b1 c b2 d") == wanted


def test_a_greedy_step_takes_all_it_can() -> None:
    """One match, with the whole loop; a record that fits both steps belongs to the greedy one."""
    pattern = A.followed_by("b").where(fits("b")).one_or_more().greedy()
    assert matched(pattern.followed_by("c").where(fits("c")), "a b1 x b2 x c") == ["a b1 b2 c"]
    assert matched(pattern.followed_by("c").where(fits("b", "c")), "a b1 b2 c") == ["a b1 b2 c"]


def test_or_where_and_where_combine_in_the_order_in_which_they_stand() -> None:
    """`(a or b) and not b2`; with a look at the match as well."""
    either = patterns.begin("ab", str).where(fits("a")).or_where(fits("b")).where(lambda v: v != "b2")
    assert matched(either, "a b1 b2 c") == ["a", "b1"]
    other = patterns.begin("x", str).next("y").where(lambda v, m: v > m["x"][0]).or_where(fits("a"))
    assert matched(other, "b c a a") == ["b c", "c a", "a a"]


def test_what_must_not_come_next_looks_at_the_very_next_record() -> None:
    """Later it may come; what must not follow may not come at all, before the next step or as its record."""
    then = A.not_next("n").where(fits("n")).followed_by("d").where(fits("d"))
    assert [matched(then, values) for values in ("a x n d", "a n d", "a d n")] == [["a d"], [], ["a d"]]
    then = A.not_followed_by("n").where(fits("n")).followed_by("d").where(fits("d", "n"))
    assert [matched(then, values) for values in ("a x d", "a x n d", "a n d")] == [["a d"], [], []]


def test_what_must_not_come_next_may_end_a_pattern() -> None:
    """It is certain with the next record, when time is over, or at the end of the stream."""
    pattern = A.not_next("n").where(fits("n"))
    assert [matched(pattern, values) for values in ("a x n", "a n", "a")] == [["a"], [], ["a"]]
    with OperatorHarness(PatternMatch(pattern.within("10ms"), type=str)) as h:
        h.push(["a", "x", "a"], [0, 4, 20], ["k", "k", "l"]).watermark(29)
        assert [(m.key, at) for m, at in h.output] == [("k", 4), ("l", 29)]


def test_steps_may_be_left_out() -> None:
    """With and without; a pattern may begin with a step that is left out."""
    pattern = A.followed_by("b").where(fits("b")).optional().followed_by("c").where(fits("c"))
    assert sorted(matched(pattern, "a b1 c")) == ["a b1 c", "a c"]
    pattern = patterns.begin("a", str).where(fits("a")).optional().next("b").where(fits("b"))
    assert sorted(matched(pattern, "a b")) == ["a b", "b"]


def test_a_number_from_to() -> None:
    """A match for each number, or the highest when greedy."""
    pattern = A.times(2, 3).consecutive()
    assert matched(pattern, "a1 a2 a3 x") == ["a1 a2", "a1 a2 a3", "a2 a3"]
    assert matched(pattern.greedy(), "a1 a2 a3 x") == ["a1 a2 a3", "a2 a3"]


def test_a_match_names_its_records() -> None:
    """By step; a step that took none has none, one that is not there is an error."""
    match = Match("k", 1, 3, {"a": [1], "b": [2, 3], "c": []})
    assert (match["b"], match.first("b"), match.last("b"), match["c"]) == ([2, 3], 2, 3, [])
    with pytest.raises(LookupError):
        match.first("c")
    with pytest.raises(KeyError):
        match["d"]


def test_a_pattern_says_what_it_is() -> None:
    """As a refused checkpoint shows it."""
    pattern = A.times(2, 3).consecutive().greedy().not_next("n").followed_by_any("b").one_or_more().until(fits("c"))
    pattern = pattern.next("c").optional().within_previous("5s").within("1m")
    assert str(pattern) == (
        "begin('a') 2 to 3 consecutive greedy, not_next('n'), followed_by_any('b') 1 or more until, "
        "next('c') optional within_previous 5s within 1m"
    )


NOTHING = patterns.begin("a").where(lambda v: False)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: patterns.begin(""), "not empty"),
        (lambda: NOTHING.next("a"), "two steps 'a'"),
        (lambda: NOTHING.times(0), r"times\(0\) needs 1 <= least <= most"),
        (lambda: NOTHING.times(3, 2), r"times\(3, 2\) needs"),
        (lambda: NOTHING.within("0ms"), "within must be longer than 0ms"),
        (lambda: NOTHING.within_previous("0ms"), "within_previous must be longer"),
        (lambda: NOTHING.next("b").or_where(lambda v: True), "or_where comes after a where"),
        (lambda: NOTHING.where(5), "where takes a function"),  # type: ignore[arg-type]  # that is the mistake
        (lambda: NOTHING.where(lambda: True), "where takes a function"),  # type: ignore[arg-type,misc]  # as above
        (lambda: NOTHING.where(lambda a, b, c: True), "where takes a function"),  # type: ignore[arg-type,misc]  # as above
    ],
)
def test_a_bad_step_is_refused_where_it_is_written(make: Any, message: str) -> None:
    """One line that says what is wrong."""
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("a", "match takes a pattern"),
        (NOTHING.greedy(), "greedy means nothing"),
        (NOTHING.consecutive(), "consecutive speaks of several records"),
        (NOTHING.allow_combinations(), "allow_combinations speaks of several records"),
        (NOTHING.until(lambda v: True), "until ends a loop"),
        (NOTHING.not_next("b").times(2), "'b' must not come: it cannot have a number"),
        (NOTHING.not_next("b").optional().next("c"), "'b' must not come"),
        (
            NOTHING.not_followed_by("b").within_previous("1s").next("c"),
            "within_previous is for steps that take records",
        ),
        (NOTHING.not_followed_by("b"), r"ends with not_followed_by\('b'\) must know how long to wait"),
        (NOTHING.not_followed_by("b").not_next("c"), r"ends with not_followed_by\('b'\) must know"),
        (NOTHING.one_or_more().greedy(), "greedy step 'a' never knows whether it has all"),
        (NOTHING.next("b").one_or_more().greedy().next("c").optional(), "greedy step 'b' never knows"),
    ],
)
def test_a_pattern_that_cannot_be_carried_out_is_refused(pattern: Pattern[Any], message: str) -> None:
    """When the operator is made; the message names the step and the remedy."""
    with pytest.raises(ValueError, match=message):
        PatternMatch(pattern)


def test_skipping_to_a_step_that_is_not_there_is_refused() -> None:
    """A step that must not come takes no records either."""
    pattern = NOTHING.not_next("n").next("b")
    for step in ("n", "c"):
        with pytest.raises(ValueError, match=rf"skip_to_last\('{step}'\): the pattern has no such step"):
            PatternMatch(pattern, after_match=patterns.skip_to_last(step))


def group() -> Pattern[str]:
    """An `a`, and later a `b`."""
    return patterns.begin("a", str).where(fits("a")).followed_by("b").where(fits("b"))


C = patterns.begin("c", str).where(fits("c"))


def rounds(pattern: Pattern[str], values: str) -> list[str]:
    """The matches, each with its records in the order in which they came."""
    order = values.split()
    return [" ".join(sorted(match.split(), key=order.index)) for match in matched(pattern, values)]


@pytest.mark.parametrize(
    ("number", "wanted"),
    [
        (lambda p: p, ["c a1 b1 d"]),
        (lambda p: p.times(2), ["c a1 b1 a2 b2 d"]),
        (lambda p: p.times(2, 3), ["c a1 b1 a2 b2 a3 b3 d", "c a1 b1 a2 b2 d"]),
        (lambda p: p.one_or_more(), ["c a1 b1 a2 b2 a3 b3 d", "c a1 b1 a2 b2 d", "c a1 b1 d"]),
        (lambda p: p.times_or_more(3), ["c a1 b1 a2 b2 a3 b3 d"]),
        (lambda p: p.times(4), []),
        (lambda p: p.times(3).optional(), ["c a1 b1 a2 b2 a3 b3 d", "c d"]),
        (lambda p: p.one_or_more().consecutive(), ["c a1 b1 a2 b2 d", "c a1 b1 d"]),
    ],
)
def test_a_group_of_steps_comes_so_often(number: Any, wanted: list[str]) -> None:
    """All its steps, one round after the other; the third round stands apart."""
    pattern = number(C.followed_by(group())).followed_by("d").where(fits("d"))
    assert sorted(rounds(pattern, "c a1 b1 a2 b2 x a3 b3 d")) == wanted


def test_rounds_of_a_group_may_leave_out_records() -> None:
    """Any round that fits goes on."""
    pattern = C.followed_by(group()).times(2).allow_combinations().followed_by("d").where(fits("d"))
    assert sorted(rounds(pattern, "c a1 b1 a2 b2 a3 b3 d")) == ["c a1 b1 a2 b2 d", "c a1 b1 a3 b3 d"]


def test_a_pattern_may_begin_and_end_with_groups() -> None:
    """One behind the other, each with its own number."""
    second = patterns.begin("c", str).where(fits("c")).next("d").where(fits("d"))
    pattern = patterns.begin(group()).times(2).next(second).optional()
    assert sorted(rounds(pattern, "a1 b1 a2 b2 c d")) == ["a1 b1 a2 b2", "a1 b1 a2 b2 c d"]


def test_what_must_not_come_inside_a_group_ends_the_round() -> None:
    """And with it what waits for the round."""
    quiet = patterns.begin("a", str).where(fits("a")).not_followed_by("x").where(fits("x"))
    pattern = patterns.begin(quiet.followed_by("b").where(fits("b"))).times(2)
    assert rounds(pattern, "a1 b1 a2 b2") == ["a1 b1 a2 b2"]
    assert rounds(pattern, "a1 b1 a2 x b2") == []
    assert rounds(pattern, "a1 b1 x a2 b2") == ["a1 b1 a2 b2"]


def test_a_group_is_told_apart_in_words() -> None:
    """So that the state of another pattern is refused."""
    pattern = C.followed_by(group()).one_or_more().consecutive().optional()
    assert str(pattern) == "begin('c'), group 1 or more consecutive optional (followed_by('a'), followed_by('b'))"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: C.not_followed_by(group()), "what must not come is a step, not a group"),
        (lambda: C.next(A), "a group has two steps or more: give step 'a' its number itself"),
        (lambda: C.next(group().within("1s")), "a group has no within"),
        (lambda: C.next(patterns.begin(group())), "a group cannot have groups in it"),
        (lambda: C.next(group().optional()), "step 'b': a group begins and ends with a step that takes a record"),
        (lambda: C.next(group().not_next("x")), "step 'x': a group begins and ends with a step that takes a record"),
        (lambda: A.next(group()), "two steps 'a'"),
        (lambda: C.next(group()).where(fits("b")), "the newest step is a group"),
        (lambda: C.next(group()).greedy(), "the newest step is a group"),
        (
            lambda: PatternMatch(C.next(group()).consecutive(), type=str),
            "the group of 'a': consecutive speaks of several",
        ),
        (
            lambda: PatternMatch(
                C.next(patterns.begin("a", str).one_or_more().greedy().next("b")).one_or_more(), type=str
            ),
            "ends with the greedy step 'a' never knows whether it has all",
        ),
    ],
)
def test_what_cannot_be_a_group_is_refused(make: Any, message: str) -> None:
    """One clear line when the pattern is made, or the topology is built."""
    with pytest.raises(ValueError, match=message):
        make()
