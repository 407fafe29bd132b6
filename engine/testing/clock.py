"""A clock that moves only when a test says so."""

from __future__ import annotations

import asyncio


class ManualClock:
    """Time stands still until `advance`. Sleepers wake in order of their time.

    `advance` is synchronous: sleepers whose time has come are made ready and run when the test next awaits. A task that
    then sleeps again is not woken by the same `advance`: use `run` to move in steps until the end.
    """

    def __init__(self, start_ms: int = 1_700_000_000_000) -> None:
        self._start_ms = start_ms
        self._elapsed = 0.0
        self._sleepers: list[tuple[float, asyncio.Event]] = []

    def now_ms(self) -> int:
        return self._start_ms + round(self._elapsed * 1000)

    def monotonic(self) -> float:
        return self._elapsed

    async def sleep(self, seconds: float) -> None:
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        await self.wait(asyncio.Event(), seconds)

    async def wait(self, event: asyncio.Event, seconds: float | None) -> bool:
        if event.is_set():
            return True
        if seconds is None:
            await event.wait()
            return True
        fired = asyncio.Event()
        sleeper = (self._elapsed + seconds, fired)
        self._sleepers.append(sleeper)
        async with asyncio.TaskGroup() as group:
            waits = [group.create_task(event.wait()), group.create_task(fired.wait())]
            try:
                await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for wait in waits:
                    wait.cancel()
                if sleeper in self._sleepers:
                    self._sleepers.remove(sleeper)
        return event.is_set()

    def advance(self, seconds: float) -> None:
        """Move time on by `seconds` and wake everyone whose time has come."""
        self._elapsed += seconds
        for when, fired in sorted(self._sleepers, key=lambda s: s[0]):
            if when <= self._elapsed:
                fired.set()
        self._sleepers = [s for s in self._sleepers if not s[1].is_set()]

    def advance_ms(self, milliseconds: int) -> None:
        """`advance` in milliseconds."""
        self.advance(milliseconds / 1000)

    async def run(self, seconds: float, step: float = 0.01) -> None:
        """Move on in small steps, letting everybody run in between."""
        end = self._elapsed + seconds
        while self._elapsed < end:
            self.advance(min(step, end - self._elapsed))
            for _ in range(5):
                await asyncio.sleep(0)
