"""The one seam through which work that blocks leaves the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, Protocol, TypeVar

R = TypeVar("R")


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
        return _finished(asyncio.get_running_loop().run_in_executor(self._pool, function, *args))

    def close(self) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)


class InlineExecutor:
    """Runs everything at once on the loop: deterministic, for tests and simulation."""

    async def run(self, function: Callable[..., R], *args: Any) -> R:
        await asyncio.sleep(0)
        return function(*args)

    def close(self) -> None:
        pass


async def _finished(running: asyncio.Future[R]) -> R:
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        while not running.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait([running])
        running.exception()  # seen, so that the loop does not report it
        raise
