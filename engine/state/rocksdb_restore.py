"""Getting the files of RocksDB snapshots back into a database."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from .backend import StoreSnapshot, StoreSpec
from .codec import Conversion
from .database import Column, Database, Memory, explained
from .local_items import FILE as LOCAL_FILE
from .namespaces import namespace_of

NAMESPACES_FILE = "namespaces.msgpack"
"""The file of a snapshot that holds the namespaces of each window table: state name → all of them, and those that may
have become empty."""

Namespaces = dict[str, tuple[list[int], list[int]]]

_SST_BYTES = 32 << 20
_ASK_SIZE_EVERY = 4096


def column_name(state: str) -> str:
    """The column family of a state; never RocksDB's own `default`."""
    return f"state:{state}"


def is_needed(name: str) -> bool:
    """Whether a file of a checkpoint directory belongs to the snapshot: logs are empty, the lock is nobody's."""
    return not (name == "LOCK" or name.startswith("LOG") or name.endswith(".log"))


def is_native(snapshot: StoreSnapshot, spec: StoreSpec) -> bool:
    """Whether the files of a snapshot are databases whose keys are a store's own: same backend, same number of key
    groups."""
    return snapshot.backend == "rocksdb" and snapshot.details.get("max_parallelism") == spec.max_parallelism


def is_direct(snapshot: StoreSnapshot, spec: StoreSpec, conversions: Mapping[str, Conversion | None]) -> bool:
    """Whether the files of a snapshot can be opened as they are: same key groups, same types."""
    same_groups = snapshot.key_groups == (spec.key_groups.start, spec.key_groups.stop)
    return is_native(snapshot, spec) and same_groups and not any(conversions.values())


def link_files(folder: Path, directory: Path) -> None:
    """Put a snapshot's files into a store's directory: SST files, which never change, as hard links."""
    with explained(directory):
        directory.mkdir(parents=True)
        for path in folder.iterdir():
            if path.name in (NAMESPACES_FILE, LOCAL_FILE) or not is_needed(path.name):
                continue
            target = directory / path.name
            try:
                if path.suffix != ".sst":
                    raise OSError("a file that changes")
                os.link(path, target)
            except OSError:
                shutil.copyfile(path, target)


def read_namespaces(folder: Path) -> Namespaces:
    """The content of `NAMESPACES_FILE`."""
    with explained(folder / NAMESPACES_FILE):
        return msgspec.msgpack.decode((folder / NAMESPACES_FILE).read_bytes(), type=Namespaces)


def copy_key_groups(
    memory: Memory,
    folder: Path,
    spec: StoreSpec,
    tables: Mapping[str, Any],
    conversions: Mapping[str, Conversion | None],
) -> dict[str, set[int]]:
    """Copy a store's key groups from a snapshot into its tables, values converted to today's types.

    Args:
        memory: of the backend.
        folder: the files of the snapshot; left as they are.
        spec: of the store.
        tables: the tables of the store by state name; their columns are open.
        conversions: how the values become today's.

    Returns: the namespaces found for each window table.
    """
    namespaces: dict[str, set[int]] = {}
    start = spec.key_groups.start.to_bytes(2, "big")
    stop = spec.key_groups.stop.to_bytes(2, "big")
    sources = {name: Column(column_name(name)) for name in conversions if name in tables}
    database = Database(memory, folder, list(sources.values()), read_only=True)
    try:
        for name, source in sources.items():
            if not source.attached:
                continue
            table = tables[name]
            entries = source.scan(start, stop)
            convert = conversions[name]
            if convert is not None:
                encode = table.layout.values.encode
                entries = ((raw, encode(convert(data))) for raw, data in entries)
            if table.layout.schema.kind == "window":
                entries = _noting_namespaces(entries, namespaces.setdefault(name, set()))
            ingest(entries, table.column, spec.directory / "incoming")
    finally:
        database.close()
    return namespaces


def _noting_namespaces(entries: Iterator[tuple[bytes, bytes]], found: set[int]) -> Iterator[tuple[bytes, bytes]]:
    for entry in entries:
        found.add(namespace_of(entry[0]))
        yield entry


def ingest(entries: Iterator[tuple[bytes, bytes]], column: Column, scratch: Path) -> None:
    """Write ascending entries to SST files and hand these to the database: cheaper than writing them one by one."""
    paths: list[Path] = []
    writer: Any = None
    with explained(scratch):
        scratch.mkdir(exist_ok=True)
        for count, (raw, data) in enumerate(entries):
            if writer is None:
                paths.append(scratch / f"{len(paths)}.sst")
                writer = column.sst_writer(paths[-1])
            writer[raw] = data
            if count % _ASK_SIZE_EVERY == 0 and writer.file_size() > _SST_BYTES:
                writer.finish()
                writer = None
        if writer is not None:
            writer.finish()
        if paths:
            column.ingest(paths)
        shutil.rmtree(scratch)
