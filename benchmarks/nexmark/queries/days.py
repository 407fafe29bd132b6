"""The day and the minute of a bid, as people write them."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cache

from ..events import Bid

_DAY_MS = 86_400_000
_MINUTE_MS = 60_000


@cache
def _day(day: int) -> str:
    return f"{datetime.fromtimestamp(day * _DAY_MS / 1000, UTC):%Y-%m-%d}"


@cache
def _minute(minute: int) -> str:
    return f"{minute // 60:02}:{minute % 60:02}"


def day_of(bid: Bid) -> str:
    """Its day: `2023-11-14`."""
    return _day(bid.date_time // _DAY_MS)


def minute_of(bid: Bid) -> str:
    """The minute of its day: `23:59`."""
    return _minute(bid.date_time % _DAY_MS // _MINUTE_MS)
