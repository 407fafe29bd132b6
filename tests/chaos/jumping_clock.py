"""Lets the wall clock of a job under test jump: by as many milliseconds as stand in the file `clock-offset` of its folder.

It is what the engine sees of a clock that an administrator sets.
"""

from __future__ import annotations

import os

from tidegate.engine import job
from tidegate.engine.clock import SystemClock

_FILE = "clock-offset"
_LOOK_EVERY_S = 0.05


class JumpingClock(SystemClock):
    """The machine's clock with an offset. Durations are not touched: the monotonic clock does not jump."""

    def __init__(self) -> None:
        self._offset_ms = 0
        self._looked_at = float("-inf")

    def now_ms(self) -> int:
        now = self.monotonic()
        if now - self._looked_at > _LOOK_EVERY_S:
            self._looked_at = now
            if os.path.exists(_FILE):
                with open(_FILE, encoding="utf-8") as file:
                    self._offset_ms = int(file.read() or 0)
        return super().now_ms() + self._offset_ms


job.SystemClock = JumpingClock  # type: ignore[misc]  # where jobs that are given no clock take theirs from
