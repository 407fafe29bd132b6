"""Policies for records that user code fails on."""

import sys
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tidegate.engine.errors import OperatorError
from tidegate.engine.testing import OperatorHarness
from tidegate.operators.batch import Batch, Origin
from tidegate.operators.errors import DeadLetter, Retry, check_on_error
from tidegate.operators.map import Map


class Flaky:
    """Fails on each value as often as it is told, then gives ten times the value."""

    def __init__(self, failures: dict[int, int]) -> None:
        self.failures = dict(failures)
        self.calls: list[int] = []

    def __call__(self, value: int) -> int:
        self.calls.append(value)
        left = self.failures.get(value, 0)
        if left:
            self.failures[value] = left - 1
            raise ValueError(f"no {value}")
        return value * 10


def counted(h: OperatorHarness[Any]) -> dict[str, int]:
    """Everything the operator has counted."""
    measures = h._measures
    own = {"errors": measures.errors, "dead_letters": measures.dead_letters}
    return {**h.counters, **{name: n for name, n in own.items() if n}}


def parse(text: str) -> int:
    return int(text)


@pytest.mark.parametrize("position", [0, 1, 4])
def test_extend_keeps_what_came_before_the_failure(position: int) -> None:
    """The interpreter keeps in a list what an iterator gave before it raised: the guard stands on this."""
    kept: list[int] = []
    flaky = Flaky({position: 1})
    values = iter(range(5))
    with pytest.raises(ValueError):
        kept.extend(map(flaky, values))
    assert kept == [10 * i for i in range(position)]
    assert list(values) == list(range(position + 1, 5))


def test_fail_names_the_record_and_keeps_the_users_error() -> None:
    """With "fail" the job's error names operator, split and offset, and the user's error is its cause."""
    with OperatorHarness(Map(parse)) as h:
        batch = Batch(["1", "2", "x", "4"], origin=Origin("part-0", range(100, 104)))
        with pytest.raises(OperatorError, match="record at 102 of split part-0: ValueError") as raised:
            h.node.process(batch)
        assert isinstance(raised.value.__cause__, ValueError)
        assert raised.value.offset == 102
        assert counted(h) == {"errors": 1}
        assert h.values == []


def test_fail_calls_the_function_no_further() -> None:
    """After the failure that ends the job no other record reaches the function."""
    flaky = Flaky({1: 1})
    with OperatorHarness(Map(flaky)) as h, pytest.raises(OperatorError):
        h.push([0, 1, 2, 3])
    assert flaky.calls == [0, 1]


def test_skip_leaves_out_and_counts() -> None:
    """With "skip" the record is missing, its neighbours are not."""
    with OperatorHarness(Map(parse, on_error="skip")) as h:
        h.push(["x", "1", "y", "2", "z"], timestamps=[1, 2, 3, 4, 5], keys=list("abcde"))
        assert h.output == [(1, 2), (2, 4)]
        assert h.keys == ["b", "d"]
        assert counted(h) == {"errors": 3, "skipped": 3}


def test_a_dead_letter_says_what_when_and_where() -> None:
    """A dead letter carries value, error, operator, attempt, event time, source offset and the user's frames."""
    with OperatorHarness(Map(parse, on_error="dead_letter")) as h:
        h.node.process(
            Batch(["1", "x"], timestamps=[5, 6], keys=["a", "b"], origin=Origin("part-0", ["byte 0", "byte 2"]))
        )
        assert h.values == [1]
        [letter] = h.side("failed")
        assert msgspec.structs.replace(letter, traceback=()) == DeadLetter(
            value="x",
            error="ValueError: invalid literal for int() with base 10: 'x'",
            operator="operator",
            attempt=1,
            timestamp_ms=6,
            split="part-0",
            offset="byte 2",
        )
        assert len(letter.traceback) == 1
        assert letter.traceback[0].endswith("in parse")
        assert "test_errors.py:" in letter.traceback[0]
        assert counted(h) == {"errors": 1, "dead_letters": 1}


def test_a_dead_letter_can_be_written_as_json() -> None:
    """A dead letter of a plain value goes through a JSON sink and comes back equal."""
    letter = DeadLetter(value={"a": 1}, error="E", operator="o", attempt=2, offset=[1, 2], traceback=("f:1 in g",))
    assert msgspec.json.decode(msgspec.json.encode(letter), type=DeadLetter[dict[str, int]]) == letter


def test_dead_letters_keep_timestamp_and_origin_of_their_records() -> None:
    """The batch on the side output stands where the records stood."""
    with OperatorHarness(Map(parse, on_error="dead_letter")) as h:
        h.node.process(Batch(["x", "1", "y"], timestamps=[7, 8, 9], origin=Origin("s", [10, 11, 12])))
        [sent] = h._sides["failed"].batches
        assert sent.timestamps == [7, 9]
        assert [sent.locate(i) for i in range(2)] == [("s", 10), ("s", 12)]


def test_retry_tries_again_at_once() -> None:
    """A record whose second or third try works is a record like any other, in its place."""
    flaky = Flaky({1: 2, 3: 1})
    with OperatorHarness(Map(flaky, on_error=Retry(attempts=3))) as h:
        assert h.push(range(5)).values == [0, 10, 20, 30, 40]
        assert flaky.calls == [0, 1, 1, 1, 2, 3, 3, 4]
        assert counted(h) == {"retries": 3}


def test_retry_gives_up_and_does_what_comes_then() -> None:
    """When the last try fails, `then` decides, and the dead letter says how many tries there were."""
    with OperatorHarness(Map(Flaky({1: 9}), on_error=Retry(attempts=4, then="dead_letter"))) as h:
        assert h.push(range(3)).values == [0, 20]
        [letter] = h.side("failed")
        assert letter.tries == 4
        assert counted(h) == {"retries": 3, "errors": 1, "dead_letters": 1}


def test_a_stop_iteration_is_a_failure_and_not_the_end() -> None:
    """A StopIteration that leaves a user function does not swallow the records behind it."""

    def first(value: list[int]) -> int:
        return next(iter(value))

    with OperatorHarness(Map(first, on_error="dead_letter")) as h:
        assert h.push([[1], [], [3], []]).values == [1, 3]
        assert [letter.error for letter in h.side("failed")] == ["RuntimeError: the function raised StopIteration"] * 2


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_what_is_no_exception_passes_through(error: type[BaseException]) -> None:
    """An interrupt is not a record's failure, whatever the policy."""

    def interrupted(_: int) -> int:
        raise error

    with OperatorHarness(Map(interrupted, on_error="skip")) as h, pytest.raises(error):
        h.push([1])


def test_many_failures_cost_time_in_proportion() -> None:
    """A batch in which every record fails is worked through in one pass."""
    flaky = Flaky(dict.fromkeys(range(20_000), 1))
    with OperatorHarness(Map(flaky, on_error="skip")) as h:
        assert h.push(range(20_000)).values == []
        assert len(flaky.calls) == 20_000


@settings(max_examples=60, deadline=None)
@given(
    failures=st.dictionaries(st.integers(0, 30), st.integers(1, 3)),
    size=st.integers(1, 31),
    cuts=st.lists(st.integers(1, 8), max_size=10),
    policy=st.sampled_from(["skip", "dead_letter", Retry(attempts=2, then="skip"), Retry(then="dead_letter")]),
)
def test_failures_do_not_depend_on_batch_boundaries(
    failures: dict[int, int], size: int, cuts: list[int], policy: Any
) -> None:
    """Results, dead letters and counters are those of a plain loop, wherever batches are cut."""
    tries = policy.attempts if isinstance(policy, Retry) else 1
    then = policy.then if isinstance(policy, Retry) else policy
    lost = [i for i in range(size) if failures.get(i, 0) >= tries]
    with OperatorHarness(Map(Flaky(failures), on_error=policy)) as h:
        start = 0
        for cut in [*cuts, size]:
            h.push(range(start, min(start + cut, size)))
            start = min(start + cut, size)
        assert h.values == [10 * i for i in range(size) if i not in lost]
        letters = [letter.value for letter in h.side("failed")]
        assert letters == (lost if then == "dead_letter" else [])
        assert counted(h).get("errors", 0) == len(lost)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Retry(attempts=0), "attempts=0"),
        (lambda: Retry(backoff=0.5), "backoff=0.5"),
        (lambda: Retry(jitter=2), "jitter=2"),
        (lambda: Retry(delay="soon"), "'soon' is not a duration"),
        (lambda: Retry(then="explode"), "then='explode'"),
        (lambda: check_on_error("ignore"), "on_error='ignore' is not known"),
        (lambda: check_on_error(Retry(), retry=False), "may have changed state"),
    ],
)
def test_a_wrong_policy_is_refused(make: Callable[[], Any], message: str) -> None:
    """A policy that makes no sense is refused when the topology is built."""
    with pytest.raises(ValueError, match=message):
        make()


def test_waits_grow_up_to_the_longest() -> None:
    """Without jitter the waits are delay, delay × backoff, … up to `max_delay`."""
    retry = Retry(attempts=9, delay="100ms", backoff=3, max_delay="2s")
    assert [retry.wait_ms(n, "x") for n in range(1, 6)] == [100, 300, 900, 2000, 2000]
    assert Retry(attempts=sys.maxsize, backoff=10).wait_ms(2_000, "x") == 30_000


def test_jitter_is_spread_but_the_same_in_every_run() -> None:
    """Jitter shortens each wait by its share, differently for different calls, the same for the same call."""
    retry = Retry(delay="1s", jitter=0.5)
    waits = [retry.wait_ms(1, f"operator/0/{serial}") for serial in range(200)]
    assert waits == [retry.wait_ms(1, f"operator/0/{serial}") for serial in range(200)]
    assert all(500 <= wait <= 1000 for wait in waits)
    assert len(set(waits)) > 150
