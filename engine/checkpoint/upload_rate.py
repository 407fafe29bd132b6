"""A limit on the bytes per second that go to an object store."""

from __future__ import annotations

from ..clock import Clock


class UploadRate:
    """Bytes are let through one allowance after the other; what was not used while nobody asked is not saved up.

    Args:
        bytes_per_s: above zero.
    """

    def __init__(self, bytes_per_s: int, clock: Clock) -> None:
        self._bytes_per_s = bytes_per_s
        self._clock = clock
        self._free_at = 0.0

    async def take(self, n_bytes: int) -> None:
        """Wait until these bytes may be sent."""
        now = self._clock.monotonic()
        wait = max(0.0, self._free_at - now)
        self._free_at = max(self._free_at, now) + n_bytes / self._bytes_per_s
        if wait:
            await self._clock.sleep(wait)
