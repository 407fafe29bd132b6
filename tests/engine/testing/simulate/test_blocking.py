"""Functions that stop where they wait."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from tidegate.engine.testing.simulate.blocking import BlockingCall, pause


@pytest.fixture
def threads():
    """Where the functions run."""
    with ThreadPoolExecutor(4) as pool:
        yield pool


def test_a_function_runs_from_pause_to_pause(threads):
    """In between others run; its result is there at the end."""
    seen: list[str] = []

    def work(name: str) -> str:
        for step in range(2):
            seen.append(f"{name}{step}")
            pause(step)
        return name

    first, second = BlockingCall(work, ("a",)), BlockingCall(work, ("b",))
    assert not first.resume(threads)
    assert not second.resume(threads)
    assert not first.resume(threads)
    assert first.delay == 1
    assert first.resume(threads)
    assert (seen, first.result, first.error) == (["a0", "b0", "a1"], "a", None)
    assert not second.resume(threads)
    assert second.resume(threads)


def test_an_error_can_be_raised_where_it_pauses(threads):
    """So does a process that dies get rid of its threads."""

    def work() -> None:
        pause(1)

    call = BlockingCall(work, ())
    assert not call.resume(threads)
    assert call.resume(threads, KeyError("dead"))
    assert isinstance(call.error, KeyError)


def test_outside_of_a_call_there_is_no_pause():
    """What calls the world from the loop itself goes on at once."""
    pause(1)
