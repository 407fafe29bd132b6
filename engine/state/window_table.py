"""(namespace, key) → value in RocksDB behind a write-back cache of native objects.

Keys in the database: key group (u16) · namespace (i64, sign flipped) · encoded key, all big endian, so that a window
is one range per key group.

Entries in memory are in `live`, touched since the last flush and taken to be changed, or in `clean`. Whether an entry
that is not in memory may exist is known per namespace: a namespace is *partial* when it came from a snapshot or when
some of its entries were dropped from memory. Of any other namespace everything is in memory, and one that was never
flushed has nothing to delete.
"""

from __future__ import annotations

from collections.abc import Iterable
from heapq import heappop, heappush
from itertools import chain, islice
from typing import Any
from zlib import crc32

from .database import Column
from .layout import StateLayout
from .sizing import SLOT_BYTES, TABLE_BYTES, EntrySize

_SAMPLE = 8
_SIGN = 1 << 63
_HEADER = 10
_COUNTED_EXACTLY = 256
_READ_AHEAD = 16
_AFTER_ALL = b"\xff" * 9


def raw_namespace(namespace: int) -> bytes:
    """A namespace as bytes that sort like the integers."""
    return (namespace + _SIGN).to_bytes(8, "big")


def namespace_of(raw: bytes) -> int:
    """The namespace of a key in the database."""
    return int.from_bytes(raw[2:_HEADER], "big") - _SIGN


class RocksWindowTable:
    """A window table of one store. Implements `WindowTable`.

    Args:
        layout: what is stored.
        column: where.
        key_groups: those of the store.
        max_parallelism: number of key groups of the job.
    """

    def __init__(self, layout: StateLayout, column: Column, key_groups: range, max_parallelism: int) -> None:
        self.layout = layout
        self.column = column
        self.live: dict[int, dict[Any, Any]] = {}
        self._clean: dict[int, dict[Any, Any]] = {}  # the namespaces least recently flushed come first
        self._stored: set[int] = set()  # namespaces that have entries in the database
        self._partial: set[int] = set()
        self._doubtful: set[int] = set()  # stored, but an entry was removed: there may be none left
        self._removed: dict[int, set[Any]] = {}  # keys to delete from the database
        self._dropped: dict[int, list[Any] | None] = {}  # namespaces to delete: their keys, or None for all
        self._known: set[int] = set()  # all namespaces in `_order`, which has those that are gone as well
        self._order: list[int] = []
        self._keys = layout.keys
        self._decode = layout.values.decode
        self._prefixes = [group.to_bytes(2, "big") for group in range(max_parallelism)]
        self._key_groups = key_groups
        self._size = EntrySize()
        self._held = 0
        self._asked = 0
        self._portions: list[tuple[int, dict[Any, Any]]] = []

    def open(self, namespace: int) -> dict[Any, Any]:
        entries = self.live.get(namespace)
        if entries is None:
            entries = self.live[namespace] = {}
            if namespace not in self._known:
                self._known.add(namespace)
                heappush(self._order, namespace)
        return entries

    def load(self, namespace: int, key: Any) -> Any:
        entries = self.live.get(namespace)
        if entries is None:
            entries = self.open(namespace)
        clean = self._clean.get(namespace)
        value = None if clean is None else clean.pop(key, None)
        if value is None:
            if key in entries:
                return entries[key]
            if namespace not in self._partial:
                self._keys.check(key)
                return None
            value = self._fetch(namespace, key)
            if value is None:
                return None
        entries[key] = value
        return value

    def get(self, namespace: int, key: Any) -> Any:
        for table in (self.live, self._clean):
            entries = table.get(namespace)
            if entries is not None and key in entries:
                return entries[key]
        if namespace not in self._partial:
            return None
        value = self._fetch(namespace, key)
        if value is not None:
            self._clean.setdefault(namespace, {})[key] = value
        return value

    def remove(self, namespace: int, key: Any) -> None:
        for table in (self.live, self._clean):
            entries = table.get(namespace)
            if entries is not None:
                entries.pop(key, None)
        if namespace in self._stored:
            self._removed.setdefault(namespace, set()).add(key)
            self._doubtful.add(namespace)

    def namespaces(self) -> list[int]:
        return sorted([namespace for namespace in list(self._known) if self._holds(namespace)])

    def first(self) -> int | None:
        found = None
        opened: list[int] = []
        order = self._order
        while order:
            namespace = order[0]
            if namespace in self._known:
                if self._holds(namespace):
                    found = namespace
                    break
                if namespace in self.live:
                    opened.append(namespace)
                else:
                    self._known.discard(namespace)
            heappop(order)
        for namespace in opened:
            heappush(order, namespace)
        return found

    def read(self, namespace: int) -> dict[Any, Any]:
        if namespace in self._partial:
            self._bring(namespace)
        live, clean = self.live.get(namespace), self._clean.get(namespace)
        if not clean:
            return live or {}
        return {**clean, **live} if live else clean

    def take(self, namespace: int) -> dict[Any, Any]:
        entries = self.read(namespace)
        self._forget(namespace)
        return entries

    def drop(self, namespace: int) -> None:
        self._forget(namespace)

    def _forget(self, namespace: int) -> None:
        live = self.live.pop(namespace, {})
        clean = self._clean.pop(namespace, {})
        removed = self._removed.pop(namespace, set())
        if namespace in self._stored:
            # Deleting key by key is cheaper while a namespace has few keys for its ranges, one per key group.
            few = len(live) + len(clean) + len(removed) <= 4 * len(self._key_groups)
            self._dropped[namespace] = [*live, *clean, *removed] if few and namespace not in self._partial else None
        for known_as in (self._stored, self._partial, self._doubtful, self._known):
            known_as.discard(namespace)

    def _holds(self, namespace: int) -> bool:
        """Whether a namespace has an entry; one that turns out to be empty is stored no more."""
        if self.live.get(namespace) or self._clean.get(namespace):
            return True
        if namespace not in self._stored:
            return False
        if namespace in self._doubtful:
            if namespace in self._partial:
                self._bring(namespace)
            if not self._clean.get(namespace):
                self._dropped[namespace] = list(self._removed.pop(namespace, ()))
                self._stored.discard(namespace)
                self._doubtful.discard(namespace)
                return False
            self._doubtful.discard(namespace)
        return True

    def _fetch(self, namespace: int, key: Any) -> Any:
        removed = self._removed.get(namespace)
        if removed is not None and key in removed:
            return None
        encoded = self._keys.encode(key)
        prefix = self._prefixes[crc32(encoded) % len(self._prefixes)]
        data = self.column.get(prefix + raw_namespace(namespace) + encoded)
        return None if data is None else self._decode(data)

    def _bring(self, namespace: int) -> None:
        """Make a partial namespace whole in memory, and with it a few that follow, for the price of the same seeks."""
        found: list[tuple[int, bytes, bytes]] = []
        horizon: int | None = None
        start = raw_namespace(namespace)
        for group in self._key_groups:
            prefix = self._prefixes[group]
            ahead = 0
            for raw, data in self.column.scan(prefix + start, prefix + _AFTER_ALL):
                at = namespace_of(raw)
                if at != namespace:
                    ahead += 1
                    if ahead > _READ_AHEAD or (horizon is not None and at >= horizon):
                        horizon = at if horizon is None else min(horizon, at)
                        break
                found.append((at, raw, data))
        whole = {namespace}
        for at, raw, data in found:
            if at in self._partial and (horizon is None or at < horizon):
                whole.add(at)
                key = self._keys.decode(raw[_HEADER:])
                if key not in self._removed.get(at, ()) and key not in self.live.get(at, ()):
                    self._clean.setdefault(at, {}).setdefault(key, self._decode(data))
        self._partial -= whole

    # What follows is for the store.

    def restored(self, namespaces: Iterable[int], doubtful: Iterable[int] = ()) -> None:
        """The column holds entries of a snapshot, in these namespaces; the `doubtful` of them may be empty."""
        self._stored = set(namespaces)
        self._doubtful = set(doubtful)
        self._partial = set(self._stored)
        self._known = set(self._stored)
        self._order = sorted(self._stored)

    @property
    def stored(self) -> tuple[list[int], list[int]]:
        """The namespaces that the database holds, and those of them that may be empty; ascending."""
        return sorted(self._stored), sorted(self._doubtful & self._stored)

    @property
    def memory_bytes(self) -> float:
        """Estimated size of what is in memory and can be evicted: the namespaces cannot, about 250 bytes each.

        With many namespaces they are not counted anew every time.
        """
        tables = len(self.live) + len(self._clean)
        self._asked += 1
        if tables <= _COUNTED_EXACTLY * self._asked:
            self._asked = 0
            self._held = sum(map(len, self.live.values())) + sum(map(len, self._clean.values()))
        voided = len(self._removed) + len(self._dropped)
        return self._held * self._size.mean + tables * TABLE_BYTES + voided * SLOT_BYTES

    def sample(self) -> None:
        """Look at a few entries to see how large they have become."""
        for newest in islice(reversed(self.live.values()), 1):
            self._size.sample([*islice(newest.items(), _SAMPLE), *islice(reversed(newest.items()), _SAMPLE)])

    def add_writes(self, batch: Any, now_ms: int, limit: int | None = None) -> None:
        """Put what has changed into a write batch: everything, or `limit` entries of the least recent namespaces and
        all removals."""
        self._add_deletes(batch)
        self._portions = list(self.live.items()) if limit is None else self._oldest(limit)
        handle, put, prefixes = self.column.handle, batch.put, self._prefixes
        count = len(prefixes)
        changed = [entries for _, entries in self._portions]
        # All namespaces at once: there may be many with one entry each.
        keys = self._keys.encode_many(list(chain.from_iterable(changed)))
        values = self.layout.values.encode_many(chain.from_iterable([entries.values() for entries in changed]))
        start = 0
        for namespace, entries in self._portions:
            middle = raw_namespace(namespace)
            stop = start + len(entries)
            for key, value in zip(keys[start:stop], values[start:stop], strict=True):
                put(prefixes[crc32(key) % count] + middle + key, value, handle)
            start = stop
        self._size.measure(chain.from_iterable([entries.items() for entries in changed]), values)

    def wrote_all(self) -> None:
        """The batch with everything is in the database."""
        for namespace, entries in self.live.items():
            if entries:
                self._stored.add(namespace)
                clean = self._clean.pop(namespace, None)
                if clean:
                    clean.update(entries)
                    entries = clean
                self._clean[namespace] = entries
        self.live = {}
        self._portions = []
        self._removed = {}
        self._dropped = {}

    def wrote_oldest(self) -> None:
        """The batch with some entries is in the database: drop them from memory."""
        for namespace, entries in self._portions:
            if entries:
                self._stored.add(namespace)
                self._partial.add(namespace)
            kept = dict(islice(self.live[namespace].items(), len(entries), None))
            if kept:
                self.live[namespace] = kept
            else:
                del self.live[namespace]
        self._portions = []
        self._removed = {}
        self._dropped = {}

    def drop_unchanged(self, excess_bytes: float) -> None:
        """Drop unchanged entries, the least recent namespaces first, until `excess_bytes` are gone or none is left."""
        for namespace in list(self._clean):
            if excess_bytes <= 0:
                break
            entries = self._clean[namespace]
            count = min(len(entries), int(excess_bytes / self._size.mean) + 1)
            excess_bytes -= count * self._size.mean
            if count:
                self._partial.add(namespace)
            if count == len(entries):
                excess_bytes -= TABLE_BYTES
                del self._clean[namespace]
            else:
                self._clean[namespace] = dict(islice(entries.items(), count, None))

    def entries_for(self, n_bytes: float) -> int:
        """How many changed entries take about `n_bytes`."""
        held = sum(map(len, self.live.values()))
        return min(held, int(n_bytes / self._size.mean) + 1) if self.live else 0

    def _oldest(self, limit: int) -> list[tuple[int, dict[Any, Any]]]:
        portions = []
        for namespace, entries in self.live.items():
            if limit <= 0:
                break
            portion = entries if len(entries) <= limit else dict(islice(entries.items(), limit))
            portions.append((namespace, portion))
            limit -= len(portion)
        return portions

    def _add_deletes(self, batch: Any) -> None:
        handle = self.column.handle
        for namespace, keys in self._dropped.items():
            if keys is None:
                start, stop = raw_namespace(namespace), raw_namespace(namespace + 1)
                for group in self._key_groups:
                    prefix = self._prefixes[group]
                    batch.delete_range(prefix + start, prefix + stop, handle)
            else:
                for key in self._raw_keys(namespace, keys):
                    batch.delete(key, handle)
        for namespace, removed in self._removed.items():
            for key in self._raw_keys(namespace, removed):
                batch.delete(key, handle)

    def _raw_keys(self, namespace: int, keys: Any) -> list[bytes]:
        middle = raw_namespace(namespace)
        prefixes = self._prefixes
        count = len(prefixes)
        return [prefixes[crc32(key) % count] + middle + key for key in self._keys.encode_many(keys)]
