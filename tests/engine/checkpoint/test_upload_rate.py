"""A limit on what goes to an object store."""

from __future__ import annotations

from tidegate.engine.checkpoint.upload_rate import UploadRate
from tidegate.engine.clock import SystemClock


class ClockOfWaits(SystemClock):
    """Whoever sleeps has slept at once; remembers how long."""

    def __init__(self) -> None:
        self.now = 100.0
        self.waits: list[float] = []

    def monotonic(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.now += seconds


async def test_the_rate_is_kept_over_many_pieces() -> None:
    """Ten megabytes at one megabyte a second: the last piece begins after nine seconds."""
    clock = ClockOfWaits()
    rate = UploadRate(1_000_000, clock)
    for _ in range(10):
        await rate.take(1_000_000)
    assert clock.waits == [1.0] * 9
    assert clock.now == 109.0


async def test_time_in_which_nobody_sends_is_not_saved_up() -> None:
    """A pause does not make the next pieces faster."""
    clock = ClockOfWaits()
    rate = UploadRate(1_000_000, clock)
    await rate.take(1_000_000)
    clock.now += 60
    await rate.take(1_000_000)
    await rate.take(1_000_000)
    assert clock.waits == [1.0]
