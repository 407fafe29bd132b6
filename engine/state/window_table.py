"""(namespace, key) → value in RocksDB behind a write-back cache of native objects.

Entries in memory are in `live`, touched since the last barrier and taken to be changed; in `frozen`, changed before that
barrier and not yet written for its snapshot; or in `clean`, as the database has them. A frozen entry is never given out:
whoever asks for it gets it after it has been encoded as it was at the barrier.

Whether an entry that is not in memory may exist is known per namespace: a namespace is *partial* when it came from a
snapshot or when some of its entries were dropped from memory. Of any other namespace everything is in memory, and one
that was never written has nothing to delete.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from itertools import chain, islice
from sys import getsizeof
from typing import Any

from ..errors import StateError
from .database import Column
from .layout import StateLayout
from .lineup import NestedLineup
from .namespaces import NamespaceOrder
from .sizing import SLOT_BYTES, TABLE_BYTES, EntrySize
from .window_column import WindowColumn
from .window_deletions import WindowDeletions

_SAMPLE = 8
_COUNTED_EXACTLY = 256
_NOTHING: dict[Any, Any] = {}


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
        self._void = WindowDeletions()
        self.failure: StateError | None = None
        self._frozen: dict[int, dict[Any, Any]] = {}
        self._frozen_void = WindowDeletions()
        self._at_barrier: tuple[set[int], set[int]] = (set(), set())  # the stored and doubtful ones of the snapshot
        self._lineup = NestedLineup[int, Any]()
        self._measured = 0
        self._thawed: list[
            tuple[bytes, bytes | None, bytes | None]
        ] = []  # key, value; or without value the end of a range
        self._order = NamespaceOrder()
        self._keys = layout.keys
        self._decode = layout.values.decode
        self._rows = WindowColumn(layout, column, key_groups, max_parallelism)
        self._key_groups = key_groups
        self._size = EntrySize()
        self._held = 0
        self._beyond_bytes = 0
        """What the dicts of namespaces took beyond `TABLE_BYTES` each, when they were last counted."""
        self._asked = 0
        self._portions: list[tuple[int, dict[Any, Any]]] = []
        self._portion_void = WindowDeletions()

    def open(self, namespace: int) -> dict[Any, Any]:
        entries = self.live.get(namespace)
        if entries is None:
            entries = self.live[namespace] = {}
            self._order.add(namespace)
        return entries

    def load(self, namespace: int, key: Any) -> Any:
        entries = self.live.get(namespace)
        if entries is None:
            entries = self.open(namespace)
        clean = self._clean.get(namespace)
        value = None if clean is None else clean.pop(key, None)
        if value is None and key in self._frozen.get(namespace, ()):
            value = self._thaw(namespace, key)
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

    def loader(self, namespace: int) -> Callable[[int, Any], Any]:
        elsewhere = (self._clean, self._frozen, self._partial)
        return self.load if any(namespace in others for others in elsewhere) else self._none_but_live

    def _none_but_live(self, _: int, key: Any) -> None:
        """`load` of a namespace that has no entries but live ones."""
        if type(key) is not self._keys.key_type:
            self._keys.check(key)

    def get(self, namespace: int, key: Any) -> Any:
        value = self.live.get(namespace, _NOTHING).get(key)
        if value is None:
            value = self._clean.get(namespace, _NOTHING).get(key)
        if value is not None:
            return value
        if key in self._frozen.get(namespace, _NOTHING):
            value = self._thaw(namespace, key)
            # What could not be encoded is not in the database: it stays changed.
            (self._clean if self.failure is None else self.live).setdefault(namespace, {})[key] = value
            return value
        if namespace not in self._partial:
            return None
        value = self._fetch(namespace, key)
        if value is not None:
            self._clean.setdefault(namespace, {})[key] = value
        return value

    def reader(self, namespace: int) -> Callable[[Any], Any] | None:
        live, clean = self.live.get(namespace), self._clean.get(namespace)
        if (live and clean) or self._frozen.get(namespace) or namespace in self._partial:
            return partial(self.get, namespace)
        entries = live or clean
        return entries.get if entries else None

    def remove(self, namespace: int, key: Any) -> None:
        for table in (self.live, self._clean):
            entries = table.get(namespace)
            if entries is not None:
                entries.pop(key, None)
        if key in self._frozen.get(namespace, ()):
            self._thaw(namespace, key)
        if namespace in self._stored or self._frozen.get(namespace):
            self._void.remove(namespace, key)
            self._doubtful.add(namespace)

    def namespaces(self) -> list[int]:
        return sorted([namespace for namespace in self._order if self._holds(namespace)])

    def first(self) -> int | None:
        return self._order.first(self._holds, self.live.__contains__)

    def read(self, namespace: int) -> dict[Any, Any]:
        if namespace in self._partial:
            self._bring(namespace)
        self._thaw_all(namespace)
        live, clean = self.live.get(namespace), self._clean.get(namespace)
        if not clean:
            return live or {}
        return {**clean, **live} if live else clean

    def take(self, namespace: int) -> dict[Any, Any]:
        entries = self.read(namespace)
        self._forget(namespace)
        return entries

    def drop(self, namespace: int) -> None:
        self._thaw_all(namespace)
        self._forget(namespace)

    def _forget(self, namespace: int) -> None:
        live = self.live.pop(namespace, {})
        clean = self._clean.pop(namespace, {})
        removed = self._void.removed.pop(namespace, set())
        if namespace in self._stored:
            # Deleting key by key is cheaper while a namespace has few keys for its ranges, one per key group.
            few = len(live) + len(clean) + len(removed) <= 4 * len(self._key_groups)
            self._void.drop(namespace, [*live, *clean, *removed] if few and namespace not in self._partial else None)
        for known_as in (self._stored, self._partial, self._doubtful, self._order):
            known_as.discard(namespace)

    def _holds(self, namespace: int) -> bool:
        """Whether a namespace has an entry; one that turns out to be empty is stored no more."""
        if self.live.get(namespace) or self._clean.get(namespace) or self._frozen.get(namespace):
            return True
        if namespace not in self._stored:
            return False
        if namespace in self._doubtful:
            if namespace in self._partial:
                self._bring(namespace)
            if not self._clean.get(namespace):
                self._void.drop(namespace, list(self._void.removed.pop(namespace, ())))
                self._stored.discard(namespace)
                self._doubtful.discard(namespace)
                return False
            self._doubtful.discard(namespace)
        return True

    def _fetch(self, namespace: int, key: Any) -> Any:
        if self._void.has_removed(namespace, key) or self._frozen_void.has_removed(namespace, key):
            return None
        return self._rows.get(namespace, key)

    def _bring(self, namespace: int) -> None:
        """Make a partial namespace whole in memory, and with it a few that follow, for the price of the same seeks."""
        found, horizon = self._rows.read_from(namespace)
        whole = {namespace}
        for at, raw, data in found:
            if at in self._partial and (horizon is None or at < horizon):
                whole.add(at)
                key = self._keys.decode(raw)
                known = (self._void.removed, self._frozen_void.removed, self.live, self._frozen)
                if not any(key in found_in.get(at, ()) for found_in in known):
                    self._clean.setdefault(at, {}).setdefault(key, self._decode(data))
        self._partial -= whole

    def _thaw(self, namespace: int, key: Any) -> Any:
        """Take an entry out of `frozen`, its value encoded before anybody can change it."""
        value = self._frozen[namespace].pop(key)
        if namespace in self._frozen_void:
            self._encode_thawed(namespace, {key: value})
            return value
        # The usual case, and a fifth of what encoding a batch of one costs.
        self._stored.add(namespace)
        self._at_barrier[0].add(namespace)
        try:
            self._thawed.append((self._rows.raw_key(namespace, key), self.layout.values.encode(value), None))
        except StateError as error:
            self.failure = self.failure or error
        return value

    def _thaw_all(self, namespace: int) -> None:
        """`_thaw` for all frozen entries of a namespace, which go where they belong then."""
        entries = self._frozen.pop(namespace, None)
        if not entries:
            return
        if self._encode_thawed(namespace, entries):
            clean = self._clean.setdefault(namespace, entries)
            if clean is not entries:
                clean.update(entries)
        else:
            self._change_again(namespace, entries)

    def _encode_thawed(self, namespace: int, entries: dict[Any, Any]) -> bool:
        self._stored.add(namespace)
        self._at_barrier[0].add(namespace)
        try:
            raw_keys = self._rows.raw_keys(namespace, entries)
            values = self.layout.values.encode_many(entries.values())
        except StateError as error:
            self.failure = self.failure or error
            return False
        # A deletion of the time before the barrier must not come after what followed it.
        for raw, stop in self._rows.deletes(self._frozen_void, namespace):
            self._thawed.append((raw, None, stop))
        self._frozen_void.forget(namespace)
        self._thawed += [(raw, data, None) for raw, data in zip(raw_keys, values, strict=True)]
        return True

    def _change_again(self, namespace: int, entries: dict[Any, Any]) -> None:
        live = self.live.setdefault(namespace, entries)
        if live is not entries:
            for key, value in entries.items():
                live.setdefault(key, value)

    # What follows is for the store.

    def restored(self, namespaces: Iterable[int], doubtful: Iterable[int] = ()) -> None:
        """The column holds entries of a snapshot, in these namespaces; the `doubtful` of them may be empty."""
        self._stored = set(namespaces)
        self._doubtful = set(doubtful)
        self._partial = set(self._stored)
        self._order.reset(self._stored)

    def take_at_barrier(self) -> tuple[set[int], set[int]]:
        """The namespaces that a snapshot holds, and those of them that may be empty. Once everything frozen is written."""
        found, self._at_barrier = self._at_barrier, (set(), set())
        return found

    @property
    def memory_bytes(self) -> float:
        """Estimated size of what is in memory and can be evicted: the namespaces cannot, about 250 bytes each.

        With many namespaces they are not counted anew every time.
        """
        tables = len(self.live) + len(self._clean) + len(self._frozen)
        self._asked += 1
        if tables <= _COUNTED_EXACTLY * self._asked:
            self._asked = 0
            self._held, self._beyond_bytes = 0, -tables * TABLE_BYTES
            for held in (self.live, self._clean, self._frozen):
                self._held += sum(map(len, held.values()))
                self._beyond_bytes += sum(map(getsizeof, held.values()))
        voided = len(self._void) + len(self._frozen_void)
        return (
            (self._held + len(self._thawed)) * self._size.mean
            + (tables + voided) * TABLE_BYTES
            + self._beyond_bytes
            + len(self._thawed) * SLOT_BYTES
        )

    def sample(self) -> bool:
        """Look at a few entries to see how large they have become; whether that is what was thought."""
        newest = next(reversed(self.live.values()), {})
        return self._size.sample([*islice(newest.items(), _SAMPLE), *islice(reversed(newest.items()), _SAMPLE)])

    def freeze(self, now_ms: int) -> None:
        """A barrier: what has changed is to be written as it is now. Costs next to nothing, however much that is."""
        self._frozen, self.live = self.live, {}
        self._frozen_void, self._void = self._void, WindowDeletions()
        self._at_barrier = set(self._stored), self._doubtful & self._stored
        self._measured = 0

    @property
    def frozen(self) -> int:
        """How much is still to be written of what was frozen: 0 when nothing is."""
        return len(self._frozen) + len(self._frozen_void) + len(self._thawed)

    @property
    def thawed(self) -> int:
        """How many entries were asked for while they were frozen, and are still to be written."""
        return len(self._thawed)

    def add_thawed(self, batch: Any) -> None:
        """Put what was thawed into a write batch. It comes before anything else, and before anything is dropped."""
        handle = self.column.handle
        for raw, data, stop in self._thawed:
            if data is not None:
                batch.put(raw, data, handle)
            elif stop is not None:
                batch.delete_range(raw, stop, handle)
            else:
                batch.delete(raw, handle)

    def wrote_thawed(self) -> None:
        """What was thawed is in the database."""
        self._thawed = []

    def add_frozen(self, batch: Any, limit: int) -> int:
        """Put about `limit` of what was frozen into a write batch, deletions first. Returns how many."""
        self._portion_void, count = self._frozen_void.portion(limit, len(self._key_groups))
        self._rows.add_deletes(batch, self._portion_void)
        self._portions = self._lineup.take(self._frozen, limit - count)
        values = self._rows.add_puts(batch, self._portions)
        if values:
            self._measured += len(values)
            self._measure(values, len(values) / self._measured)
        return count + len(self._portions) + len(values)

    def wrote_frozen(self) -> None:
        """The batch is in the database: its entries are clean now."""
        for namespace, entries in self._portions:
            frozen = self._frozen.get(namespace)
            if frozen is entries:
                del self._frozen[namespace]
            elif frozen is not None:
                for key in entries:
                    del frozen[key]
            if entries:
                self._stored.add(namespace)
                self._at_barrier[0].add(namespace)
                # What was written last is dropped last.
                clean = self._clean.pop(namespace, None)
                if clean:
                    clean.update(entries)
                    entries = clean
                self._clean[namespace] = entries
        self._portions = []
        self._portion_void = WindowDeletions()
        if not self._frozen:
            self._lineup.clear()

    def unfreeze(self) -> None:
        """The snapshot has failed: what was not written is changed still."""
        for namespace, entries in self._frozen.items():
            if entries:
                self._change_again(namespace, entries)
        for earlier in (self._frozen_void, self._portion_void):
            self._void.take_back(earlier)
        self._frozen, self._frozen_void = {}, WindowDeletions()
        self._portions = []
        self._portion_void = WindowDeletions()
        self._lineup.clear()
        self.failure = None

    def add_writes(self, batch: Any, now_ms: int, limit: int) -> None:
        """Put `limit` changed entries of the least recent namespaces and all removals into a write batch. Nothing is
        frozen."""
        self._rows.add_deletes(batch, self._void)
        self._portions = self._oldest(limit)
        self._measure(self._rows.add_puts(batch, self._portions))

    def wrote_oldest(self) -> None:
        """That batch is in the database: drop its entries from memory."""
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
        self._void = WindowDeletions()

    def drop_unchanged(self, excess_bytes: float) -> None:
        """Drop unchanged entries, the least recent namespaces first, until `excess_bytes` are gone or none is left."""
        for namespace in list(self._clean):
            if excess_bytes <= 0:
                break
            entries = self._clean[namespace]
            per_entry = self._size.mean + SLOT_BYTES
            count = min(len(entries), int(excess_bytes / per_entry) + 1)
            excess_bytes -= count * per_entry
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
        return min(held, int(n_bytes / (self._size.mean + SLOT_BYTES)) + 1) if self.live else 0

    def _oldest(self, limit: int) -> list[tuple[int, dict[Any, Any]]]:
        portions = []
        for namespace, entries in self.live.items():
            if limit <= 0:
                break
            portion = entries if len(entries) <= limit else dict(islice(entries.items(), limit))
            portions.append((namespace, portion))
            limit -= len(portion)
        return portions

    def _measure(self, values: list[bytes], weight: float = 1.0) -> None:
        entries = chain.from_iterable([entries.items() for _, entries in self._portions])
        self._size.measure(entries, values, weight)
