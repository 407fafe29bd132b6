"""Getting the entries of any snapshot into a database: those of another backend, of another number of key groups, of the
portable format."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from .backend import StoreSnapshot, StoreSpec
from .codec import Conversion
from .database import Column, Database
from .entries import SnapshotReader, database_key, open_snapshot
from .rocksdb_restore import ingest

_BATCH_BYTES = 1 << 20


def take_in(
    database: Database,
    snapshot: StoreSnapshot,
    folder: Path,
    spec: StoreSpec,
    tables: Mapping[str, Any],
    conversions: Mapping[str, Conversion | None],
) -> dict[str, set[int]]:
    """Read a store's key groups from a snapshot into its tables, entry by entry, values converted to today's types.

    Memory stays bounded: entries that ascend go into files that the database takes over, others into write batches.

    Args:
        database: of the store; open.
        snapshot: what is read.
        folder: its files; left as they are.
        spec: of the store.
        tables: the tables of the store by state name; their columns are open.
        conversions: how the values become today's.

    Returns: the namespaces found for each window table.
    """
    namespaces: dict[str, set[int]] = {}
    with open_snapshot(snapshot, folder) as files:
        for name, table in tables.items():
            if name not in conversions:
                continue
            found: set[int] | None = None
            if table.layout.schema.kind == "window":
                found = namespaces.setdefault(name, set())
            entries = _for_database(files, table, spec, conversions[name], found)
            if files.ascending == spec.max_parallelism:
                ingest(entries, table.column, spec.directory / "incoming")
            else:
                _write(entries, table.column, database)
    return namespaces


def _for_database(
    files: SnapshotReader, table: Any, spec: StoreSpec, convert: Conversion | None, found: set[int] | None
) -> Iterator[tuple[bytes, bytes]]:
    """The entries of a state as a database holds them; their namespaces are added to `found`."""
    key_groups = spec.max_parallelism
    encode = table.layout.values.encode
    for key, middle, data in files.entries(table.layout.schema.name, (spec.key_groups, key_groups)):
        if found is not None and isinstance(middle, int):
            found.add(middle)
        yield database_key(key, middle, key_groups), data if convert is None else encode(convert(data))


def _write(entries: Iterator[tuple[bytes, bytes]], column: Column, database: Database) -> None:
    """Put entries that come in any order into the database, a few megabytes at a time."""
    handle = column.handle
    batch, size = database.batch(), 0
    for raw, data in entries:
        batch.put(raw, data, handle)
        size += len(raw) + len(data)
        if size >= _BATCH_BYTES:
            database.write(batch)
            batch, size = database.batch(), 0
    if size:
        database.write(batch)
