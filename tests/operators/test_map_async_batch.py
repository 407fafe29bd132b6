"""Many records for as many others, by one call of a coroutine."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tidegate.engine.errors import OperatorError
from tidegate.engine.testing import AsyncOperatorHarness
from tidegate.operators.errors import Retry
from tidegate.operators.map_async_batch import MapAsyncBatch


class Bulk:
    """Answers ten times each value; some values fail a number of times, and some calls as a whole."""

    def __init__(self, failures: dict[int, int] | None = None) -> None:
        self.calls: list[list[int]] = []
        self.failures = dict(failures or {})
        self.gate = asyncio.Event()
        self.gate.set()

    async def __call__(self, values: list[int]) -> list[int | Exception]:
        self.calls.append(values)
        await self.gate.wait()
        return [self._answer(value) for value in values]

    def _answer(self, value: int) -> int | Exception:
        if self.failures.get(value, 0) > 0:
            self.failures[value] -= 1
            return ConnectionError(f"no answer to {value}")
        return value * 10


@asynccontextmanager
async def harness(function: Any, **options: Any) -> AsyncIterator[AsyncOperatorHarness[Any]]:
    settings = {"max_batch": 3, "linger": "50ms", "input_type": int, **options}
    async with AsyncOperatorHarness(MapAsyncBatch(function, **settings)) as h:
        yield h


async def test_full_batches_are_called_at_once_and_the_rest_after_the_linger() -> None:
    """The first that waits does so for `linger`, no longer."""
    bulk = Bulk()
    async with harness(bulk) as h:
        h.push(range(7)).watermark(5)
        await h.collect()
        assert (bulk.calls, h.values, h.watermarks) == ([[0, 1, 2], [3, 4, 5]], [0, 10, 20, 30, 40, 50], [])
        h.clock.advance_ms(49)
        h.push([7])
        await h.collect()
        assert len(bulk.calls) == 2
        h.clock.advance_ms(1)
        await h.settle()
        assert (bulk.calls[2:], h.values[6:], h.watermarks) == ([[6, 7]], [60, 70], [5])


async def test_no_more_calls_than_capacity() -> None:
    """And no more records are taken in than fill them."""
    bulk = Bulk()
    bulk.gate.clear()
    async with harness(bulk, capacity=2) as h:
        h.push(range(8))
        await h.collect()
        assert (bulk.calls, h.operator.ready) == ([[0, 1, 2], [3, 4, 5]], False)
        bulk.gate.set()
        await h.collect()
        h.clock.advance_ms(50)
        await h.settle()
        assert (bulk.calls[2:], h.values, h.operator.ready) == ([[6, 7]], [10 * n for n in range(8)], True)


async def test_only_the_records_that_failed_are_tried_again() -> None:
    """An exception in the place of a result speaks of its record; the last try decides."""
    bulk = Bulk({1: 1, 2: 9})
    retry = Retry(attempts=2, delay="1s", then="dead_letter")
    async with harness(bulk, retry=retry, ordered=False) as h:
        h.push([0, 1, 2], timestamps=[5, 6, 7])
        await h.collect()
        assert h.output == [(0, 5)]
        h.clock.advance_ms(1_000)
        await h.settle()
        assert (h.output[1:], bulk.calls) == ([(10, 6)], [[0, 1, 2], [1, 2]])
        [letter] = h.side("failed")
        assert (letter.value, letter.error, letter.tries) == (2, "ConnectionError: no answer to 2", 2)


async def test_a_call_that_raises_has_failed_for_all_its_records() -> None:
    """Each becomes a dead letter."""

    async def down(values: list[int]) -> list[int]:
        raise ConnectionError("down")

    async with harness(down, on_error="dead_letter") as h:
        h.push([1, 2, 3]).watermark(4)
        await h.settle()
        assert [letter.value for letter in h.side("failed")] == [1, 2, 3]
        assert h.watermarks == [4]


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ([1], "one result for each of 3 records, but the call gave 1"),
        (7, "needs a list of results, but the call gave a int"),
    ],
)
async def test_an_answer_of_another_shape_is_a_clear_error(answer: Any, message: str) -> None:
    """It cannot be said which result belongs to which record."""

    async def odd(values: list[int]) -> Any:
        return answer

    async with harness(odd) as h:
        h.push([1, 2, 3])
        with pytest.raises(OperatorError, match=message):
            await h.settle()


async def test_no_two_records_of_a_key_share_a_call() -> None:
    """With `ordered="key"` they go one after the other."""
    bulk = Bulk()
    async with harness(bulk, ordered="key") as h:
        h.push([1, 2, 3, 4], keys=["a", "a", "b", "c"])
        await h.collect()
        h.clock.advance_ms(50)
        await h.settle()
        assert bulk.calls == [[1, 3, 4], [2]]
        assert h.values == [10, 30, 40, 20]


def test_a_call_takes_at_least_one_record() -> None:
    """Said when the operator is made."""
    with pytest.raises(ValueError, match=r"map_async_batch\(max_batch=0\)"):
        MapAsyncBatch(Bulk(), max_batch=0, input_type=int)


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(st.tuples(st.integers(0, 99), st.sampled_from("ab")), max_size=5), max_size=6), st.data())
def test_every_record_has_one_result_wherever_it_crashes(batches: list[list[tuple[int, str]]], data: Any) -> None:
    """In order, in any order or in the order of its key; calls in flight at a crash are made again."""
    ordered = data.draw(st.sampled_from([True, False, "key"]))

    async def check() -> None:
        async with harness(Bulk(), ordered=ordered, capacity=2) as h:
            for batch in batches:
                h.push([value for value, _ in batch], keys=[key for _, key in batch])
                if data.draw(st.booleans()):
                    await h.collect()
                if data.draw(st.booleans()):
                    await h.crash_and_restore()
                h.clock.advance_ms(data.draw(st.sampled_from([0, 50])))
            while not h.operator.idle:
                await h.collect()
                h.clock.advance_ms(50)
            await h.collect()
            records = [record for batch in batches for record in batch]
            found = list(zip(h.values, h.keys, strict=True))
            wanted = [(value * 10, key) for value, key in records]
            assert sorted(found) == sorted(wanted)
            if ordered is True:
                assert found == wanted
            if ordered == "key":
                for key in "ab":
                    assert [r for r in found if r[1] == key] == [r for r in wanted if r[1] == key]

    asyncio.run(check())
