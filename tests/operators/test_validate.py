"""Rules that records must keep."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tidegate.engine.errors import OperatorError
from tidegate.engine.testing import OperatorHarness
from tidegate.operators.batch import Batch, Origin
from tidegate.operators.validate import InvalidRecordError, Validate

RULES = {"positive": lambda v: v > 0, "even": lambda v: v % 2 == 0, "small": lambda v: v < 100}


def test_what_keeps_all_rules_passes() -> None:
    """A batch in which nothing is wrong is passed on as it is."""
    with OperatorHarness(Validate(RULES)) as h:
        batch = Batch([2, 4])
        h.node.process(batch)
        assert h._main.batches == [batch]
        assert h.counters == {}


def test_fail_names_record_and_rules() -> None:
    """By default a broken rule ends the job, and the error names the record and every rule it breaks."""
    with OperatorHarness(Validate(RULES)) as h:
        with pytest.raises(OperatorError, match=r"record at 1 of split s: .* rules 'positive', 'even'") as raised:
            h.node.process(Batch([2, -1], origin=Origin("s", range(2))))
        cause = raised.value.__cause__
        assert isinstance(cause, InvalidRecordError)
        assert cause.rules == ("positive", "even")


def test_dead_letters_name_the_rules() -> None:
    """A dead letter's error says which rules the record breaks."""
    with OperatorHarness(Validate(RULES, on_fail="dead_letter")) as h:
        h.push([2, 3, 4, 101], timestamps=[1, 2, 3, 4])
        assert h.output == [(2, 1), (4, 3)]
        assert [(letter.value, letter.error) for letter in h.side("failed")] == [
            (3, "InvalidRecordError: the record breaks rule 'even'"),
            (101, "InvalidRecordError: the record breaks rules 'even', 'small'"),
        ]


def test_each_rule_counts_what_breaks_it() -> None:
    """Every rule is asked about every record, so that each counter is the whole truth."""
    with OperatorHarness(Validate(RULES, on_fail="skip")) as h:
        h.push([2, -1, 3]).push([101])
        assert h.values == [2]
        assert {name: n for name, n in h.counters.items() if name.startswith("rule.")} == {
            "rule.positive": 1,
            "rule.even": 3,
            "rule.small": 1,
        }
        assert h.counters["skipped"] == 3


def test_a_rule_that_raises_is_broken() -> None:
    """A record that a rule cannot judge is not valid, and the error says why."""
    with OperatorHarness(Validate(RULES, on_fail="dead_letter")) as h:
        h.push([None, 2])
        assert h.values == [2]
        [letter] = h.side("failed")
        assert "'positive' (TypeError: '>' not supported" in letter.error
        assert h.counters["rule.even"] == 1


def test_a_rule_without_a_truth_is_broken() -> None:
    """A StopIteration or an answer without a truth breaks the rule for that record alone."""

    def stops(v: int) -> Any:
        return next(iter([True][v:]))

    with OperatorHarness(Validate({"stops": stops}, on_fail="skip")) as h:
        assert h.push([0, 1, 0, 2]).values == [0, 0]
        assert h.counters["rule.stops"] == 2


def test_every_rule_is_asked_once_per_record() -> None:
    """A rule with a side effect sees each record once, also when another record fails."""
    seen: list[int] = []

    def rule(v: int) -> bool:
        seen.append(v)
        return 1 // v > 0

    with OperatorHarness(Validate({"rule": rule}, on_fail="skip")) as h:
        assert h.push([1, 0, 1]).values == [1, 1]
        assert seen == [1, 0, 1]


@pytest.mark.parametrize(("rules", "on_fail"), [({}, "fail"), (RULES, "ignore")])
def test_wrong_settings_are_refused(rules: Any, on_fail: Any) -> None:
    """No rule, or an unknown policy, is refused when the operator is described."""
    with pytest.raises(ValueError, match=r"rule|on_fail"):
        Validate(rules, on_fail=on_fail)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.lists(st.one_of(st.integers(-5, 110), st.none()), max_size=8), max_size=6))
def test_batch_boundaries_change_nothing(batches: list[list[int | None]]) -> None:
    """However the records are cut into batches, the same ones pass and the counters agree."""
    records = [v for batch in batches for v in batch]
    valid = [v for v in records if v is not None and 0 < v < 100 and v % 2 == 0]
    with OperatorHarness(Validate(RULES, on_fail="dead_letter")) as h:
        for batch in batches:
            h.push(batch)
        assert h.values == valid
        assert len(h.side("failed")) == len(records) - len(valid)
        assert h.counters.get("rule.even", 0) == len([v for v in records if v is None or v % 2])
