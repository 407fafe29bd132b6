"""Blocking work leaves the loop, and the interpreter's lock changes hands sooner while it is under way."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Iterator

import pytest
from tidegate.engine.executor import ThreadExecutor


@pytest.fixture
def executor() -> Iterator[ThreadExecutor]:
    made = ThreadExecutor(threads=2)
    yield made
    made.close()


async def test_the_lock_changes_hands_sooner_while_work_is_under_way_and_as_before_afterwards(
    executor: ThreadExecutor,
) -> None:
    """Two pieces of work at once: the interval is short until both have ended."""
    before = sys.getswitchinterval()
    begun, may_end = threading.Event(), threading.Event()

    def work() -> float:
        begun.set()
        may_end.wait()
        return sys.getswitchinterval()

    first, second = asyncio.ensure_future(executor.run(work)), asyncio.ensure_future(executor.run(work))
    await asyncio.to_thread(begun.wait)
    during = sys.getswitchinterval()
    may_end.set()
    seen = await asyncio.gather(first, second)

    assert during < before
    assert max(seen) < before
    assert sys.getswitchinterval() == before


async def test_an_interval_of_the_process_that_is_shorter_already_is_left_alone(executor: ThreadExecutor) -> None:
    """Somebody has set 0.1 ms."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(0.0001)
    try:
        own = sys.getswitchinterval()
        assert await executor.run(sys.getswitchinterval) == own
        assert sys.getswitchinterval() == own
    finally:
        sys.setswitchinterval(usual)


async def test_the_interval_does_not_shrink_however_often_it_is_given_back(executor: ThreadExecutor) -> None:
    """An odd interval is the same after a hundred pieces of work."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(0.0033)
    try:
        own = sys.getswitchinterval()
        for _ in range(100):
            await executor.run(int)
        assert sys.getswitchinterval() == own
    finally:
        sys.setswitchinterval(usual)


async def test_work_that_fails_gives_the_interval_back(executor: ThreadExecutor) -> None:
    """A division by zero."""
    before = sys.getswitchinterval()
    with pytest.raises(ZeroDivisionError):
        await executor.run(divmod, 1, 0)
    assert sys.getswitchinterval() == before
