"""What a process tells whoever watches it: systemd, or `tidegate run --supervise`. The protocol is systemd's `sd_notify`.

`NOTIFY_SOCKET` names a datagram socket that takes lines of `NAME=value`: `READY=1` when the job runs, `STOPPING=1` when it
stops, and `WATCHDOG=1` as a sign of life, at least twice in the `WATCHDOG_USEC` microseconds that the watcher waits for one.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from .clock import Clock
from .errors import ConfigError

SUPERVISED: Final = "TIDEGATE_SUPERVISED"
"""Set by our own supervisor for its worker: the supervisor's process id, how often it has started a worker again, and when the
one before was gone, by the monotonic clock: `4711 3 1234.567`."""

_SIGN_OF_LIFE_S: Final = 1.0


@dataclass(frozen=True)
class Supervised:
    """How this process is watched.

    Attributes:
        address: of the watcher's socket; None when nobody listens.
        interval_s: seconds between two signs of life; None when nobody waits for one.
        restarts: how often our supervisor has started a worker again.
        gone_at: when the worker before this one was gone, by the monotonic clock; None for the first one.
        by_us: whether the watcher is our supervisor.
    """

    address: str | None = None
    interval_s: float | None = None
    restarts: int = 0
    gone_at: float | None = None
    by_us: bool = False

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> Supervised:
        """What the environment says.

        Raises:
            ConfigError: a variable is not what it should be; names it.
        """
        address = environ.get("NOTIFY_SOCKET")
        if address is not None and address.startswith("@"):
            address = f"\0{address[1:]}"
        meant_for = environ.get("WATCHDOG_PID", str(os.getpid()))
        timeout = environ.get("WATCHDOG_USEC") if meant_for == str(os.getpid()) else None
        try:
            interval_s = None if timeout is None else min(_SIGN_OF_LIFE_S, int(timeout) / 4e6)
        except ValueError:
            raise ConfigError(f"environment variable WATCHDOG_USEC: {timeout!r} is no number of microseconds") from None
        words = environ.get(SUPERVISED, "").split()
        # A process that a worker starts has the variable too, and is not the one that is meant.
        if not words or words[0] != str(os.getppid()):
            return cls(address, interval_s)
        gone_at = float(words[2]) if len(words) > 2 else None
        return cls(address, interval_s or _SIGN_OF_LIFE_S, int(words[1]), gone_at, by_us=True)

    @asynccontextmanager
    async def signs_of_life(
        self, clock: Clock, abandoned: Callable[[], None]
    ) -> AsyncIterator[Callable[[str], object]]:
        """Give signs of life until the block ends; gives what tells the watcher something else.

        They come from the event loop: one that is blocked gives none.

        Args:
            clock: the job's clock.
            abandoned: called when our supervisor is gone, for want of a kernel that ends us with it.
        """
        if self.address is None:
            yield lambda text: None
            return
        address = self.address
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as mouth:
            mouth.setblocking(False)

            def tell(text: str) -> bool:
                try:
                    mouth.sendto(text.encode(), address)
                except BlockingIOError:
                    pass  # it has not yet read what it was told before
                except OSError:
                    return False
                return True

            failure: Exception | None = None
            async with asyncio.TaskGroup() as group:
                beating = None
                if self.interval_s is not None:
                    beating = group.create_task(self._beat(self.interval_s, tell, clock, abandoned))
                try:
                    yield tell
                except Exception as error:
                    failure = error  # as it is, and not in the group of this task group
                finally:
                    if beating is not None:
                        beating.cancel()
            if failure is not None:
                raise failure

    async def _beat(
        self, interval_s: float, tell: Callable[[str], bool], clock: Clock, abandoned: Callable[[], None]
    ) -> None:
        while tell("WATCHDOG=1") or not self.by_us:
            await clock.sleep(interval_s)
        abandoned()
