"""key → value in RocksDB behind a write-back cache of native objects.

Keys in the database: key group (u16, big endian) · encoded key.

Every entry that is in memory is in exactly one of three dicts: `live`, touched since the last barrier and taken to be
changed; `frozen`, changed before that barrier and not yet written for its snapshot; `clean`, as the database has it, the
least recently written first. Inner loops see `live` only, so recency costs them nothing.

A frozen entry is never given out: whoever asks for it gets it after it has been encoded as it was at the barrier, which
is then *thawed*, waiting to be written. Eviction drops `clean` from its front.

While nothing was dropped and nothing restored the table is complete: what is not in memory does not exist.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from itertools import islice
from typing import Any
from zlib import crc32

from ..errors import StateError
from .database import Column
from .layout import StateLayout
from .lineup import Lineup
from .sizing import KEY_BYTES, EntrySize, container_bytes

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
        self.failure: StateError | None = None
        self._clean: dict[Any, Any] = {}
        self._stored: set[Any] = set()  # the keys of `live` that are in the database
        self._removed: set[Any] = set()  # keys whose entry in the database, if any, is void
        self._frozen: dict[Any, Any] = {}
        self._frozen_stored: set[Any] = set()
        self._frozen_removed: set[Any] = set()
        self._frozen_at_ms = 0
        self._lineup = Lineup[Any]()
        self._measured = 0
        self._thawed: list[tuple[bytes, bytes]] = []
        self._portion: dict[Any, Any] = {}
        self._portion_removed: list[Any] = []
        self._absent: set[Any] = set()  # keys that were looked for in the database since it was last written to
        self._complete = True
        self._batched: list[Any] = []
        self._keys = layout.keys
        self._decode = layout.values.decode
        self._prefixes = [group.to_bytes(2, "big") for group in range(max_parallelism)]
        self._size = EntrySize()

    def load(self, key: Any) -> Any:
        value = self._clean.pop(key, None)
        if value is None:
            if key in self._frozen:
                value = self._thaw(key)
            elif key in self.live or key in self._removed or key in self._frozen_removed:
                return self.live.get(key)
            else:
                value = self._fetch(key)
                if value is None:
                    return None
        self._stored.add(key)
        self.live[key] = value
        return value

    def get(self, key: Any) -> Any:
        for entries in (self.live, self._clean):
            value = entries.get(key)
            if value is not None:
                return value
        if key in self._frozen:
            value = self._thaw(key)
            # What could not be encoded is not in the database: it stays changed.
            (self._clean if self.failure is None else self.live)[key] = value
            return value
        if key in self._removed or key in self._frozen_removed:
            return None
        value = self._fetch(key)
        if value is not None:
            self._clean[key] = value
        return value

    def put(self, key: Any, value: Any) -> None:
        if key not in self.live:
            if key in self._frozen:
                self._thaw(key)
                self._stored.add(key)
            elif self._clean.pop(key, None) is not None:
                self._stored.add(key)
            else:
                self._keys.check(key)
                if not self._complete and key not in self._absent:
                    self._removed.add(key)
        self.live[key] = value

    def remove(self, key: Any) -> None:
        if self.live.pop(key, None) is not None:
            if key in self._stored:
                self._stored.discard(key)
                self._removed.add(key)
        elif key in self._frozen:
            self._thaw(key)
            self._removed.add(key)
        elif self._clean.pop(key, None) is not None or not self._complete:
            self._removed.add(key)

    def items(self) -> Iterator[tuple[Any, Any]]:
        for key in list(self._frozen):
            self.get(key)
        for entries in (self.live, self._clean):
            yield from entries.items()
        if not self._complete:
            known = (self.live, self._clean, self._removed, self._frozen_removed)
            for raw, data in self.column.scan(b"", b"\xff\xff\xff"):
                key = self._keys.decode(raw[2:])
                if not any(key in keys for keys in known):
                    yield key, self._decode(data)

    def prefetch(self, keys: Sequence[Any]) -> None:
        """Read what is not in memory of these keys, all at once; `load` and `get` find it there."""
        if self._complete:
            return
        live, clean = self.live, self._clean
        try:
            # In order of the records, for from here on it is the order of what is written and dropped.
            missing = list(dict.fromkeys([key for key in keys if key not in live]))
            if clean:
                again = [key for key in missing if key in clean]
                if again:
                    missing = [key for key in missing if key not in clean]
                    if self.layout.changed_by_records:
                        live.update(zip(again, map(clean.pop, again), strict=True))
                        self._stored.update(again)
            for known in (self._frozen, self._removed, self._frozen_removed):
                if known:
                    missing = [key for key in missing if key not in known]
            if not missing:
                return
            raw_keys = self._raw_keys(missing)
        except (StateError, TypeError):
            # The record whose key cannot be one is found when its turn comes, and named.
            return
        found = self.column.get_many(raw_keys)
        self._absent = {key for key, data in zip(missing, found, strict=True) if data is None}
        if self._absent:
            missing = [key for key in missing if key not in self._absent]
        values = self.layout.values.decode_many([data for data in found if data is not None])
        if self.layout.changed_by_records:
            live.update(zip(missing, values, strict=True))
            self._stored.update(missing)
        else:
            clean.update(zip(missing, values, strict=True))

    def _fetch(self, key: Any) -> Any:
        if self._complete:
            self._keys.check(key)
            return None
        if key in self._absent:
            return None
        data = self.column.get(self._raw(key))
        return None if data is None else self._decode(data)

    def _thaw(self, key: Any) -> Any:
        """Take an entry out of `frozen`, its value encoded before anybody can change it."""
        value = self._frozen.pop(key)
        try:
            self._thawed.append((self._raw(key), self.layout.values.encode(value)))
        except StateError as error:
            self.failure = self.failure or error
        self._frozen_removed.discard(key)
        return value

    # What follows is for the store.

    def restored(self) -> None:
        """The column holds entries of a snapshot."""
        self._complete = False

    @property
    def memory_bytes(self) -> float:
        """Estimated size of what is in memory."""
        held = len(self.live) + len(self._frozen) + len(self._clean) + len(self._thawed)
        removed = len(self._removed) + len(self._frozen_removed)
        containers = (
            self.live, self._frozen, self._clean, self._thawed,
            self._stored, self._removed, self._frozen_stored, self._frozen_removed,
        )  # fmt: skip
        return held * self._size.mean + removed * KEY_BYTES + sum(map(container_bytes, containers))

    def sample(self) -> bool:
        """Look at a few entries to see how large they have become; whether that is what was thought."""
        live = self.live
        return self._size.sample([*islice(live.items(), _SAMPLE), *islice(reversed(live.items()), _SAMPLE)])

    def freeze(self, now_ms: int) -> None:
        """A barrier: what has changed is to be written as it is now. Costs the same however much that is."""
        self._frozen, self.live = self.live, {}
        self._frozen_stored, self._stored = self._stored, set()
        self._frozen_removed, self._removed = self._removed, set()
        self._frozen_at_ms = now_ms
        self._measured = 0

    @property
    def frozen(self) -> int:
        """How much is still to be written of what was frozen."""
        return len(self._frozen) + len(self._frozen_removed) + len(self._thawed)

    @property
    def thawed(self) -> int:
        """How many entries were asked for while they were frozen, and are still to be written."""
        return len(self._thawed)

    def add_thawed(self, batch: Any) -> None:
        """Put what was thawed into a write batch. It comes before anything else, and before anything is dropped."""
        handle, put = self.column.handle, batch.put
        for raw, data in self._thawed:
            put(raw, data, handle)

    def wrote_thawed(self) -> None:
        """What was thawed is in the database."""
        self._thawed = []
        self._absent = set()

    def add_frozen(self, batch: Any, limit: int) -> int:
        """Put about `limit` of what was frozen into a write batch, removals first. Returns how many."""
        removed = self._frozen_removed
        self._portion_removed = [removed.pop() for _ in range(min(limit, len(removed)))]
        gone = self._portion_removed
        portion: dict[Any, Any] = {}
        if self._frozen and len(gone) < limit:
            frozen = self._frozen
            portion = {key: frozen[key] for key in self._lineup.take(frozen, limit - len(gone)) if key in frozen}
        kept = portion
        if self.layout.expiring:
            now_ms = self._frozen_at_ms
            kept = {key: value for key, value in portion.items() if value[0] > now_ms}
            gone = [*gone, *[key for key in portion if key not in kept and key in self._frozen_stored]]
        values = self._put(batch, gone, kept)
        self._portion = portion
        if kept:
            self._measured += len(kept)
            self._size.measure(kept.items(), values, len(kept) / self._measured)
        return len(self._portion_removed) + len(portion)

    def wrote_frozen(self) -> None:
        """The batch is in the database: its entries are clean now."""
        frozen, portion = self._frozen, self._portion
        self._absent = set()
        for key in portion:
            del frozen[key]
        if self.layout.expiring:
            now_ms = self._frozen_at_ms
            portion = {key: value for key, value in portion.items() if value[0] > now_ms}
        self._clean.update(portion)
        self._portion, self._portion_removed = {}, []
        if not frozen:
            self._lineup.clear()
            self._frozen, self._frozen_stored = {}, set()  # the table of an emptied dict would stay as large as it was

    def unfreeze(self) -> None:
        """The snapshot has failed: what was not written is changed still."""
        self._frozen.update(self.live)
        self.live, self._frozen = self._frozen, {}
        self._stored |= self._frozen_stored
        self._frozen_stored = set()
        self._removed.update(self._frozen_removed, self._portion_removed)
        self._frozen_removed = set()
        self._portion, self._portion_removed = {}, []
        self._lineup.clear()
        self.failure = None

    def add_writes(self, batch: Any, now_ms: int, limit: int) -> None:
        """Put the `limit` least recently touched changed entries and all removals into a write batch. Nothing is
        frozen."""
        if self.layout.expiring:
            self._forget_expired(now_ms)
        oldest = dict(islice(self.live.items(), limit))
        values = self._put(batch, self._removed, oldest)
        self._size.measure(oldest.items(), values)
        self._batched = list(oldest)

    def wrote_oldest(self) -> None:
        """That batch is in the database: drop its entries from memory."""
        self._stored.difference_update(self._batched)
        for key in self._batched:
            del self.live[key]
        self._batched = []
        self._removed = set()
        self._absent = set()
        self._complete = False

    def drop_unchanged(self, excess_bytes: float) -> None:
        """Drop unchanged entries, the least recent first, until `excess_bytes` are gone or none is left."""
        if excess_bytes <= 0 or not self._clean:
            return
        clean = self._clean
        for key in list(islice(clean, int(excess_bytes / self._size.mean) + 1)):
            del clean[key]
        self._complete = False

    def entries_for(self, n_bytes: float) -> int:
        """How many changed entries take about `n_bytes`."""
        return min(len(self.live), int(n_bytes / self._size.mean) + 1)

    def forget_stored(self, raw: bytes) -> bool:
        """An entry in the database has expired: drop it from memory, unless it has changed since. Whether it may be
        deleted."""
        key = self._keys.decode(raw[2:])
        if key in self.live or key in self._frozen:
            return False
        self._clean.pop(key, None)
        return True

    def _forget_expired(self, now_ms: int) -> None:
        for key in [key for key, (expires_ms, _) in self.live.items() if expires_ms <= now_ms]:
            self.remove(key)

    def _put(self, batch: Any, removed: Collection[Any], entries: dict[Any, Any]) -> list[bytes]:
        """Put removals and then entries into a write batch; the encoded values."""
        batch.set_default_column_family(self.column.handle)
        for raw in self._raw_keys(removed):
            batch.delete(raw)
        values = self.layout.values.encode_many(entries.values())
        for _ in map(batch.put, self._raw_keys(entries), values):
            pass
        return values

    def _raw(self, key: Any) -> bytes:
        encoded = self._keys.encode(key)
        return self._prefixes[crc32(encoded) % len(self._prefixes)] + encoded

    def _raw_keys(self, keys: Collection[Any]) -> list[bytes]:
        prefixes = self._prefixes
        count = len(prefixes)
        return [prefixes[crc32(key) % count] + key for key in self._keys.encode_many(keys)]
