"""(key, map key) → value in RocksDB behind a write-back cache of native objects.

Keys in the database: key group (u16) · length of the encoded key (u32) · encoded key · encoded map key, all big endian,
so that the map of a key is one range.

Changed entries are in `_changed`, where `_GONE` stands for one to delete; those changed before the last barrier and not
yet written for its snapshot in `_frozen`; entries as the database has them in `_clean`. An entry may be in several: they
count in this order. What is in none does not exist while the table is complete, or while the key is *whole*: all its
entries are in memory. A frozen value is never given out: whoever asks for it gets it after it has been encoded as it was
at the barrier.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any
from zlib import crc32

from ..errors import StateError
from .database import Column
from .layout import StateLayout
from .lineup import NestedLineup
from .sizing import KEY_BYTES, SLOT_BYTES, TABLE_BYTES, EntrySize, container_bytes

_SAMPLE = 8
_SLOTS_IN_TABLE = 3
"""So many entries of each map have their slots in `TABLE_BYTES`: fewer than there is room for, as maps differ in size."""
_MAP_BYTES = TABLE_BYTES + KEY_BYTES
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
        self._whole: set[Any] = set()  # keys of which everything is in memory, should the table not be complete
        self._cleared: set[Any] = set()  # keys whose range in the database is void; they are whole
        self._complete = True
        self._batched: list[Any] = []
        self.failure: StateError | None = None
        self._frozen: dict[Any, dict[Any, Any]] = {}
        self._frozen_cleared: set[Any] = set()
        self._frozen_at_ms = 0
        self._lineup = NestedLineup[Any, Any]()
        self._measured = 0
        self._thawed: list[tuple[bytes, bytes | None, bytes]] = []  # key, value; or without value the end of a range
        self._portions: list[tuple[Any, dict[Any, Any]]] = []
        self._portion_cleared: list[Any] = []
        self._keys = layout.keys
        self._map_keys = layout.map_keys
        self._decode = layout.values.decode
        self._prefixes = [group.to_bytes(2, "big") for group in range(max_parallelism)]
        self._size = EntrySize()
        self._held = 0

    def get(self, key: Any, map_key: Any) -> Any:
        value = self._changed.get(key, _NOTHING).get(map_key)
        if value is None:
            value = self._frozen.get(key, _NOTHING).get(map_key)
            if value is not None and value is not _GONE:
                self._thaw(key, {map_key: value})
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
        stored = map_key in self._clean.get(key, _NOTHING) or map_key in self._frozen.get(key, _NOTHING)
        if stored or not (self._complete or key in self._whole):
            self.put(key, map_key, _GONE)
        elif key in self._changed and self._changed[key].pop(map_key, None) is not None:
            self._held -= 1

    def items(self, key: Any) -> Iterator[tuple[Any, Any]]:
        found: dict[Any, Any] = {}
        if not (self._complete or key in self._whole):
            head = self._head(key)
            for raw, data in self.column.scan(head, _after(head)):
                found[self._map_keys.decode(raw[len(head) :])] = self._decode(data)
        self._thaw_all(key)
        # The objects in memory count, not their copies from the database: user code may hold on to them.
        found.update(self._clean.get(key, _NOTHING))
        found.update(self._frozen.get(key, _NOTHING))
        found.update(self._changed.get(key, _NOTHING))
        return iter([(map_key, value) for map_key, value in found.items() if value is not _GONE])

    def keys(self) -> Iterator[Any]:
        # Of those in memory now a list: one that leaves it meanwhile is in the database, before or behind where the search
        # there has come to.
        held = dict.fromkeys((*self._changed, *self._frozen, *self._clean))
        start = None if self._complete else b""
        while start is not None and (entry := next(self.column.scan(start, b"\xff\xff\xff"), None)) is not None:
            head = entry[0][: 6 + int.from_bytes(entry[0][2:6], "big")]
            start = _after(head)
            key = self._keys.decode(head[6:])
            held.pop(key, None)
            yield key
        yield from held

    def clear(self, key: Any) -> None:
        self._thaw_all(key)
        clean = self._clean.pop(key, _NOTHING)
        self._held -= len(clean) + len(self._changed.pop(key, _NOTHING))
        if clean or not (self._complete or key in self._whole):
            self._cleared.add(key)
            self._whole.add(key)

    def _thaw_all(self, key: Any) -> None:
        frozen = self._frozen.get(key)
        if frozen:
            self._thaw(key, {map_key: value for map_key, value in frozen.items() if value is not _GONE})

    def _thaw(self, key: Any, entries: dict[Any, Any]) -> None:
        """Take entries of a key out of `_frozen`, their values encoded before anybody can change them."""
        frozen = self._frozen[key]
        for map_key in entries:
            del frozen[map_key]
        try:
            head = self._head(key)
            encode, encode_value = self._map_keys.encode, self.layout.values.encode
            thawed = [(head + encode(map_key), encode_value(value), b"") for map_key, value in entries.items()]
        except StateError as error:
            # What could not be encoded is not in the database: it stays changed.
            self.failure = self.failure or error
            changed = self._changed.setdefault(key, {})
            for map_key, value in entries.items():
                self._held -= map_key in changed
                changed.setdefault(map_key, value)
            return
        if key in self._frozen_cleared:
            # A clearing of the time before the barrier must not come after what followed it.
            self._frozen_cleared.discard(key)
            self._thawed.append((head, None, _after(head)))
        self._thawed += thawed
        self._make_clean(key, entries)

    def _make_clean(self, key: Any, entries: dict[Any, Any]) -> None:
        """Entries that were frozen are written."""
        # What was written last is dropped last.
        clean = self._clean.pop(key, {})
        for map_key, value in entries.items():
            self._held -= map_key in clean
            if value is not _GONE:
                clean[map_key] = value
            else:
                clean.pop(map_key, None)
                self._held -= 1
        if clean:
            self._clean[key] = clean

    # What follows is for the store.

    def restored(self) -> None:
        """The column holds entries of a snapshot."""
        self._complete = False

    @property
    def memory_bytes(self) -> float:
        """Estimated size of what is in memory."""
        tables = len(self._changed) + len(self._clean) + len(self._frozen)
        noted = len(self._whole) + len(self._cleared) + len(self._frozen_cleared)
        containers = (
            self._changed, self._clean, self._frozen, self._thawed, self._whole, self._cleared, self._frozen_cleared
        )  # fmt: skip
        return (
            (self._held + len(self._thawed)) * self._size.mean
            + max(0, self._held - _SLOTS_IN_TABLE * tables) * SLOT_BYTES
            + tables * _MAP_BYTES
            + noted * KEY_BYTES
            + sum(map(container_bytes, containers))
        )

    def sample(self) -> bool:
        """Look at a few entries to see how large they have become; whether that is what was thought."""
        newest = next(reversed(self._changed.values()), {})
        return self._size.sample(islice(newest.items(), _SAMPLE))

    def freeze(self, now_ms: int) -> None:
        """A barrier: what has changed is to be written as it is now. Costs the same however much that is."""
        self._frozen, self._changed = self._changed, {}
        self._frozen_cleared, self._cleared = self._cleared, set()
        self._frozen_at_ms = now_ms
        self._measured = 0

    @property
    def frozen(self) -> int:
        """How much is still to be written of what was frozen: 0 when nothing is."""
        return len(self._frozen) + len(self._frozen_cleared) + len(self._thawed)

    @property
    def thawed(self) -> int:
        """How many entries were asked for while they were frozen, and are still to be written."""
        return len(self._thawed)

    def add_thawed(self, batch: Any) -> None:
        """Put what was thawed into a write batch. It comes before anything else, and before anything is dropped."""
        handle = self.column.handle
        for raw, data, stop in self._thawed:
            if data is None:
                batch.delete_range(raw, stop, handle)
            else:
                batch.put(raw, data, handle)

    def wrote_thawed(self) -> None:
        """What was thawed is in the database."""
        self._thawed = []

    def add_frozen(self, batch: Any, limit: int) -> int:
        """Put about `limit` of what was frozen into a write batch, clearings first. Returns how many."""
        cleared = self._frozen_cleared
        self._portion_cleared = [cleared.pop() for _ in range(min(limit, len(cleared)))]
        self._add_clearings(batch, self._portion_cleared)
        count = len(self._portion_cleared)
        # Copies: what has expired is marked in them, and an entry that is asked for leaves `_frozen`.
        self._portions = [(key, dict(entries)) for key, entries in self._lineup.take(self._frozen, limit - count)]
        for _, entries in self._portions:
            count += len(entries) or 1
            if self.layout.expiring:
                self._mark_expired(entries, self._frozen_at_ms)
        written = self._add_entries(batch)
        if written:
            self._measured += len(written)
            self._measure(written, len(written) / self._measured)
        return count

    def wrote_frozen(self) -> None:
        """The batch is in the database: its entries are clean now."""
        for key, entries in self._portions:
            frozen = self._frozen.get(key)
            if frozen is not None:
                for map_key in entries:
                    del frozen[map_key]
                if not frozen:
                    del self._frozen[key]
            self._make_clean(key, entries)
        self._portions, self._portion_cleared = [], []
        if not self._frozen:
            self._lineup.clear()
            if self._complete and not self._frozen_cleared:
                self._whole &= self._cleared

    def unfreeze(self) -> None:
        """The snapshot has failed: what was not written is changed still."""
        for key, entries in self._frozen.items():
            changed = self._changed.setdefault(key, {})
            for map_key, value in entries.items():
                self._held -= map_key in changed
                changed.setdefault(map_key, value)
        self._cleared.update(self._frozen_cleared, self._portion_cleared)
        self._frozen, self._frozen_cleared = {}, set()
        self._portions, self._portion_cleared = [], []
        self._lineup.clear()
        self.failure = None

    def add_writes(self, batch: Any, now_ms: int, limit: int) -> None:
        """Put the maps of the `limit` least recently touched changed keys, and all clearings, into a write batch. Nothing
        is frozen."""
        self._add_clearings(batch, self._cleared)
        self._batched = list(islice(self._changed, limit))
        self._portions = [(key, self._changed[key]) for key in self._batched]
        if self.layout.expiring:
            for _, entries in self._portions:
                self._mark_expired(entries, now_ms)
        self._measure(self._add_entries(batch))
        self._portions = []

    def _add_clearings(self, batch: Any, keys: Iterable[Any]) -> None:
        for key in keys:
            head = self._head(key)
            batch.delete_range(head, _after(head), self.column.handle)

    def _add_entries(self, batch: Any) -> list[bytes]:
        """Put the portions into a write batch; the encoded values."""
        handle, put, delete = self.column.handle, batch.put, batch.delete
        encode, encode_value = self._map_keys.encode, self.layout.values.encode
        encoded: list[bytes] = []
        for key, entries in self._portions:
            head = self._head(key)
            for map_key, value in entries.items():
                if value is _GONE:
                    delete(head + encode(map_key), handle)
                else:
                    encoded.append(encode_value(value))
                    put(head + encode(map_key), encoded[-1], handle)
        return encoded

    @staticmethod
    def _mark_expired(entries: dict[Any, Any], now_ms: int) -> None:
        for map_key, value in entries.items():
            if value is not _GONE and value[0] <= now_ms:
                entries[map_key] = _GONE

    def _measure(self, encoded: list[bytes], weight: float = 1.0) -> None:
        stored = (item for _, entries in self._portions for item in entries.items() if item[1] is not _GONE)
        self._size.measure(stored, encoded, weight)

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
            excess_bytes -= self._bytes_of(count)
            self._whole.discard(key)
            self._complete = False
        if excess_bytes > 0 and not (self._cleared or self._frozen_cleared):
            self._whole.clear()

    def entries_for(self, n_bytes: float) -> int:
        """How many keys have changed entries of about `n_bytes`."""
        if not self._changed:
            return 0
        per_key = max(1.0, self._held / (len(self._changed) + len(self._clean)))
        return min(len(self._changed), int(n_bytes / self._bytes_of(per_key)) + 1)

    def _bytes_of(self, entries: float) -> float:
        """Estimated size of the map of a key."""
        return entries * self._size.mean + max(0.0, entries - _SLOTS_IN_TABLE) * SLOT_BYTES + _MAP_BYTES

    def forget_stored(self, raw: bytes) -> bool:
        """An entry in the database has expired: drop it from memory, unless it has changed since. Whether it may be
        deleted."""
        length = int.from_bytes(raw[2:6], "big")
        key = self._keys.decode(raw[6 : 6 + length])
        map_key = self._map_keys.decode(raw[6 + length :])
        if map_key in self._changed.get(key, _NOTHING) or map_key in self._frozen.get(key, _NOTHING):
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
