"""At most one record per key and interval."""

from __future__ import annotations

from typing import TypeVar

from .dedupe import Dedupe, TimeDomain

T = TypeVar("T")


class Throttle(Dedupe[T]):
    """Lets one record of a key pass, and the next not before `interval_ms` have gone by; those between are dropped
    and counted as `throttled`.

    It is `Dedupe` with an interval, and everything said there holds here. With processing time, the default, what
    passes depends on when records come and is not the same in a replay. A record costs up to three lookups. State: one number
    per key and interval.

    Args:
        interval_ms: how far apart the records of a key are that pass, in milliseconds.
        time: whose time that is.

    Raises:
        ValueError: the interval is not positive, or the time is not known.
    """

    kind = "throttle"
    dropped = "throttled"

    def __init__(self, interval_ms: int, *, time: TimeDomain = "processing") -> None:
        super().__init__(interval_ms, time=time)
