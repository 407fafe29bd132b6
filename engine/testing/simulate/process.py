"""One simulated process: its loop, its clock, its executor, and when it dies."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from ...clock import SystemClock
from ..faults import SimulatedCrash
from .blocking import BlockingCall
from .loop import SimulatedLoop, VirtualTime
from .store import SimulatedStore

if TYPE_CHECKING:
    from .world import World

R = TypeVar("R")


@dataclass(frozen=True)
class Fate:
    """How a process ends.

    Attributes:
        kind: at the nth callback of its loop (`await`), or at the nth call to the outside world (`call`).
        at: which one, from 0.
        stops_s: not dead but stopped for so many seconds; None: dead.
    """

    kind: Literal["await", "call"]
    at: int
    stops_s: float | None = None


class Process:
    """One process of the job.

    Args:
        number: from 1.
        fate: None to live until it ends by itself.
        skew_ms: how wrong its clock is.

    Attributes:
        dead: nothing it does reaches the world any more.
        stopped_until: it stands still until then.
        superseded: another process has been started since.
        result: how its job ended; None while it runs and when it is dead.
        error: what its job raised.
    """

    def __init__(self, world: World, number: int, fate: Fate | None, skew_ms: int, seed: int) -> None:
        self.world = world
        self.number = number
        self.loop = SimulatedLoop(world.time)  # type: ignore[abstract]  # what it lacks raises: there is no network
        self.clock = SimulatedClock(world.time, skew_ms)
        self.executor = SimulatedExecutor(self)
        self.store: Any = SimulatedStore(self)
        self.dice = Random(seed)
        self.dead = False
        self.stopped_until = 0.0
        self.superseded = False
        self.result: Any = None
        self.error: BaseException | None = None
        self.awaits = 0
        self.calls = 0
        self._fate = fate
        self._main: asyncio.Task[Any] | None = None
        self._blocking: list[BlockingCall] = []

    def begin(self, main: Callable[[], Coroutine[Any, Any, Any]]) -> None:
        """Start; nothing runs before the first `step`."""
        before = asyncio._get_running_loop()
        asyncio._set_running_loop(self.loop)
        try:
            self._main = self.loop.create_task(main())
        finally:
            asyncio._set_running_loop(before)

    @property
    def over(self) -> bool:
        """Dead, or ended by itself."""
        return self.dead or (self._main is not None and self._main.done())

    def step(self, index: int) -> None:
        """Run one of its ready callbacks, unless it dies before it."""
        if self._meets_its_fate("await", self.awaits, "before a callback"):
            return
        self.awaits += 1
        self.loop.run_one(index)
        if self._main is not None and self._main.done() and not self.dead:
            self.error = None if self._main.cancelled() else self._main.exception()
            self.result = None if self.error is not None or self._main.cancelled() else self._main.result()

    def reach(self, what: str) -> None:
        """It is about to call the world, or has just done so.

        Raises:
            SimulatedCrash: it dies here, or has died before.
        """
        if self.dead:
            raise SimulatedCrash(what)
        self.world.tell(self, what)
        self._meets_its_fate("call", self.calls, what)
        if self.dead:
            raise SimulatedCrash(what)
        self.calls += 1

    def _meets_its_fate(self, kind: str, count: int, where: str) -> bool:
        fate = self._fate
        if fate is None or fate.kind != kind or fate.at != count:
            return False
        self._fate = None
        if fate.stops_s is None:
            self.die(where)
        else:
            self.stopped_until = self.world.time.now + fate.stops_s
            self.world.tell(self, f"STOPS for {fate.stops_s:.3f} s, {where}")
        return True

    def die(self, where: str) -> None:
        """SIGKILL."""
        self.dead = True
        self.world.tell(self, f"DIES {where}")

    def bury(self) -> None:
        """Free what a dead process holds, or what one that has ended has left."""
        self.dead = True
        for call in self._blocking:
            call.resume(self.world.threads, SimulatedCrash("dead"))
        self._blocking.clear()
        self.loop.discard()

    async def run_blocking(self, function: Callable[..., R], args: tuple[Any, ...]) -> R:
        """See `SimulatedExecutor.run`."""
        cancelled = False
        delay = self.world.call_delay()
        if not self.world.weather.pieces:
            await self.clock.sleep(delay)
            return function(*args)
        call = BlockingCall(function, args)
        self._blocking.append(call)
        while True:
            try:
                await self.clock.sleep(delay)
            except asyncio.CancelledError:
                cancelled = True
            if call.resume(self.world.threads):
                break
            delay = call.delay
        self._blocking.remove(call)
        if call.error is not None:
            raise call.error
        if cancelled:
            raise asyncio.CancelledError
        result: R = call.result
        return result


class SimulatedClock(SystemClock):
    """The clock of one process: virtual, and wrong by as much as the process's clock is."""

    def __init__(self, time: VirtualTime, skew_ms: int) -> None:
        self._time = time
        self._skew_ms = skew_ms

    def now_ms(self) -> int:
        return self._time.start_ms + round(self._time.now * 1000) + self._skew_ms

    def monotonic(self) -> float:
        return self._time.now


class SimulatedExecutor:
    """Runs blocking functions piece by piece: others run while one waits for the world."""

    def __init__(self, process: Process) -> None:
        self._process = process

    def run(self, function: Callable[..., R], *args: Any) -> Coroutine[Any, Any, R]:
        """The function's result. A cancelled caller is cancelled once the function has ended."""
        if self._process.dead:
            raise SimulatedCrash("dead")
        return self._process.run_blocking(function, args)

    def close(self) -> None:
        """There is nothing to give back."""
