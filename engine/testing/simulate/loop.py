"""An event loop that the simulation turns, one callback at a time."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable
from contextlib import suppress
from contextvars import Context
from itertools import count
from typing import Any, TypeVarTuple

Args = TypeVarTuple("Args")


class VirtualTime:
    """Seconds since the simulation began. Moves only when the simulation says so."""

    def __init__(self, start_ms: int) -> None:
        self.now = 0.0
        self.start_ms = start_ms


class _Task(asyncio.Task[Any]):
    """A task whose hash is its number: asyncio keeps tasks in sets, and cancels them in the order of their hashes."""

    def __init__(self, coroutine: Any, number: int, **settings: Any) -> None:
        self._number = number
        super().__init__(coroutine, **settings)

    def __hash__(self) -> int:
        return self._number

    def __eq__(self, other: object) -> bool:
        return self is other


class SimulatedLoop(asyncio.AbstractEventLoop):
    """The loop of one simulated process: it knows what is ready and what is due, and does nothing by itself.

    There are no sockets, no signals and no threads: what needs them fails with what asyncio's abstract loop raises.

    Attributes:
        ready: callbacks that may run now, in the order in which they became ready.
        errors: what nobody has retrieved or handled, as `call_exception_handler` was told.
    """

    def __init__(self, time: VirtualTime) -> None:
        self.ready: list[asyncio.Handle] = []
        self.errors: list[dict[str, Any]] = []
        self._time = time
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._serials = count()
        self._tasks: list[asyncio.Task[Any]] = []
        self._closed = False

    # ------------------------------------------------------ the simulation's

    @property
    def next_due(self) -> float | None:
        """When the earliest timer is due; None without any."""
        while self._timers and self._timers[0][2].cancelled():
            heapq.heappop(self._timers)
        return self._timers[0][0] if self._timers else None

    @property
    def unfinished(self) -> list[asyncio.Task[Any]]:
        """The tasks that have not ended."""
        return [task for task in self._tasks if not task.done()]

    def make_due_ready(self) -> None:
        """Let the timers whose time has come be among the ready."""
        while (due := self.next_due) is not None and due <= self._time.now:
            self.ready.append(heapq.heappop(self._timers)[2])

    def run_one(self, index: int) -> None:
        """Run one of the ready callbacks."""
        handle = self.ready.pop(index)
        if handle.cancelled():
            return
        before = asyncio._get_running_loop()
        asyncio._set_running_loop(self)
        try:
            handle._run()
        finally:
            asyncio._set_running_loop(before)

    def discard(self) -> None:
        """The process is dead: nothing of it runs any more. Its coroutines are closed, so that what they hold is free; the
        simulation lets none of their clean-up reach the world."""
        self.ready.clear()
        self._timers.clear()
        self._closed = True
        before = asyncio._get_running_loop()
        asyncio._set_running_loop(self)
        try:
            for task in self.unfinished:
                with suppress(BaseException):
                    task.get_coro().close()
        finally:
            asyncio._set_running_loop(before)
        self._tasks.clear()

    # --------------------------------------------------------------- asyncio's

    def time(self) -> float:
        return self._time.now

    def call_soon(
        self, callback: Callable[[*Args], object], *args: *Args, context: Context | None = None
    ) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        if not self._closed:
            self.ready.append(handle)
        return handle

    def call_soon_threadsafe(
        self, callback: Callable[[*Args], object], *args: *Args, context: Context | None = None
    ) -> asyncio.Handle:
        return self.call_soon(callback, *args, context=context)

    def call_later(
        self, delay: float, callback: Callable[[*Args], object], *args: *Args, context: Context | None = None
    ) -> asyncio.TimerHandle:
        return self.call_at(self._time.now + delay, callback, *args, context=context)

    def call_at(
        self, when: float, callback: Callable[[*Args], object], *args: *Args, context: Context | None = None
    ) -> asyncio.TimerHandle:
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        if not self._closed:
            heapq.heappush(self._timers, (when, next(self._serials), handle))
        return handle

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """asyncio tells; cancelled timers are skipped when their time comes."""

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task(self, coro: Any, **settings: Any) -> asyncio.Task[Any]:
        if self._closed:
            coro.close()
            raise RuntimeError("the process is dead")
        task = _Task(coro, next(self._serials), loop=self, **settings)
        if len(self._tasks) > 2 * len(self.ready) + 64:
            self._tasks = [known for known in self._tasks if not known.done()]
        self._tasks.append(task)
        return task

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        if not self._closed:
            self.errors.append(context)

    def is_running(self) -> bool:
        return not self._closed

    def is_closed(self) -> bool:
        return self._closed

    def get_debug(self) -> bool:
        return False
