"""The column of a window table: how its entries lie in the database, and how they are read and written there.

Keys: key group (u16) · namespace (i64, sign flipped) · encoded key, all big endian, so that a window is one range per key
group.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from itertools import chain
from typing import Any
from zlib import crc32

from .database import Column
from .layout import StateLayout
from .namespaces import HEADER_BYTES, namespace_of, raw_namespace
from .window_deletions import WindowDeletions

_READ_AHEAD = 16
_AFTER_ALL = b"\xff" * 9


class WindowColumn:
    """Reads and writes entries by namespace and key.

    Args:
        layout: what is stored.
        column: where.
        key_groups: those of the store.
        max_parallelism: number of key groups of the job.
    """

    def __init__(self, layout: StateLayout, column: Column, key_groups: range, max_parallelism: int) -> None:
        self._column = column
        self._keys = layout.keys
        self._values = layout.values
        self._prefixes = [group.to_bytes(2, "big") for group in range(max_parallelism)]
        self._key_groups = key_groups

    def get(self, namespace: int, key: Any) -> Any:
        """The value of an entry; None when there is none."""
        data = self._column.get(self.raw_key(namespace, key))
        return None if data is None else self._values.decode(data)

    def read_from(self, namespace: int) -> tuple[list[tuple[int, bytes, bytes]], int | None]:
        """All entries of a namespace as (namespace, key, value), both encoded, and a few of those that follow, for the price
        of the same seeks; with the first namespace of which some may be missing, None where none is."""
        found: list[tuple[int, bytes, bytes]] = []
        horizon: int | None = None
        start = raw_namespace(namespace)
        for group in self._key_groups:
            prefix = self._prefixes[group]
            ahead = 0
            for raw, data in self._column.scan(prefix + start, prefix + _AFTER_ALL):
                at = namespace_of(raw)
                if at != namespace:
                    ahead += 1
                    if ahead > _READ_AHEAD or (horizon is not None and at >= horizon):
                        horizon = at if horizon is None else min(horizon, at)
                        break
                found.append((at, raw[HEADER_BYTES:], data))
        return found, horizon

    def raw_key(self, namespace: int, key: Any) -> bytes:
        """The key of an entry in the database."""
        encoded = self._keys.encode(key)
        return self._prefixes[crc32(encoded) % len(self._prefixes)] + raw_namespace(namespace) + encoded

    def raw_keys(self, namespace: int, keys: Collection[Any]) -> list[bytes]:
        """The keys of entries in the database."""
        middle = raw_namespace(namespace)
        prefixes = self._prefixes
        count = len(prefixes)
        return [prefixes[crc32(key) % count] + middle + key for key in self._keys.encode_many(keys)]

    def add_puts(self, batch: Any, portions: Sequence[tuple[int, dict[Any, Any]]]) -> list[bytes]:
        """Put entries, each with its namespace, into a write batch; their encoded values."""
        handle, put, prefixes = self._column.handle, batch.put, self._prefixes
        count = len(prefixes)
        entries_of = [entries for _, entries in portions]
        # All namespaces at once: there may be many with one entry each.
        keys = self._keys.encode_many(list(chain.from_iterable(entries_of)))
        values = self._values.encode_many(chain.from_iterable([entries.values() for entries in entries_of]))
        start = 0
        for namespace, entries in portions:
            middle = raw_namespace(namespace)
            stop = start + len(entries)
            for key, value in zip(keys[start:stop], values[start:stop], strict=True):
                put(prefixes[crc32(key) % count] + middle + key, value, handle)
            start = stop
        return values

    def add_deletes(self, batch: Any, void: WindowDeletions) -> None:
        """Put deletions into a write batch."""
        handle = self._column.handle
        for namespace in void.namespaces:
            for raw, stop in self.deletes(void, namespace):
                if stop is None:
                    batch.delete(raw, handle)
                else:
                    batch.delete_range(raw, stop, handle)

    def deletes(self, void: WindowDeletions, namespace: int) -> Iterator[tuple[bytes, bytes | None]]:
        """What is to be deleted of a namespace: keys, or ranges with their ends."""
        keys = void.dropped.get(namespace, ())
        if keys is None:
            start, stop = raw_namespace(namespace), raw_namespace(namespace + 1)
            for group in self._key_groups:
                yield self._prefixes[group] + start, self._prefixes[group] + stop
        else:
            for raw in self.raw_keys(namespace, keys):
                yield raw, None
        for raw in self.raw_keys(namespace, void.removed.get(namespace, ())):
            yield raw, None
