"""(key, map key) → value in RocksDB behind a write-back cache of native objects.

Keys in the database: key group (u16) · length of the encoded key (u32) · encoded key · encoded map key, all big endian,
so that the map of a key is one range.

Changed entries are in `_changed`, where `_GONE` stands for one to delete; entries as the database has them are in
`_clean`. A changed entry that is in the database may be in both: `_changed` counts. What is in neither does not exist
while the table is complete, or while the key is *whole*: all its entries are in memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any
from zlib import crc32

from .database import Column
from .layout import StateLayout
from .sizing import SLOT_BYTES, TABLE_BYTES, EntrySize

_SAMPLE = 8
_GONE = object()


class RocksMapTable:
    """A map table of one store. Implements `MapTable`.

    Args:
        layout: what is stored.
        column: where.
        max_parallelism: number of key groups of the job.
    """

    def __init__(self, layout: StateLayout, column: Column, max_parallelism: int) -> None:
        assert layout.map_keys is not None
        self.layout = layout
        self.column = column
        self._changed: dict[Any, dict[Any, Any]] = {}
        self._clean: dict[Any, dict[Any, Any]] = {}  # the keys least recently flushed come first
        self._whole: set[Any] = set()  # keys of which everything is in memory, in a table that is not complete
        self._cleared: set[Any] = set()  # keys whose range in the database is void; they are whole
        self._complete = True
        self._batched: list[Any] = []
        self._keys = layout.keys
        self._map_keys = layout.map_keys
        self._decode = layout.values.decode
        self._prefixes = [group.to_bytes(2, "big") for group in range(max_parallelism)]
        self._size = EntrySize()
        self._held = 0

    def get(self, key: Any, map_key: Any) -> Any:
        value = self._changed.get(key, _NOTHING).get(map_key)
        if value is None:
            value = self._clean.get(key, _NOTHING).get(map_key)
        if value is not None:
            return None if value is _GONE else value
        if self._complete or key in self._whole:
            return None
        data = self.column.get(self._head(key) + self._map_keys.encode(map_key))
        if data is None:
            return None
        value = self._clean.setdefault(key, {})[map_key] = self._decode(data)
        self._held += 1
        return value

    def put(self, key: Any, map_key: Any, value: Any) -> None:
        entries = self._changed.get(key)
        if entries is None:
            self._keys.check(key)
            entries = self._changed[key] = {}
        if map_key not in entries:
            self._map_keys.check(map_key)
            self._held += 1
        entries[map_key] = value

    def remove(self, key: Any, map_key: Any) -> None:
        if map_key in self._clean.get(key, _NOTHING) or not (self._complete or key in self._whole):
            self.put(key, map_key, _GONE)
        elif key in self._changed and self._changed[key].pop(map_key, None) is not None:
            self._held -= 1

    def items(self, key: Any) -> Iterator[tuple[Any, Any]]:
        found: dict[Any, Any] = {}
        if not (self._complete or key in self._whole):
            head = self._head(key)
            for raw, data in self.column.scan(head, _after(head)):
                found[self._map_keys.decode(raw[len(head) :])] = self._decode(data)
        # The objects in memory count, not their copies from the database: user code may hold on to them.
        found.update(self._clean.get(key, _NOTHING))
        found.update(self._changed.get(key, _NOTHING))
        return iter([(map_key, value) for map_key, value in found.items() if value is not _GONE])

    def clear(self, key: Any) -> None:
        clean = self._clean.pop(key, _NOTHING)
        self._held -= len(clean) + len(self._changed.pop(key, _NOTHING))
        if clean or not (self._complete or key in self._whole):
            self._cleared.add(key)
        self._whole.add(key)

    # What follows is for the store.

    def restored(self) -> None:
        """The column holds entries of a snapshot."""
        self._complete = False

    @property
    def memory_bytes(self) -> float:
        """Estimated size of what is in memory."""
        tables = len(self._changed) + len(self._clean)
        return (
            self._held * self._size.mean
            + tables * (TABLE_BYTES + SLOT_BYTES)
            + (len(self._whole) + len(self._cleared)) * SLOT_BYTES
        )

    def sample(self) -> None:
        """Look at a few entries to see how large they have become."""
        for newest in islice(reversed(self._changed.values()), 1):
            self._size.sample(islice(newest.items(), _SAMPLE))

    def add_writes(self, batch: Any, now_ms: int, limit: int | None = None) -> None:
        """Put what has changed into a write batch: everything, or the maps of the `limit` least recent keys, and all
        clearings."""
        handle, put, delete = self.column.handle, batch.put, batch.delete
        for key in self._cleared:
            head = self._head(key)
            batch.delete_range(head, _after(head), handle)
        encode, encode_value = self._map_keys.encode, self.layout.values.encode
        stored: list[tuple[Any, Any]] = []
        encoded: list[bytes] = []
        self._batched = list(islice(self._changed, limit))
        for key in self._batched:
            head = self._head(key)
            for map_key, value in self._changed[key].items():
                if self.layout.expiring and value is not _GONE and value[0] <= now_ms:
                    value = self._changed[key][map_key] = _GONE
                if value is _GONE:
                    delete(head + encode(map_key), handle)
                else:
                    encoded.append(encode_value(value))
                    put(head + encode(map_key), encoded[-1], handle)
                    stored.append((map_key, value))
        self._size.measure(stored, encoded)

    def wrote_all(self) -> None:
        """The batch with everything is in the database."""
        for key, entries in self._changed.items():
            clean = self._clean.pop(key, {})
            clean.update(entries)
            if _GONE in entries.values():
                clean = {map_key: value for map_key, value in clean.items() if value is not _GONE}
            if clean:
                self._clean[key] = clean
        self._changed = {}
        self._cleared = set()
        if self._complete:
            self._whole.clear()
        self._held = sum(map(len, self._clean.values()))

    def wrote_oldest(self) -> None:
        """The batch with the maps of some keys is in the database: drop them from memory."""
        for key in self._batched:
            self._held -= len(self._changed.pop(key)) + len(self._clean.pop(key, _NOTHING))
            self._whole.discard(key)
        # Keys that were cleared, and are not in memory, are empty: the database says so by now.
        self._cleared = set()
        self._complete = False

    def drop_unchanged(self, excess_bytes: float) -> None:
        """Drop unchanged maps, the least recent first, until `excess_bytes` are gone or none is left."""
        for key in list(self._clean):
            if excess_bytes <= 0:
                break
            count = len(self._clean.pop(key))
            self._held -= count
            excess_bytes -= count * self._size.mean + TABLE_BYTES + SLOT_BYTES
            self._whole.discard(key)
            self._complete = False
        if excess_bytes > 0 and not self._cleared:
            self._whole.clear()

    def entries_for(self, n_bytes: float) -> int:
        """How many keys have changed entries of about `n_bytes`."""
        if not self._changed:
            return 0
        per_key = max(1.0, self._held / (len(self._changed) + len(self._clean))) * self._size.mean
        return min(len(self._changed), int(n_bytes / (per_key + TABLE_BYTES + SLOT_BYTES)) + 1)

    def forget_stored(self, raw: bytes) -> bool:
        """An entry in the database has expired: drop it from memory, unless it has changed since. Whether it may be
        deleted."""
        length = int.from_bytes(raw[2:6], "big")
        key = self._keys.decode(raw[6 : 6 + length])
        map_key = self._map_keys.decode(raw[6 + length :])
        if map_key in self._changed.get(key, _NOTHING):
            return False
        if self._clean.get(key, {}).pop(map_key, None) is not None:
            self._held -= 1
        return True

    def _head(self, key: Any) -> bytes:
        """What the entries of a key begin with in the database."""
        encoded = self._keys.encode(key)
        return self._prefixes[crc32(encoded) % len(self._prefixes)] + len(encoded).to_bytes(4, "big") + encoded


_NOTHING: dict[Any, Any] = {}


def _after(head: bytes) -> bytes:
    """The smallest key after all that begin with `head`; a key group comes first, so there is one."""
    return (int.from_bytes(head, "big") + 1).to_bytes(len(head), "big")
