"""Durations and event times as the public API takes them, milliseconds inside."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Final, TypeAlias

Duration: TypeAlias = str | timedelta
"""`"250ms"`, `"5s"`, `"10m"`, `"1h"`, `"1d"`, or a `timedelta`."""

MIN_WATERMARK: Final = -(1 << 62)
"""Before any record has been seen."""

MAX_WATERMARK: Final = (1 << 62) - 1
"""The final watermark: no record is expected any more, everything fires."""

_UNITS_MS: Final = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_PATTERN: Final = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)")


def duration_ms(duration: Duration) -> int:
    """A duration in whole milliseconds.

    Raises:
        ValueError: it is not a duration, is negative, or is not a whole number of milliseconds.

    >>> duration_ms("1.5s"), duration_ms("10m"), duration_ms(timedelta(hours=1))
    (1500, 600000, 3600000)
    """
    if isinstance(duration, timedelta):
        milliseconds = duration / timedelta(milliseconds=1)
    elif isinstance(duration, str):
        match = _PATTERN.fullmatch(duration.strip())
        if match is None:
            raise ValueError(f'{duration!r} is not a duration: write "250ms", "5s", "10m", "1h" or "1d"')
        milliseconds = float(match[1]) * _UNITS_MS[match[2]]
    else:
        raise ValueError(f'{duration!r} is not a duration: pass a string such as "5s", or a timedelta')
    if milliseconds < 0 or milliseconds != int(milliseconds):
        raise ValueError(f"{duration!r} is not a whole, non-negative number of milliseconds")
    return int(milliseconds)


def signed_duration_ms(duration: Duration) -> int:
    """A duration that may have a sign: `"-5m"`, `"+10m"`, or a negative `timedelta`. As `duration_ms`.

    >>> signed_duration_ms("-5m"), signed_duration_ms("10m"), signed_duration_ms(timedelta(seconds=-1))
    (-300000, 600000, -1000)
    """
    if isinstance(duration, timedelta):
        return -duration_ms(-duration) if duration < timedelta() else duration_ms(duration)
    if isinstance(duration, str) and duration.strip()[:1] in ("-", "+"):
        magnitude = duration_ms(duration.strip()[1:])
        return -magnitude if duration.strip()[0] == "-" else magnitude
    return duration_ms(duration)


def format_ms(milliseconds: int) -> str:
    """A duration for people: the largest unit that gives a whole number.

    >>> format_ms(3_600_000), format_ms(90_000), format_ms(250)
    ('1h', '90s', '250ms')
    """
    for unit in ("d", "h", "m", "s"):
        if milliseconds and milliseconds % _UNITS_MS[unit] == 0:
            return f"{milliseconds // _UNITS_MS[unit]}{unit}"
    return f"{milliseconds}ms"


def timestamp_ms(moment: datetime) -> int:
    """Milliseconds since 1970 UTC. A naive datetime is taken as UTC.

    >>> timestamp_ms(datetime(2013, 1, 1))
    1356998400000
    """
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return (moment - _1970) // timedelta(milliseconds=1)


_1970: Final = datetime(1970, 1, 1, tzinfo=UTC)
