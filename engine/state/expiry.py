"""Forgetting expired entries that nobody reads: a cursor that walks through a column, a little at every snapshot."""

from __future__ import annotations

import msgspec

from .database import Column

_AT_LEAST = 256
_AT_MOST = 20_000
_read_expiry = msgspec.msgpack.Decoder(tuple[int, msgspec.Raw]).decode


class ExpirySweep:
    """Finds the expired entries of a column of (expires_ms, value) pairs.

    Each snapshot looks at about the share of the column that the time since the last one is of the time to live, so that
    an entry is gone at the latest about one more time to live after it has expired; never at more than 20,000 entries.

    Attributes:
        left: how many entries are still to be looked at for this snapshot.
    """

    def __init__(self, column: Column, ttl_ms: int) -> None:
        self.left = 0
        self._column = column
        self._ttl_ms = max(1, ttl_ms)
        self._next = b""
        self._last_ms: int | None = None
        self._now_ms = 0

    def begin(self, now_ms: int) -> None:
        """A snapshot begins: what has expired by now may go."""
        elapsed_ms = self._ttl_ms if self._last_ms is None else now_ms - self._last_ms
        self._last_ms = self._now_ms = now_ms
        share = self._column.estimated_keys * min(1.0, max(0, elapsed_ms) / self._ttl_ms)
        self.left = min(_AT_MOST, max(_AT_LEAST, int(share)))

    def step(self, limit: int) -> list[bytes]:
        """Look at the next `limit` entries: the database keys of those that have expired."""
        found: list[bytes] = []
        limit = min(limit, self.left)
        if not limit:
            return found
        for raw, data in self._column.scan(self._next, b"\xff\xff\xff"):
            if limit == 0:
                self._next = raw
                return found
            limit -= 1
            self.left -= 1
            if _read_expiry(data)[0] <= self._now_ms:
                found.append(raw)
        self._next = b""
        self.left = 0
        return found
