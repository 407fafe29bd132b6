"""An event loop that moves only when it is told to."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tidegate.engine.testing.simulate.loop import SimulatedLoop, VirtualTime


@pytest.fixture
def time() -> VirtualTime:
    """The time of the loop."""
    return VirtualTime(0)


@pytest.fixture
def loop(time: VirtualTime) -> Any:
    """A loop and the time it goes by."""
    made: Any = SimulatedLoop
    return made(time)


def _turn(loop: SimulatedLoop) -> None:
    """Until nothing is ready."""
    while loop.ready:
        loop.run_one(0)


def test_a_task_goes_on_when_its_time_has_come(loop, time):
    """Nothing moves by itself: neither a callback nor time."""
    seen: list[float] = []

    async def main() -> None:
        seen.append(loop.time())
        await asyncio.sleep(5)
        seen.append(loop.time())

    task = loop.create_task(main())
    assert not seen
    _turn(loop)
    assert (seen, loop.next_due) == ([0.0], 5.0)
    loop.make_due_ready()
    assert not loop.ready
    time.now = 5.0
    loop.make_due_ready()
    _turn(loop)
    assert seen == [0.0, 5.0]
    assert task.done()


def test_callbacks_run_in_the_order_that_somebody_chooses(loop):
    """The ready ones are a list to choose from."""
    seen: list[int] = []
    for number in range(3):
        loop.call_soon(seen.append, number)
    loop.run_one(2)
    loop.run_one(0)
    loop.run_one(0)
    assert seen == [2, 0, 1]


def test_a_cancelled_timer_is_never_due(loop):
    """Time does not stop for it either."""
    loop.call_later(1, print, "never").cancel()
    assert loop.next_due is None


def test_what_is_discarded_runs_no_more(loop):
    """Coroutines are closed; what their clean-up begins does not begin."""
    seen: list[str] = []

    async def clean_up() -> None:
        seen.append("cleaned up")

    async def main() -> None:
        try:
            await asyncio.sleep(1)
            seen.append("woke up")
        finally:
            seen.append("closed")
            await asyncio.shield(clean_up())

    loop.create_task(main())
    _turn(loop)
    loop.discard()
    assert seen == ["closed"]
    assert (loop.ready, loop.next_due, loop.unfinished) == ([], None, [])


def test_the_network_is_not_there(loop):
    """What needs a socket fails instead of waiting for what never comes."""

    async def main() -> None:
        await asyncio.open_connection("127.0.0.1", 1)

    task = loop.create_task(main())
    _turn(loop)
    assert isinstance(task.exception(), NotImplementedError)


def test_tasks_are_cancelled_in_the_order_in_which_they_began(loop):
    """asyncio cancels the tasks of a group in the order of a set, which is one here and not that of addresses."""
    seen: list[int] = []

    async def waits(number: int) -> None:
        try:
            await asyncio.sleep(1)
        finally:
            seen.append(number)

    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            for number in range(20):
                group.create_task(waits(number))
            await asyncio.sleep(0)
            raise ValueError

    loop.create_task(main()).add_done_callback(lambda task: task.exception())
    _turn(loop)
    assert seen == sorted(seen)
    assert len(seen) == 20
