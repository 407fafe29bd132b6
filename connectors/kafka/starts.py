"""Where reading begins when no checkpoint says where to go on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, TypeAlias

from ...operators.time import timestamp_ms


@dataclass(frozen=True)
class AtTime:
    """See `at_time`."""

    ms: int


def at_time(moment: int | datetime) -> AtTime:
    """Begin with the first record whose timestamp is not before `moment`; behind the last one where there is none.

    Args:
        moment: milliseconds since 1970 UTC, or a datetime; a naive one is taken as UTC.

    Raises:
        ValueError: it is before 1970.

    >>> at_time(datetime(2013, 1, 1))
    AtTime(ms=1356998400000)
    """
    ms = timestamp_ms(moment) if isinstance(moment, datetime) else moment
    if ms < 0:
        raise ValueError(f"at_time({moment!r}): is before 1970")
    return AtTime(ms)


Start: TypeAlias = Literal["earliest", "latest", "committed"] | AtTime | Mapping[tuple[str, int], int]
"""What `source` takes as `start`."""


def checked(start: Start, group: str | None) -> Start:
    """`start`, when it is one.

    Raises:
        ValueError: it is none, or asks for a group's offsets without naming the group.
    """
    if start == "committed" and group is None:
        raise ValueError('start="committed": name the group whose offsets are meant, group="..."')
    if isinstance(start, Mapping):
        for place, offset in start.items():
            named = isinstance(place, tuple) and len(place) == 2
            if not named or not isinstance(offset, int) or offset < 0:
                raise ValueError(f"start: {place!r}: {offset!r}: write {{(topic, partition): offset}}, offsets from 0")
    elif not isinstance(start, AtTime) and start not in ("earliest", "latest", "committed"):
        raise ValueError(
            f'start={start!r}: "earliest", "latest", "committed", kafka.at_time(...) or {{(topic, partition): offset}}'
        )
    return start
