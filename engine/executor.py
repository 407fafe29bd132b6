"""The one seam through which work that blocks leaves the event loop."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, Final, Protocol, TypeVar

R = TypeVar("R")

_SWITCH_S: Final = 0.0005


class Executor(Protocol):
    """Where blocking work runs: threads in a running job, in line under a simulated loop."""

    def run(self, function: Callable[..., R], *args: Any) -> Coroutine[Any, Any, R]:
        """The function's result, to be awaited; it may begin at once. A cancelled caller is cancelled once the function has
        ended: nothing goes on behind the back of whoever cleans up."""
        ...

    def close(self) -> None:
        """Wait for what has begun and give the threads back."""
        ...


class ThreadExecutor:
    """A small pool of threads, started when first needed."""

    def __init__(self, threads: int = 4) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="tidegate")

    def run(self, function: Callable[..., R], *args: Any) -> Coroutine[Any, Any, R]:
        return _finished(asyncio.get_running_loop().run_in_executor(self._pool, _heard, function, *args))

    def close(self) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)


class InlineExecutor:
    """Runs everything at once on the loop: deterministic, for tests and simulation."""

    async def run(self, function: Callable[..., R], *args: Any) -> R:
        await asyncio.sleep(0)
        return function(*args)

    def close(self) -> None:
        pass


class _Switching:
    """While blocking work is under way, the interpreter's lock changes hands sooner.

    A thread that comes back from a file or a hash waits for the lock until the loop gives it away, which it does every 5 ms
    where it never waits for anything itself: files of a few hundred pieces would take seconds to store, and a checkpoint
    with them. The interval is the process's own, so it is given back as soon as nothing is under way in any job.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._under_way = 0
        self._before = 0.0

    def __enter__(self) -> None:
        with self._lock:
            if self._under_way == 0:
                self._before = sys.getswitchinterval()
                if self._before > _SWITCH_S:
                    sys.setswitchinterval(_SWITCH_S)
            self._under_way += 1

    def __exit__(self, *exc_info: object) -> None:
        with self._lock:
            self._under_way -= 1
            if self._under_way == 0 and self._before > _SWITCH_S:
                # Kept in whole microseconds, cut off: half a one more, so that it does not shrink each time.
                sys.setswitchinterval(self._before + 5e-7)


_switching: Final = _Switching()


def _heard(function: Callable[..., R], *args: Any) -> R:
    with _switching:
        return function(*args)


async def _finished(running: asyncio.Future[R]) -> R:
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        while not running.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait([running])
        running.exception()  # seen, so that the loop does not report it
        raise
