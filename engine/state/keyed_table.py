"""key → value in RocksDB behind a write-back cache of native objects.

Keys in the database: key group (u16, big endian) · encoded key.

Every entry that is in memory is in exactly one of three dicts: `live`, touched since the last flush and taken to be
changed; `clean`, touched in the interval before; `old`, not touched since. Inner loops see `live` only. A flush writes
`live` and moves the dicts on by one; eviction drops `old` first. So recency costs the inner loops nothing.

While nothing was dropped and nothing restored the table is complete: what is not in memory does not exist.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any
from zlib import crc32

from .database import Column
from .layout import StateLayout
from .sizing import SLOT_BYTES, EntrySize

_SAMPLE = 8


class RocksKeyedTable:
    """A keyed table of one store. Implements `KeyedTable`.

    Args:
        layout: what is stored.
        column: where.
        max_parallelism: number of key groups of the job.
    """

    def __init__(self, layout: StateLayout, column: Column, max_parallelism: int) -> None:
        self.layout = layout
        self.column = column
        self.live: dict[Any, Any] = {}
        self._clean: dict[Any, Any] = {}
        self._old: dict[Any, Any] = {}
        self._stored: set[Any] = set()  # the keys of `live` that are in the database
        self._removed: set[Any] = set()  # keys whose entry in the database, if any, is void
        self._complete = True
        self._batched = 0
        self._keys = layout.keys
        self._decode = layout.values.decode
        self._prefixes = [group.to_bytes(2, "big") for group in range(max_parallelism)]
        self._size = EntrySize()

    def load(self, key: Any) -> Any:
        value = self._clean.pop(key, None)
        if value is None:
            value = self._old.pop(key, None)
        if value is None:
            if key in self.live or key in self._removed:
                return self.live.get(key)
            value = self._fetch(key)
            if value is None:
                return None
        self._stored.add(key)
        self.live[key] = value
        return value

    def get(self, key: Any) -> Any:
        for entries in (self.live, self._clean, self._old):
            value = entries.get(key)
            if value is not None:
                return value
        if key in self._removed:
            return None
        value = self._fetch(key)
        if value is not None:
            self._clean[key] = value
        return value

    def put(self, key: Any, value: Any) -> None:
        if key not in self.live:
            if self._clean.pop(key, None) is not None or self._old.pop(key, None) is not None:
                self._stored.add(key)
            else:
                self._keys.check(key)
                if not self._complete:
                    self._removed.add(key)
        self.live[key] = value

    def remove(self, key: Any) -> None:
        if self.live.pop(key, None) is not None:
            if key in self._stored:
                self._stored.discard(key)
                self._removed.add(key)
        elif self._clean.pop(key, None) is not None or self._old.pop(key, None) is not None or not self._complete:
            self._removed.add(key)

    def items(self) -> Iterator[tuple[Any, Any]]:
        for entries in (self.live, self._clean, self._old):
            yield from entries.items()
        if not self._complete:
            in_memory = (self.live, self._clean, self._old, self._removed)
            for raw, data in self.column.scan(b"", b"\xff\xff\xff"):
                key = self._keys.decode(raw[2:])
                if not any(key in known for known in in_memory):
                    yield key, self._decode(data)

    def _fetch(self, key: Any) -> Any:
        if self._complete:
            self._keys.check(key)
            return None
        encoded = self._keys.encode(key)
        data = self.column.get(self._prefixes[crc32(encoded) % len(self._prefixes)] + encoded)
        return None if data is None else self._decode(data)

    # What follows is for the store.

    def restored(self) -> None:
        """The column holds entries of a snapshot."""
        self._complete = False

    @property
    def memory_bytes(self) -> float:
        """Estimated size of what is in memory."""
        held = len(self.live) + len(self._clean) + len(self._old)
        return held * self._size.mean + (len(self._stored) + len(self._removed)) * SLOT_BYTES

    def sample(self) -> None:
        """Look at a few entries to see how large they have become."""
        live = self.live
        self._size.sample([*islice(live.items(), _SAMPLE), *islice(reversed(live.items()), _SAMPLE)])

    def add_writes(self, batch: Any, now_ms: int, limit: int | None = None) -> None:
        """Put what has changed into a write batch: everything, or the `limit` least recent entries and all removals."""
        if self.layout.expiring:
            self._forget_expired(now_ms)
        live = self.live if limit is None else dict(islice(self.live.items(), limit))
        handle, delete, put = self.column.handle, batch.delete, batch.put
        for key in self._raw_keys(self._removed):
            delete(key, handle)
        values = self.layout.values.encode_many(live.values())
        for key, value in zip(self._raw_keys(live), values, strict=True):
            put(key, value, handle)
        self._size.measure(live.items(), values)
        self._batched = len(live)

    def wrote_all(self) -> None:
        """The batch with everything is in the database."""
        if self._old:
            self._old.update(self._clean)
        else:
            self._old = self._clean
        self._clean = self.live
        self.live = {}
        self._stored = set()
        self._removed = set()

    def wrote_oldest(self) -> None:
        """The batch with some entries is in the database: drop them from memory."""
        written = list(islice(self.live, self._batched))
        self._stored.difference_update(written)
        for key in written:
            del self.live[key]
        self._removed = set()
        self._complete = False

    def drop_unchanged(self, excess_bytes: float) -> None:
        """Drop unchanged entries, the least recent first, until `excess_bytes` are gone or none is left."""
        for entries in (self._old, self._clean):
            count = min(len(entries), int(excess_bytes / self._size.mean) + 1)
            if excess_bytes <= 0 or not count:
                continue
            excess_bytes -= count * self._size.mean
            self._complete = False
            kept = dict(islice(entries.items(), count, None))
            if entries is self._old:
                self._old = kept
            else:
                self._clean = kept

    def entries_for(self, n_bytes: float) -> int:
        """How many changed entries take about `n_bytes`."""
        return min(len(self.live), int(n_bytes / self._size.mean) + 1)

    def forget_stored(self, raw: bytes) -> bool:
        """An entry in the database has expired: drop it from memory, unless it has changed since. Whether it may be
        deleted."""
        key = self._keys.decode(raw[2:])
        if key in self.live:
            return False
        self._clean.pop(key, None)
        self._old.pop(key, None)
        return True

    def _forget_expired(self, now_ms: int) -> None:
        for key in [key for key, (expires_ms, _) in self.live.items() if expires_ms <= now_ms]:
            self.remove(key)

    def _raw_keys(self, keys: Any) -> list[bytes]:
        prefixes = self._prefixes
        count = len(prefixes)
        return [prefixes[crc32(key) % count] + key for key in self._keys.encode_many(keys)]
