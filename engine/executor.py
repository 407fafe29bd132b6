"""The one seam through which work that blocks leaves the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol, TypeVar

R = TypeVar("R")


class Executor(Protocol):
    """Where blocking work runs: threads in a running job, in line under a simulated loop."""

    async def run(self, function: Callable[..., R], *args: Any) -> R:
        """The function's result. A cancelled caller stops waiting; a function that has begun runs to its end."""
        ...

    def close(self) -> None:
        """Wait for what has begun and give the threads back."""
        ...


class ThreadExecutor:
    """A small pool of threads, started when first needed."""

    def __init__(self, threads: int = 4) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="tidegate")

    async def run(self, function: Callable[..., R], *args: Any) -> R:
        return await asyncio.get_running_loop().run_in_executor(self._pool, function, *args)

    def close(self) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)


class InlineExecutor:
    """Runs everything at once on the loop: deterministic, for tests and simulation."""

    async def run(self, function: Callable[..., R], *args: Any) -> R:
        await asyncio.sleep(0)
        return function(*args)

    def close(self) -> None:
        pass
