"""Crashes at every place where a process can die: counted in one run, died at in others.

    points = CrashPoints(folder)                 # a first run counts
    crash_run(points, lambda: job(points.executor))
    for index in range(len(points.labels)):      # then one run for each
        points = CrashPoints(folder, die_at=index)
        with suppress(SimulatedCrash): crash_run(points, ...)
        ...                                      # a new job over the same folder must put everything right

A point is: before a coroutine of the loop goes on after an `await`; before and after a call of the executor; before
an I/O call of Python on the folder (open, rename, link, remove, mkdir, rmdir, list). Once a run has died, no I/O
call on the folder and no call of the executor gets through, so that what cleans up behind an exception
cannot do what a dead process could not have done. Runs on one thread and with a clock that stands still, so
that equal runs have equal points.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Coroutine, Generator
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

R = TypeVar("R")


class SimulatedCrash(BaseException):
    """The process has died. Nothing handles it."""


class CrashPoints:
    """The points of one run, and the one to die at.

    Args:
        folder: I/O calls on what lies below are points.
        die_at: the number of the point to die at, from 0; None to count only.

    Attributes:
        labels: what each point reached so far was.
        dead: whether the run has died.
        executor: the executor to give to the job.
        clock: the clock to give to the job.
    """

    def __init__(self, folder: Path, die_at: int | None = None) -> None:
        self.labels: list[str] = []
        self.dead = False
        self.executor = CrashingExecutor(self)
        self.clock = StoppedClock()
        self._folder = str(folder)
        self._die_at = die_at

    def reach(self, label: str) -> None:
        """Here the run may die.

        Raises:
            SimulatedCrash: it dies here, or has died before.
        """
        if not self.dead:
            self.labels.append(label)
            self.dead = len(self.labels) - 1 == self._die_at
        if self.dead:
            raise SimulatedCrash(self.labels[-1])

    def audited(self, call: str, arguments: tuple[Any, ...]) -> None:
        """Python is about to make an I/O call."""
        if call in _IO_CALLS:
            for path in arguments[:2]:
                if isinstance(path, str | os.PathLike) and os.fspath(path).startswith(self._folder):
                    self.reach(f"{call} {os.fspath(path)[len(self._folder) + 1 :]}")
                    return


_IO_CALLS = frozenset(
    ("open", "os.rename", "os.link", "os.remove", "os.mkdir", "os.rmdir", "os.listdir", "os.scandir", "os.truncate")
)


class CrashingExecutor:
    """Runs everything in line, with a point before and after each call."""

    def __init__(self, points: CrashPoints) -> None:
        self._points = points

    async def run(self, function: Callable[..., R], *args: Any) -> R:
        name = getattr(function, "__qualname__", repr(function))
        if self._points.dead and name.endswith(".close"):
            # What the operating system does for a dead process: it closes its databases.
            return function(*args)
        await asyncio.sleep(0)
        self._points.reach(f"before {name}")
        result = function(*args)
        self._points.reach(f"after {name}")
        return result

    def close(self) -> None:
        pass


class StoppedClock:
    """No time passes: whoever waits for an event waits until it is set, whoever sleeps sleeps for ever."""

    def now_ms(self) -> int:
        return 1_700_000_000_000

    def monotonic(self) -> float:
        return 0.0

    async def sleep(self, seconds: float) -> None:
        if seconds > 0:
            await asyncio.Event().wait()
        await asyncio.sleep(0)

    async def wait(self, event: asyncio.Event, seconds: float | None) -> bool:
        await event.wait()
        return True


def crash_run(points: CrashPoints, main: Callable[[], Coroutine[Any, Any, R]]) -> R:
    """Run a coroutine on a loop of its own in which every await, executor call and I/O call is a point.

    Raises:
        SimulatedCrash: the run has died, whatever else has been raised on the way.
    """

    def new_loop() -> asyncio.AbstractEventLoop:
        loop = asyncio.new_event_loop()
        loop.set_task_factory(make_task)
        # What dies with the run is no news.
        loop.set_exception_handler(lambda _loop, _context: None)
        return loop

    def make_task(loop: asyncio.AbstractEventLoop, coroutine: Any, **settings: Any) -> asyncio.Task[Any]:
        return asyncio.Task(_Stepped(coroutine, points), loop=loop, **settings)

    watched = _watched()
    watched.append(points)
    try:
        with asyncio.Runner(loop_factory=new_loop) as runner:
            return runner.run(main())
    except BaseException as error:
        if points.dead:
            raise SimulatedCrash(points.labels[-1]) from error
        raise
    finally:
        watched.remove(points)
        if points.dead:
            _give_back_locks(points._folder)


class _Stepped(Coroutine[Any, Any, Any]):
    """A coroutine with a point before each of its steps."""

    def __init__(self, coroutine: Any, points: CrashPoints) -> None:
        self._coroutine = coroutine
        self._points = points

    def send(self, value: Any) -> Any:
        if not self._points.dead:
            try:
                self._points.reach(f"await {_where(self._coroutine)}")
            except SimulatedCrash as crash:
                return self._coroutine.throw(crash)
        return self._coroutine.send(value)

    def throw(self, *error: Any) -> Any:
        return self._coroutine.throw(*error)

    def close(self) -> None:
        self._coroutine.close()

    def __await__(self) -> Generator[Any, Any, Any]:
        return (yield from self._coroutine.__await__())


def _where(coroutine: Any) -> str:
    """The function that goes on, and its line."""
    while getattr(coroutine, "cr_await", None) is not None and hasattr(coroutine.cr_await, "cr_frame"):
        coroutine = coroutine.cr_await
    frame = getattr(coroutine, "cr_frame", None)
    line = "" if frame is None else f":{frame.f_lineno}"
    return f"{getattr(coroutine, '__qualname__', coroutine)}{line}"


@cache
def _watched() -> list[CrashPoints]:
    """The runs under way. An audit hook can only be added, never removed: there is one for all."""
    runs: list[CrashPoints] = []

    def hook(call: str, arguments: tuple[Any, ...]) -> None:
        if runs:
            runs[-1].audited(call, arguments)

    sys.addaudithook(hook)
    return runs


def _give_back_locks(folder: str) -> None:
    """What the operating system does for a dead process: it lets go of its file locks."""
    for name in os.listdir("/proc/self/fd"):
        path = f"/proc/self/fd/{name}"
        if os.path.islink(path):
            target = os.readlink(path)
            if target.startswith(folder) and target.endswith("/.lock"):
                os.close(int(name))
