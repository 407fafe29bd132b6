"""The entries of a snapshot as bytes, whichever backend wrote it: the one way to read state out of a snapshot.

Restores into another backend or another number of key groups, savepoints, exports and checks all read through here. A
restore whose key groups and backend are the snapshot's own does not: it takes the files as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import msgspec

from ..errors import StateError
from .backend import StoreSnapshot
from .database import Column, Database, Memory
from .key_groups import key_group
from .local_items import FILE as LOCAL_FILE
from .namespaces import namespace_of, raw_namespace
from .portable import BACKEND as PORTABLE
from .portable import PortableFiles
from .rocksdb_restore import column_name

RawEntry: TypeAlias = tuple[bytes, int | bytes | None, bytes]
"""The encoded key; of a window state the namespace, of a map state the encoded map key, else None; the stored value."""

KeyGroups: TypeAlias = tuple[range, int]
"""Key groups, and how many there are in all."""

DICT_FILE = "state.msgpack"
"""The file of a dict snapshot that holds everything but local lists."""

_READ_CACHE_BYTES = 8 << 20
_AFTER_ALL = b"\xff" * 16


class SnapshotReader(Protocol):
    """The files of a snapshot, open."""

    ascending: int | None
    """The number of key groups by which the entries of each state ascend as keys of a database do; None: they are in
    no order."""

    def entries(self, state: str, wanted: KeyGroups | None = None) -> Iterator[RawEntry]:
        """The entries of a state that belongs to keys, one at a time: the state need not fit into memory.

        Args:
            state: its name; one of the snapshot's schemas.
            wanted: only those whose keys lie in these key groups.

        Raises:
            StateError: the files cannot be read; names them.
        """
        ...

    def items(self, state: str) -> list[bytes]:
        """The items of a state that belongs to subtasks, in order. Errors as `entries`."""
        ...


@contextmanager
def open_snapshot(snapshot: StoreSnapshot, folder: Path) -> Iterator[SnapshotReader]:
    """The files of a snapshot for as long as the block lasts. Blocking. A database may write logs beside its files.

    Raises:
        StateError: the files cannot be opened, or a backend wrote them that this version does not know.
    """
    if snapshot.backend == PORTABLE:
        yield PortableFiles(snapshot, folder)
    elif snapshot.backend == "dict":
        yield _DictFiles(snapshot, folder)
    elif snapshot.backend == "rocksdb":
        files = _RocksDBFiles(snapshot, folder)
        try:
            yield files
        finally:
            files.close()
    else:
        raise StateError(
            f"state of operator {snapshot.operator_id!r} was written by backend {snapshot.backend!r}, which this version "
            "cannot read; use the version of Tidegate that wrote it"
        )


def read_items(snapshot: StoreSnapshot, folder: Path, state: str) -> list[bytes]:
    """The items of a local list of a snapshot. As `SnapshotReader.items`."""
    with open_snapshot(snapshot, folder) as files:
        return files.items(state)


def database_key(key: bytes, middle: int | bytes | None, key_groups: int) -> bytes:
    """The key in a database of an entry: what entries ascend by.

    Args:
        key: the encoded key.
        middle: the namespace of a window state, the encoded map key of a map state, else None.
        key_groups: how many there are in all.
    """
    head = key_group(key, key_groups).to_bytes(2, "big")
    if isinstance(middle, int):
        return head + raw_namespace(middle) + key
    if isinstance(middle, bytes):
        return head + len(key).to_bytes(4, "big") + key + middle
    return head + key


class _DictFiles:
    """The one file of a dict snapshot, read into memory as the dicts were."""

    def __init__(self, snapshot: StoreSnapshot, folder: Path) -> None:
        self.ascending: int | None = None
        self._folder = folder
        self._states: dict[str, list[Any]] | None = None

    def entries(self, state: str, wanted: KeyGroups | None = None) -> Iterator[RawEntry]:
        if self._states is None:
            self._states = _read_packed(self._folder / DICT_FILE, dict[str, list[Any]])
        for key, *middle, data in self._states.get(state, ()):
            if wanted is None or key_group(key, wanted[1]) in wanted[0]:
                yield key, middle[0] if middle else None, data

    def items(self, state: str) -> list[bytes]:
        return _native_items(self._folder, state)


class _RocksDBFiles:
    """A database of a snapshot, opened for reading when it is first needed."""

    def __init__(self, snapshot: StoreSnapshot, folder: Path) -> None:
        self.ascending: int | None = snapshot.details.get("max_parallelism")
        self._schemas = {schema.name: schema for schema in snapshot.schemas if not schema.of_subtasks}
        self._folder = folder
        self._columns: dict[str, Column] = {}
        self._database: Database | None = None

    def entries(self, state: str, wanted: KeyGroups | None = None) -> Iterator[RawEntry]:
        if self._database is None:
            self._open()
        column = self._columns[state]
        if not column.attached:
            return
        start, stop = b"", _AFTER_ALL
        if wanted is not None and wanted[1] == self.ascending:
            start, stop = (group.to_bytes(2, "big") for group in (wanted[0].start, wanted[0].stop))
            wanted = None
        split = _SPLITTERS[self._schemas[state].kind]
        for raw, data in column.scan(start, stop):
            key, middle = split(raw)
            if wanted is None or key_group(key, wanted[1]) in wanted[0]:
                yield key, middle, data

    def items(self, state: str) -> list[bytes]:
        return _native_items(self._folder, state)

    def close(self) -> None:
        if self._database is not None:
            self._database.close()

    def _open(self) -> None:
        self._columns = {name: Column(column_name(name)) for name in self._schemas}
        memory = Memory(_READ_CACHE_BYTES, _READ_CACHE_BYTES)
        self._database = Database(memory, self._folder, list(self._columns.values()), read_only=True)


def _keyed_parts(raw: bytes) -> tuple[bytes, None]:
    return raw[2:], None


def _window_parts(raw: bytes) -> tuple[bytes, int]:
    return raw[10:], namespace_of(raw)


def _map_parts(raw: bytes) -> tuple[bytes, bytes]:
    end = 6 + int.from_bytes(raw[2:6], "big")
    return raw[6:end], raw[end:]


_SPLITTERS: dict[str, Callable[[bytes], tuple[bytes, int | bytes | None]]] = {
    "keyed": _keyed_parts,
    "window": _window_parts,
    "map": _map_parts,
}


def _native_items(folder: Path, state: str) -> list[bytes]:
    found: dict[str, list[bytes]] = _read_packed(folder / LOCAL_FILE, dict[str, list[bytes]])
    return found.get(state, [])


def _read_packed(path: Path, kind: Any) -> Any:
    try:
        return msgspec.msgpack.decode(path.read_bytes(), type=kind)
    except (OSError, msgspec.MsgspecError) as error:
        raise StateError(f"{path} cannot be read: {error}; restore an older checkpoint") from error
