"""Each record with what a coroutine finds for its key."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from tidegate.engine.errors import OperatorError
from tidegate.engine.testing import AsyncOperatorHarness
from tidegate.operators import Joined, Retry
from tidegate.operators.lookup_join import LookupJoin

ROWS = {1: "one", 2: "two", 3: "three"}


class Service:
    """Finds the rows above.

    Attributes:
        calls: what it was asked for.
        failures: how many calls fail before the others do not.
        gate: calls wait for it.
    """

    def __init__(self, failures: int = 0) -> None:
        self.calls: list[Any] = []
        self.failures = failures
        self.gate = asyncio.Event()
        self.gate.set()

    async def __call__(self, asked: Any) -> Any:
        self.calls.append(asked if isinstance(asked, int) else sorted(asked))
        await asyncio.sleep(0)
        await self.gate.wait()
        if self.failures:
            self.failures -= 1
            raise ConnectionError("no answer")
        return ROWS.get(asked) if isinstance(asked, int) else {key: ROWS[key] for key in asked if key in ROWS}


@asynccontextmanager
async def harness(function: Any, **options: Any) -> Any:
    async with AsyncOperatorHarness(LookupJoin(function, input_type=int, **options)) as h:
        yield h


@pytest.mark.parametrize("how", ["inner", "left"])
async def test_each_record_comes_with_what_is_found_for_its_key(how):
    """In order, with time and key; where nothing is found, as `how` says."""
    async with harness(Service(), how=how) as h:
        await h.push([10, 20, 90], [1, 2, 3], [1, 2, 9]).settle()
        found = [(Joined(10, "one"), 1), (Joined(20, "two"), 2), (Joined(90, None), 3)]
        assert h.output == found[: 2 if how == "inner" else 3]
        assert h.keys == [1, 2, 9][: len(h.output)]


async def test_the_key_may_be_made_of_the_record():
    """By a function or a field; then no keyed stream is needed. The values are what `select` makes."""
    async with harness(Service(), on=lambda value: value % 10, select=lambda value, row: (value, row)) as h:
        assert (await h.push([11, 21, 12]).settle()).values == [(11, "one"), (21, "one"), (12, "two")]


async def test_records_that_ask_at_the_same_time_share_a_call():
    """Also without a cache."""
    service = Service()
    async with harness(service) as h:
        await h.push([1, 2, 3], keys=[1, 1, 2]).settle()
        assert sorted(service.calls) == [1, 2]
        await h.push([4], keys=[1]).settle()
        assert sorted(service.calls) == [1, 1, 2]


async def test_answers_are_kept_for_their_time_to_live():
    """That there is none is an answer too; hits and misses are counted."""
    service = Service()
    async with harness(service, how="left", cache_size=10, cache_ttl="10s") as h:
        await h.push([1, 2], keys=[1, 9]).settle()
        await h.push([3, 4], keys=[9, 1]).settle()
        assert h.values == [Joined(1, "one"), Joined(2, None), Joined(3, None), Joined(4, "one")]
        assert sorted(service.calls) == [1, 9]
        assert (h.counters["cache_hits"], h.counters["cache_misses"]) == (2, 2)
        h.clock.advance(10)
        await h.push([5], keys=[1]).settle()
        assert sorted(service.calls) == [1, 1, 9]


async def test_a_hit_does_not_overtake_what_is_asked_for():
    """Ordered is ordered."""
    service = Service()
    async with harness(service, cache_size=10) as h:
        await h.push([1], keys=[1]).settle()
        service.gate.clear()
        h.push([2, 3], keys=[2, 1])
        assert (await h.collect()).values == [Joined(1, "one")]
        service.gate.set()
        assert (await h.settle()).values[1:] == [Joined(2, "two"), Joined(3, "one")]


async def test_keys_that_wait_are_asked_for_together():
    """Up to so many, each once."""
    service = Service()
    async with harness(service, batch_size=2, how="left") as h:
        await h.push([10, 11, 20, 30, 90], keys=[1, 1, 2, 3, 9]).settle()
        assert service.calls == [[1, 2], [3, 9]]
        assert [pair.right for pair in h.values] == ["one", "one", "two", "three", None]


async def test_a_failed_batch_is_tried_again_by_all_of_its_records():
    """Nobody is left behind; who is ready again at the same time asks together."""
    service = Service(failures=1)
    async with harness(service, batch_size=10, retry=Retry(attempts=2, delay="0ms")) as h:
        await h.push([10, 20], keys=[1, 2]).settle()
        assert h.values == [Joined(10, "one"), Joined(20, "two")]
        assert service.calls[0] == [1, 2]
        assert sorted(key for call in service.calls[1:] for key in call) == [1, 2]


@pytest.mark.parametrize("batch_size", [None, 5])
async def test_who_shares_a_call_that_is_given_up_tries_again(batch_size):
    """One record's patience is not another's."""
    calls: list[Any] = []

    async def given_up_at_first(asked: Any) -> Any:
        calls.append(asked)
        await asyncio.sleep(0)
        if len(calls) == 1:
            raise asyncio.CancelledError
        return ROWS[asked] if batch_size is None else {key: ROWS[key] for key in asked}

    retry = Retry(attempts=2, delay="0ms")
    async with harness(given_up_at_first, retry=retry, batch_size=batch_size) as h:
        await h.push([10, 11, 20], keys=[1, 1, 2]).settle()
        assert h.values == [Joined(10, "one"), Joined(11, "one"), Joined(20, "two")]


async def test_calls_in_flight_are_made_again_after_a_restore():
    """They are state."""
    service = Service()
    async with harness(service, batch_size=2) as h:
        service.gate.clear()
        h.push([10, 20], [1, 2], [1, 2])
        await h.collect()
        await h.crash_and_restore()
        service.gate.set()
        await h.settle()
        assert h.output == [(Joined(10, "one"), 1), (Joined(20, "two"), 2)]
        assert service.calls == [[1, 2], [1, 2]]


@pytest.mark.parametrize("problem", ["function", "on", "select"])
async def test_a_record_that_user_code_fails_on_goes_where_it_is_told(problem):
    """Whichever function it was; the others go on."""

    async def find(key: int) -> str:
        if problem == "function" and key == 2:
            raise KeyError(key)
        return ROWS[key]

    def key_of(value: int) -> int:
        return 1 // (value - 2) * 0 + value if problem == "on" else value

    def select(value: int, row: str) -> str:
        return str(1 // (value - 2))[:0] + row if problem == "select" else row

    async with harness(find, on=key_of, select=select, on_error="dead_letter") as h:
        await h.push([1, 2, 3]).settle()
        assert h.values == ["one", "three"]
        assert [letter.value for letter in h.side("failed")] == [Joined(2, "two") if problem == "select" else 2]


@pytest.mark.parametrize(
    ("function", "options", "message"),
    [
        (lambda key: ROWS[key], {}, "declare it with async def"),
        (Service(), {"batch_size": None, "on": lambda value: [value]}, "unhashable"),
    ],
)
async def test_a_function_that_cannot_be_one_fails_the_job(function, options, message):
    """With a word about what is wrong."""
    async with harness(function, **options) as h:
        h.push([1], keys=[1])
        with pytest.raises(OperatorError, match=message):
            for _ in range(10):
                try:
                    await h.collect()
                except Exception as error:
                    raise error if isinstance(error, OperatorError) else OperatorError("lookup", error) from error


async def test_a_batch_lookup_must_give_a_mapping():
    """A list could not say what was not found."""

    async def find(keys: Sequence[int]) -> Any:
        return [ROWS[key] for key in keys]

    async with harness(find, batch_size=5, on_error="dead_letter") as h:
        await h.push([1], keys=[1]).settle()
        assert "gives a mapping from key to row, but it gave a list" in h.side("failed")[0].error


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"how": "outer"}, "use one of 'inner', 'left'"),
        ({"cache_size": -1}, "at least 0"),
        ({"cache_ttl": "1m"}, "give cache_size too"),
        ({"batch_size": 0}, "at least one key"),
        ({"on": ""}, r"lookup_join\(''\): give a function, a field name"),
        ({"capacity": 0}, "at least one call"),
        ({"ordered": "key"}, "use True or False; calls of a key one after the other are for those that change"),
    ],
)
def test_a_wrong_setting_is_refused(settings, message):
    """One clear line when the topology is built."""
    with pytest.raises(ValueError, match=message):
        LookupJoin(Service(), input_type=int, **settings)
