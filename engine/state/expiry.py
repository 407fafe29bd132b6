"""Forgetting expired entries that nobody reads: a cursor that walks through a column, a little at every flush."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from .database import Column

_AT_LEAST = 256
_AT_MOST = 20_000
_read_expiry = msgspec.msgpack.Decoder(tuple[int, msgspec.Raw]).decode


class ExpirySweep:
    """Finds the expired entries of a column of (expires_ms, value) pairs.

    Each call looks at about the share of the column that the time since the last call is of the time to live, so that
    an entry is gone at the latest about one more time to live after it has expired; never at more than 20,000 entries.
    """

    def __init__(self, column: Column, ttl_ms: int) -> None:
        self._column = column
        self._ttl_ms = max(1, ttl_ms)
        self._next = b""
        self._last_ms: int | None = None

    def expired(self, now_ms: int) -> Iterator[bytes]:
        """The database keys of expired entries in the next part of the column."""
        elapsed_ms = self._ttl_ms if self._last_ms is None else now_ms - self._last_ms
        self._last_ms = now_ms
        share = self._column.estimated_keys * min(1.0, max(0, elapsed_ms) / self._ttl_ms)
        left = min(_AT_MOST, max(_AT_LEAST, int(share)))
        for raw, data in self._column.scan(self._next, b"\xff\xff\xff"):
            if left == 0:
                self._next = raw
                return
            left -= 1
            if _read_expiry(data)[0] <= now_ms:
                yield raw
        self._next = b""


def add_expired(batch: Any, table: Any, sweep: ExpirySweep, now_ms: int) -> None:
    """Delete what has expired in the next part of a table's column."""
    for raw in sweep.expired(now_ms):
        if table.forget_stored(raw):
            batch.delete(raw, table.column.handle)
