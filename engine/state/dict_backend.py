"""The state backend that keeps everything in plain dicts: for small state, and what the others are compared with.

A snapshot is one msgpack file: state name → entries, each an array of the encoded key, the namespace or encoded map
key where there is one, and the encoded value. Memory is not bounded: the budget is not looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from ...operators.state import Tables
from ..errors import StateError
from .backend import OperatorStore, PendingSnapshot, SnapshotFiles, StoreSnapshot, StoreSpec
from .codec import Conversion
from .entries import DICT_FILE, RawEntry, open_snapshot, read_items
from .layout import EVENT_TIMERS, PROCESSING_TIMERS, BoundTables, StateLayout
from .local_items import FILE as LOCAL_FILE
from .local_items import encode_local, restore_local
from .timers import TimerService


class DictBackend:
    """Keeps state in dicts. Implements `StateBackend`."""

    name = "dict"

    def create(self, spec: StoreSpec) -> OperatorStore:
        """An empty store; touches no disk."""
        return DictStore(spec)

    def restore(self, spec: StoreSpec, snapshots: Sequence[tuple[StoreSnapshot, Path]]) -> OperatorStore:
        """A store with what the snapshots hold of `spec.key_groups`."""
        store = DictStore(spec)
        store.load(snapshots)
        return store


class DictStore:
    """The state of one operator in one subtask, in dicts. Implements `OperatorStore`."""

    over_budget = False
    memory_bytes = 0
    disk_bytes = 0

    def __init__(self, spec: StoreSpec) -> None:
        self._spec = spec
        self._by_name: dict[str, DictKeyedTable | DictWindowTable | DictMapTable] = {}
        self._bound = BoundTables(spec, self)
        self.tables: Tables = self._bound
        self.timers: TimerService | None = None
        if spec.uses_timers:
            self.timers = TimerService(EVENT_TIMERS.bind(self._bound), PROCESSING_TIMERS.bind(self._bound))

    def keyed(self, layout: StateLayout) -> DictKeyedTable:
        table = self._by_name[layout.schema.name] = DictKeyedTable(layout)
        return table

    def windowed(self, layout: StateLayout) -> DictWindowTable:
        table = self._by_name[layout.schema.name] = DictWindowTable(layout)
        return table

    def mapped(self, layout: StateLayout) -> DictMapTable:
        table = self._by_name[layout.schema.name] = DictMapTable(layout)
        return table

    def begin_snapshot(self, directory: Path) -> PendingSnapshot:
        now_ms = self._spec.now_ms()
        content = {name: table.encoded(now_ms) for name, table in self._by_name.items()}
        return _DictSnapshot(
            directory,
            StoreSnapshot(
                backend=DictBackend.name,
                operator_id=self._spec.operator_id,
                subtask=self._spec.subtask,
                key_groups=(self._spec.key_groups.start, self._spec.key_groups.stop),
                schemas=self._bound.schemas,
            ),
            {DICT_FILE: msgspec.msgpack.encode(content), LOCAL_FILE: encode_local(self._bound.locals)},
        )

    def prefetch(self, keys: Sequence[Any]) -> None:
        pass

    def drop_unchanged(self) -> bool:
        return True

    def evict(self) -> None:
        pass

    def close(self) -> None:
        self._by_name.clear()

    def load(self, snapshots: Sequence[tuple[StoreSnapshot, Path]]) -> None:
        """Take in what the snapshots hold of the store's key groups."""
        spec = self._spec
        conversions = [self._bound.conversions(snapshot) for snapshot, _ in snapshots]
        for (snapshot, folder), converts in zip(snapshots, conversions, strict=True):
            with open_snapshot(snapshot, folder) as files:
                for name, table in self._by_name.items():
                    if name not in converts:
                        continue
                    convert = converts[name] or table.layout.values.decode
                    for entry in files.entries(name, (spec.key_groups, spec.max_parallelism)):
                        table.insert(entry, convert)
        restore_local(
            self._bound.locals,
            [(s, partial(read_items, s, f), c) for (s, f), c in zip(snapshots, conversions, strict=True)],
            spec,
        )


class DictKeyedTable:
    """key → value. Implements `KeyedTable`; everything is always live."""

    def __init__(self, layout: StateLayout) -> None:
        self.layout = layout
        self.live: dict[Any, Any] = {}

    def load(self, key: Any) -> Any:
        self.layout.keys.check(key)
        return self.live.get(key)

    def get(self, key: Any) -> Any:
        return self.live.get(key)

    def put(self, key: Any, value: Any) -> None:
        self.layout.keys.check(key)
        self.live[key] = value

    def remove(self, key: Any) -> None:
        self.live.pop(key, None)

    def items(self) -> Iterator[tuple[Any, Any]]:
        return iter(self.live.items())

    def encoded(self, now_ms: int) -> list[tuple[bytes, bytes]]:
        """What a snapshot holds; what has expired is forgotten."""
        if self.layout.expiring:
            _drop_expired(self.live, now_ms)
        encode_key, encode = self.layout.keys.encode, self.layout.values.encode
        return [(encode_key(key), encode(value)) for key, value in self.live.items()]

    def insert(self, entry: RawEntry, convert: Conversion) -> None:
        """Take in an entry of a snapshot."""
        key, _, value = entry
        self.live[self.layout.keys.decode(key)] = convert(value)


class DictWindowTable:
    """(namespace, key) → value. Implements `WindowTable`; everything is always live."""

    def __init__(self, layout: StateLayout) -> None:
        self.layout = layout
        self.live: dict[int, dict[Any, Any]] = {}

    def open(self, namespace: int) -> dict[Any, Any]:
        return self.live.setdefault(namespace, {})

    def load(self, namespace: int, key: Any) -> Any:
        self.layout.keys.check(key)
        return self.open(namespace).get(key)

    def loader(self, namespace: int) -> Callable[[int, Any], Any]:
        return self.load

    def get(self, namespace: int, key: Any) -> Any:
        return self.live.get(namespace, {}).get(key)

    def reader(self, namespace: int) -> Callable[[Any], Any] | None:
        entries = self.live.get(namespace)
        return entries.get if entries else None

    def remove(self, namespace: int, key: Any) -> None:
        self.live.get(namespace, {}).pop(key, None)

    def namespaces(self) -> list[int]:
        return sorted([namespace for namespace, entries in self.live.items() if entries])

    def first(self) -> int | None:
        return min((namespace for namespace, entries in self.live.items() if entries), default=None)

    def read(self, namespace: int) -> dict[Any, Any]:
        return self.live.get(namespace, {})

    def take(self, namespace: int) -> dict[Any, Any]:
        return self.live.pop(namespace, {})

    def drop(self, namespace: int) -> None:
        self.live.pop(namespace, None)

    def encoded(self, now_ms: int) -> list[tuple[bytes, int, bytes]]:
        """What a snapshot holds."""
        encode_key, encode = self.layout.keys.encode, self.layout.values.encode
        return [
            (encode_key(key), namespace, encode(value))
            for namespace, entries in self.live.items()
            for key, value in entries.items()
        ]

    def insert(self, entry: RawEntry, convert: Conversion) -> None:
        """Take in an entry of a snapshot."""
        key, namespace, value = entry
        assert isinstance(namespace, int)
        self.open(namespace)[self.layout.keys.decode(key)] = convert(value)


class DictMapTable:
    """(key, map key) → value. Implements `MapTable`."""

    def __init__(self, layout: StateLayout) -> None:
        assert layout.map_keys is not None
        self.layout = layout
        self._map_keys = layout.map_keys
        self._entries: dict[Any, dict[Any, Any]] = {}

    def get(self, key: Any, map_key: Any) -> Any:
        return self._entries.get(key, {}).get(map_key)

    def put(self, key: Any, map_key: Any, value: Any) -> None:
        self.layout.keys.check(key)
        self._map_keys.check(map_key)
        self._entries.setdefault(key, {})[map_key] = value

    def remove(self, key: Any, map_key: Any) -> None:
        entries = self._entries.get(key)
        if entries is not None and entries.pop(map_key, None) is not None and not entries:
            del self._entries[key]

    def items(self, key: Any) -> Iterator[tuple[Any, Any]]:
        return iter(list(self._entries.get(key, {}).items()))

    def keys(self) -> Iterator[Any]:
        return iter(list(self._entries))

    def clear(self, key: Any) -> None:
        self._entries.pop(key, None)

    def encoded(self, now_ms: int) -> list[tuple[bytes, bytes, bytes]]:
        """What a snapshot holds; what has expired is forgotten."""
        if self.layout.expiring:
            for key, entries in list(self._entries.items()):
                _drop_expired(entries, now_ms)
                if not entries:
                    del self._entries[key]
        encode_key, encode_map_key = self.layout.keys.encode, self._map_keys.encode
        encode = self.layout.values.encode
        return [
            (encode_key(key), encode_map_key(map_key), encode(value))
            for key, entries in self._entries.items()
            for map_key, value in entries.items()
        ]

    def insert(self, entry: RawEntry, convert: Conversion) -> None:
        """Take in an entry of a snapshot."""
        key, map_key, value = entry
        assert isinstance(map_key, bytes)
        self._entries.setdefault(self.layout.keys.decode(key), {})[self._map_keys.decode(map_key)] = convert(value)


class _DictSnapshot:
    written = True

    def __init__(self, directory: Path, snapshot: StoreSnapshot, content: dict[str, bytes]) -> None:
        self._directory = directory
        self._snapshot = snapshot
        self._content = content

    def advance(self, limit: int) -> int:
        return 0

    def finish(self) -> SnapshotFiles:
        try:
            self._directory.mkdir(parents=True)
            for name, data in self._content.items():
                (self._directory / name).write_bytes(data)
        except OSError as error:
            raise StateError(
                f"the snapshot of operator {self._snapshot.operator_id!r} cannot be written to {self._directory}: "
                f"{error}; free space there, or make it writable"
            ) from error
        return SnapshotFiles(self._snapshot, self._directory, tuple(self._content), {})


def _drop_expired(entries: dict[Any, Any], now_ms: int) -> None:
    for key in [key for key, (expires_ms, _) in entries.items() if expires_ms <= now_ms]:
        del entries[key]
