"""The state backend on RocksDB: state larger than memory, snapshots by hard links.

One database per store, one column family per keyed state; local lists need none. The tables hold native objects and
write them back; this is where they are put together, evicted and snapshotted.

At a barrier the tables freeze what has changed, which takes no time. It is written in portions between batches. Until the
database has made a checkpoint of itself nothing else is written to it, so that the snapshot is the state at the barrier.

A snapshot is that checkpoint (immutable SST files, and the small files that name them), with two small files beside it:
the namespaces that each window table holds, and the local lists.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from ...operators.state import Tables
from ..errors import StateError
from .backend import OperatorStore, PendingSnapshot, SnapshotFiles, StoreSnapshot, StoreSpec
from .database import Column, Database, Memory, explained, free_disk_bytes
from .entries import read_items
from .expiry import ExpirySweep
from .keyed_table import RocksKeyedTable
from .layout import EVENT_TIMERS, PROCESSING_TIMERS, BoundTables, StateLayout
from .local_items import FILE as LOCAL_FILE
from .local_items import encode_local, restore_local
from .map_table import RocksMapTable
from .rocksdb_import import take_in
from .rocksdb_restore import (
    NAMESPACES_FILE,
    Namespaces,
    column_name,
    copy_key_groups,
    is_direct,
    is_native,
    is_needed,
    link_files,
    read_namespaces,
)
from .timers import TimerService
from .window_table import RocksWindowTable

_EVICT_TO = 0.9

# After how many batches a few entries are looked at again: seldom while they are as large as was thought.
_SAMPLE_OFTEN, _SAMPLE_SELDOM = 8, 64

Table = RocksKeyedTable | RocksWindowTable | RocksMapTable


class RocksDBBackend:
    """Keeps state in RocksDB. Implements `StateBackend`.

    Args:
        block_cache_bytes: memory for blocks read from disk, shared by all stores of the backend.
        write_buffer_bytes: memory for what is written and not yet flushed, shared by all stores of the backend.
        free_bytes: says how much space is left where a path is.
    """

    name = "rocksdb"

    def __init__(
        self,
        block_cache_bytes: int = 64 << 20,
        write_buffer_bytes: int = 64 << 20,
        free_bytes: Callable[[Path], int] = free_disk_bytes,
    ) -> None:
        self._memory = Memory(block_cache_bytes, write_buffer_bytes, free_bytes)

    def create(self, spec: StoreSpec) -> OperatorStore:
        """An empty store.

        Raises:
            StateError: the directory cannot be used, or another process holds it.
        """
        store = RocksDBStore(spec, self._memory)
        store.create()
        return store

    def restore(self, spec: StoreSpec, snapshots: Sequence[tuple[StoreSnapshot, Path]]) -> OperatorStore:
        """A store with what the snapshots hold of `spec.key_groups`.

        One snapshot of the same key groups is opened as it is, its SST files linked; then an entry is read when it is
        first asked for. Otherwise the key groups are copied. Snapshots of another backend, or of another number of key
        groups, are read entry by entry.

        Raises:
            StateTypeError: a stored type differs.
            StateError: a file is missing or damaged.
        """
        store = RocksDBStore(spec, self._memory)
        try:
            store.restore(snapshots)
        except BaseException:
            store.close()
            raise
        return store


class RocksDBStore:
    """The state of one operator in one subtask. Implements `OperatorStore`."""

    def __init__(self, spec: StoreSpec, memory: Memory) -> None:
        self._spec = spec
        self._memory = memory
        self._by_name: dict[str, Table] = {}
        self._keyed: list[RocksKeyedTable] = []
        self._database: Database | None = None
        self._sweeps: dict[str, ExpirySweep] = {}
        self._expiring: dict[str, RocksKeyedTable | RocksMapTable] = {}
        self._pending = False
        self._unsampled = 0
        self._sample_every = _SAMPLE_OFTEN
        self._bound = BoundTables(spec, self)
        self.tables: Tables = self._bound
        self.timers: TimerService | None = None
        self.disk_bytes = 0
        if spec.uses_timers:
            self.timers = TimerService(EVENT_TIMERS.bind(self._bound), PROCESSING_TIMERS.bind(self._bound))

    def keyed(self, layout: StateLayout) -> RocksKeyedTable:
        table = RocksKeyedTable(layout, _column(layout), self._spec.max_parallelism)
        self._keyed.append(table)
        self._by_name[layout.schema.name] = table
        return table

    def windowed(self, layout: StateLayout) -> RocksWindowTable:
        spec = self._spec
        table = RocksWindowTable(layout, _column(layout), spec.key_groups, spec.max_parallelism)
        self._by_name[layout.schema.name] = table
        return table

    def mapped(self, layout: StateLayout) -> RocksMapTable:
        table = RocksMapTable(layout, _column(layout), self._spec.max_parallelism)
        self._by_name[layout.schema.name] = table
        return table

    def create(self) -> None:
        """Open an empty database."""
        self._refuse_used_directory()
        self._open()

    def restore(self, snapshots: Sequence[tuple[StoreSnapshot, Path]]) -> None:
        """Open a database with the key groups of the store."""
        spec = self._spec
        self._refuse_used_directory()
        conversions = [self._bound.conversions(snapshot) for snapshot, _ in snapshots]
        wanted = [
            (snapshot, folder, converts)
            for (snapshot, folder), converts in zip(snapshots, conversions, strict=True)
            if not is_native(snapshot, spec)
            or (snapshot.key_groups[0] < spec.key_groups.stop and spec.key_groups.start < snapshot.key_groups[1])
        ]
        if len(wanted) == 1 and is_direct(wanted[0][0], spec, wanted[0][2]) and self._by_name:
            folder = wanted[0][1]
            link_files(folder, spec.directory)
            self._open()
            self._mark_restored(read_namespaces(folder))
        else:
            self._open()
            namespaces: Namespaces = {name: ([], []) for name in self._by_name}
            for snapshot, folder, converts in wanted if self._by_name else ():
                if is_native(snapshot, spec):
                    copied = copy_key_groups(self._memory, folder, spec, self._by_name, converts)
                else:
                    assert self._database is not None
                    copied = take_in(self._database, snapshot, folder, spec, self._by_name, converts)
                for name, found in copied.items():
                    namespaces[name][0].extend(found)
            self._mark_restored(namespaces)
        restore_local(
            self._bound.locals,
            [(s, partial(read_items, s, f), c) for (s, f), c in zip(snapshots, conversions, strict=True)],
            spec,
        )
        self._measure_disk()

    def begin_snapshot(self, directory: Path) -> PendingSnapshot:
        now_ms = self._spec.now_ms()
        for table in self._by_name.values():
            table.freeze(now_ms)
        for sweep in self._sweeps.values():
            sweep.begin(now_ms)
        self._pending = True
        return _RocksDBSnapshot(self, directory, encode_local(self._bound.locals))

    def prefetch(self, keys: Sequence[Any]) -> None:
        for table in self._keyed:
            table.prefetch(keys)

    @property
    def over_budget(self) -> bool:
        self._unsampled += 1
        if self._unsampled >= self._sample_every:
            self._unsampled = 0
            steady = [table.sample() for table in self._by_name.values()]
            self._sample_every = min(2 * self._sample_every, _SAMPLE_SELDOM) if all(steady) else _SAMPLE_OFTEN
        return self.memory_bytes > self._spec.memory_budget_bytes

    def drop_unchanged(self) -> bool:
        database = self._database
        if database is None:
            return True
        tables = list(self._by_name.values())
        self._write_thawed(database, tables)
        budget = self._spec.memory_budget_bytes
        target = budget * _EVICT_TO
        before = max(1, self.memory_bytes)
        for table in tables:
            table.drop_unchanged((before - target) * table.memory_bytes / before)
        for table in tables:
            table.drop_unchanged(self.memory_bytes - target)
        return self.memory_bytes <= budget * (2 if self._pending else 1)

    def evict(self) -> None:
        database = self._database
        if database is None or self.drop_unchanged():
            return
        tables = list(self._by_name.values())
        before = self.memory_bytes
        excess = before - self._spec.memory_budget_bytes * _EVICT_TO
        batch = database.batch()
        for table in tables:
            share = excess * table.memory_bytes / before
            table.add_writes(batch, self._spec.now_ms(), table.entries_for(share))
        database.write(batch)
        for table in tables:
            table.wrote_oldest()

    @property
    def memory_bytes(self) -> int:
        return int(sum([table.memory_bytes for table in self._by_name.values()]))

    def close(self) -> None:
        database, self._database = self._database, None
        if database is not None:
            database.close()

    @property
    def snapshot_written(self) -> bool:
        """Whether nothing is left of what was frozen."""
        tables, sweeps = self._by_name.values(), self._sweeps.values()
        return not any(table.frozen for table in tables) and not any(sweep.left for sweep in sweeps)

    def advance_snapshot(self, limit: int) -> int:
        """A portion of a snapshot; see `PendingSnapshot.advance`."""
        tables = list(self._by_name.values())
        try:
            return 0 if self._database is None else self._advance(self._database, tables, limit)
        except BaseException:
            self._pending = False
            for table in tables:
                table.unfreeze()
            raise

    def _advance(self, database: Database, tables: list[Table], limit: int) -> int:
        database.check_space(0)
        self._write_thawed(database, tables)
        if database.is_behind:
            return 0
        left = limit
        batch = database.batch()
        for table in tables:
            if table.failure is not None:
                raise table.failure
            if left > 0:
                left -= table.add_frozen(batch, left)
        database.write(batch)
        for table in tables:
            table.wrote_frozen()
        if left > 0 and not any(table.frozen for table in tables):
            # Only now is everything that is clean in memory the same in the database.
            for name, sweep in self._sweeps.items():
                before = sweep.left
                self._delete_expired(database, self._expiring[name], sweep.step(max(0, left)))
                left -= before - sweep.left
        return max(1, limit - left)  # a turn in which all had been thawed is one as well

    @staticmethod
    def _delete_expired(database: Database, table: RocksKeyedTable | RocksMapTable, expired: list[bytes]) -> None:
        if not expired:
            return
        batch = database.batch()
        for raw in expired:
            if table.forget_stored(raw):
                batch.delete(raw, table.column.handle)
        database.write(batch)

    @staticmethod
    def _write_thawed(database: Database, tables: list[Table]) -> None:
        thawed = [table for table in tables if table.thawed]
        if not thawed:
            return
        batch = database.batch()
        for table in thawed:
            table.add_thawed(batch)
        database.write(batch)
        for table in thawed:
            table.wrote_thawed()

    def finish_snapshot(self, directory: Path, local: bytes) -> SnapshotFiles:
        """The last part of a snapshot; see `PendingSnapshot.finish`."""
        namespaces = {
            name: (list(stored), list(doubtful))
            for name, table in self._by_name.items()
            if isinstance(table, RocksWindowTable)
            for stored, doubtful in [table.take_at_barrier()]
        }
        beside = {LOCAL_FILE: local, NAMESPACES_FILE: msgspec.msgpack.encode(namespaces)}
        try:
            with explained(directory):
                if self._database is None:
                    directory.mkdir(parents=True)
                else:
                    self._database.flush()
                    self._database.checkpoint(directory)
                for name, data in beside.items():
                    (directory / name).write_bytes(data)
                files = tuple(sorted([path.name for path in directory.iterdir() if is_needed(path.name)]))
        except BaseException:
            shutil.rmtree(directory, ignore_errors=True)
            raise
        finally:
            self._pending = False
            self._measure_disk()
        spec = self._spec
        return SnapshotFiles(
            StoreSnapshot(
                backend=RocksDBBackend.name,
                operator_id=spec.operator_id,
                subtask=spec.subtask,
                key_groups=(spec.key_groups.start, spec.key_groups.stop),
                schemas=self._bound.schemas,
                details={"max_parallelism": spec.max_parallelism},
            ),
            directory,
            files,
            # RocksDB gives no number to two files of one database.
            {name: name for name in files if name.endswith(".sst")},
        )

    def _refuse_used_directory(self) -> None:
        directory = self._spec.directory
        if (directory / "CURRENT").exists():
            raise StateError(
                f"{directory} already holds state: another process may be using it; "
                "stop that process, or use another working directory"
            )

    def _open(self) -> None:
        if not self._by_name:
            return
        columns = [table.column for table in self._by_name.values()]
        self._database = Database(self._memory, self._spec.directory, columns)
        for name, table in self._by_name.items():
            if table.layout.ttl_ms is not None:
                assert not isinstance(table, RocksWindowTable)
                self._expiring[name] = table
                self._sweeps[name] = ExpirySweep(table.column, table.layout.ttl_ms)

    def _mark_restored(self, namespaces: Namespaces) -> None:
        for name, table in self._by_name.items():
            if isinstance(table, RocksWindowTable):
                table.restored(*namespaces.get(name, ([], [])))
            elif table.column.first() is not None:
                table.restored()

    def _measure_disk(self) -> None:
        if self._database is not None:
            self.disk_bytes = sum([table.column.file_bytes for table in self._by_name.values()])


class _RocksDBSnapshot:
    """A snapshot that is being written."""

    def __init__(self, store: RocksDBStore, directory: Path, local: bytes) -> None:
        self._store = store
        self._directory = directory
        self._local = local

    @property
    def written(self) -> bool:
        return self._store.snapshot_written

    def advance(self, limit: int) -> int:
        return self._store.advance_snapshot(limit)

    def finish(self) -> SnapshotFiles:
        return self._store.finish_snapshot(self._directory, self._local)


def _column(layout: StateLayout) -> Column:
    return Column(column_name(layout.schema.name))
