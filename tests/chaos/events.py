"""The input: which event is the nth, from its number alone; so the answer can be computed without the engine."""

from __future__ import annotations

RATE_PER_S = 5_000
KEYS = 1_000
SPLITS = 4
WINDOW_MS = 5_000
DISORDER_MS = 400
"""Events are out of order by less than this."""
CLOSING = "closing-"
"""Keys of the events behind the last one, which push the watermark past all windows. They are not part of any answer."""

_START_MS = 1_700_000_000_000
_MIX = 2654435761


def event(seed: int, number: int) -> tuple[int, dict[str, object]]:
    """The split that event `number` goes to, and the event. A key is in one split, so that its order is fixed.

    >>> event(1, 5) == event(1, 5), event(1, 5) == event(2, 5)
    (True, False)
    """
    mixed = ((number + 1) * _MIX + seed * 97_531) % (1 << 32)
    key = mixed % KEYS
    at_ms = _START_MS + number * 1000 // RATE_PER_S + (mixed >> 12) % DISORDER_MS
    return key % SPLITS, {"id": number, "key": f"k{key}", "at": at_ms, "value": mixed % 1009}


def closing(split: int, number: int) -> dict[str, object]:
    """The last event of a split, an hour behind all others."""
    at_ms = _START_MS + number * 1000 // RATE_PER_S + 3_600_000
    return {"id": -1 - split, "key": f"{CLOSING}{split}", "at": at_ms, "value": 0}
