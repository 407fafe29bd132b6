"""The portable format of state: files that describe themselves, for savepoints.

A file holds a part of one state of one subtask: a line of JSON that says what it is, then blocks, each a msgpack `bin 32`
whose content is a zlib stream of a msgpack array of entries. An entry is an array of what the header's `fields` name. The
whole format is in docs/reference/savepoint-format.md.

Entries are put together from the bytes that the backends store, so nothing is decoded on the way.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

import msgspec

from ..errors import StateError
from .backend import StateSchema, StoreSnapshot
from .codec import EXPIRING
from .key_groups import key_group

if TYPE_CHECKING:
    from .entries import KeyGroups, RawEntry

BACKEND: Final = "portable"
"""What a `StoreSnapshot` of such files calls its backend."""
FORMAT: Final = "tidegate-state"
FORMAT_VERSION: Final = 1

BLOCK_BYTES: Final = 256 << 10
"""About how large a block is before it is compressed."""
FILE_BYTES: Final = 8 << 20
"""About how large a file becomes: this much is held in memory while it is written."""

_BIN_32: Final = 0xC6
_PAIR: Final = 0x92
_COMPRESSION: Final = 1
_encode = msgspec.msgpack.Encoder().encode
_encode_json = msgspec.json.Encoder().encode


class Header(msgspec.Struct, frozen=True, kw_only=True):
    """The first line of a file.

    Attributes:
        format: always `tidegate-state`.
        format_version: 1. A greater number than the reader knows is refused, not guessed at.
        operator: the operator id.
        subtask: which subtask's state it was.
        state: the state's name; timers are `timers.event` and `timers.processing`.
        kind: `keyed`, `window`, `map`, `local` or `broadcast`.
        version: the version that the state was declared with.
        types: the canonical texts of what is stored; see `StateSchema`.
        fields: what each entry consists of, in order.
        max_parallelism: number of key groups.
        key_groups: first and last+1 key group of the file; None for `local` and `broadcast`, which have no keys.
        entries: how many there are.
    """

    format: str = FORMAT
    format_version: int = FORMAT_VERSION
    operator: str
    subtask: int
    state: str
    kind: str
    version: int
    types: tuple[str, ...]
    fields: tuple[str, ...]
    max_parallelism: int
    key_groups: tuple[int, int] | None
    entries: int


_decode_header = msgspec.json.Decoder(Header).decode


def fields_of(schema: StateSchema) -> tuple[str, ...]:
    """What an entry of a state consists of."""
    if schema.of_subtasks:
        return ("value",)
    middle = {"window": ("time_ms",), "map": ("map_key",)}.get(schema.kind, ())
    expiry = ("expires_at_ms",) if EXPIRING in schema.types else ()
    return ("key", *middle, *expiry, "value")


class StateWriter:
    """Writes the states of one snapshot.

    Args:
        snapshot: what is written: its operator, subtask and schemas.
        folder: where to; exists.
        max_parallelism: number of key groups.

    Attributes:
        files: state → how many files were written for it.
    """

    def __init__(self, snapshot: StoreSnapshot, folder: Path, max_parallelism: int) -> None:
        self.files: dict[str, int] = {}
        self._snapshot = snapshot
        self._folder = folder
        self._max_parallelism = max_parallelism

    def write(self, schema: StateSchema, entries: Iterable[RawEntry]) -> None:
        """Write a state that is not `local`, its entries in ascending order of key group. Blocking.

        Raises:
            OSError: the disk refuses.
        """
        self._write(schema, _packed(schema, entries))

    def write_items(self, schema: StateSchema, items: Iterable[bytes]) -> None:
        """Write a local list. As `write`."""
        self._write(schema, ((b"", b"\x91" + item) for item in items))

    def _write(self, schema: StateSchema, packed: Iterable[tuple[bytes, bytes]]) -> None:
        number = self._snapshot.schemas.index(schema)
        written = 0
        part = _Part()
        for key, entry in packed:
            part.add(key, entry)
            if part.full:
                self._finish(schema, number, written, part)
                written += 1
                part = _Part()
        if part.count:
            self._finish(schema, number, written, part)
            written += 1
        self.files[schema.name] = written

    def _finish(self, schema: StateSchema, number: int, index: int, part: _Part) -> None:
        part.close_block()
        of_subtasks = schema.of_subtasks
        groups = self._max_parallelism
        header = Header(
            operator=self._snapshot.operator_id,
            subtask=self._snapshot.subtask,
            state=schema.name,
            kind=schema.kind,
            version=schema.version,
            types=schema.types,
            fields=fields_of(schema),
            max_parallelism=groups,
            key_groups=None
            if of_subtasks
            else (key_group(part.first_key, groups), key_group(part.last_key, groups) + 1),
            entries=part.count,
        )
        with (self._folder / file_name(number, index)).open("wb") as out:
            out.write(_encode_json(header) + b"\n")
            out.writelines(part.blocks)


def file_name(state: int, index: int) -> str:
    """What a file is called: the number of its state among the snapshot's schemas, and its own number in the state."""
    return f"{state:03d}-{index:06d}.tgstate"


class _Part:
    """What one file will hold."""

    def __init__(self) -> None:
        self.blocks: list[bytes] = []
        self.count = 0
        self.first_key = self.last_key = b""
        self._block: list[bytes] = []
        self._block_bytes = 0
        self._bytes = 0

    @property
    def full(self) -> bool:
        return self._bytes >= FILE_BYTES

    def add(self, key: bytes, entry: bytes) -> None:
        if not self.count:
            self.first_key = key
        self.last_key = key
        self.count += 1
        self._block.append(entry)
        self._block_bytes += len(entry)
        if self._block_bytes >= BLOCK_BYTES:
            self.close_block()

    def close_block(self) -> None:
        if not self._block:
            return
        content = b"".join([b"\xdd", len(self._block).to_bytes(4, "big"), *self._block])
        packed = zlib.compress(content, _COMPRESSION)
        self.blocks.append(b"\xc6" + len(packed).to_bytes(4, "big") + packed)
        self._bytes += len(packed)
        self._block, self._block_bytes = [], 0


def _packed(schema: StateSchema, entries: Iterable[RawEntry]) -> Iterator[tuple[bytes, bytes]]:
    """Each entry as (its key, its bytes). What is stored with a time to live is a pair, whose parts become fields."""
    start = 1 if EXPIRING in schema.types else 0
    head = bytes([0x90 | len(fields_of(schema))])
    if schema.kind == "window":
        for key, middle, data in entries:
            yield key, b"".join((head, key, _encode(middle), data[start:]))
    elif schema.kind == "map":
        for key, middle, data in entries:
            yield key, b"".join((head, key, middle, data[start:]))  # type: ignore[arg-type]  # of a map it is bytes
    else:
        for key, _, data in entries:
            yield key, b"".join((head, key, data[start:]))


class PortableFiles:
    """The files of a snapshot in the portable format. Implements `SnapshotReader`."""

    def __init__(self, snapshot: StoreSnapshot, folder: Path) -> None:
        self.ascending: int | None = snapshot.details.get("max_parallelism")
        self._files: dict[str, int] = snapshot.details.get("files", {})
        self._schemas = {schema.name: (number, schema) for number, schema in enumerate(snapshot.schemas)}
        self._folder = folder

    def entries(self, state: str, wanted: KeyGroups | None = None) -> Iterator[RawEntry]:
        """See `SnapshotReader`."""
        schema = self._schemas[state][1]
        unpack = _unpacker(schema)
        for path in self._paths(state):
            with path.open("rb") as file:
                header = _read_header(path, file, schema)
                whole = wanted is None
                if wanted is not None and wanted[1] == header.max_parallelism and header.key_groups is not None:
                    first, end = header.key_groups
                    if end <= wanted[0].start or wanted[0].stop <= first:
                        continue
                    whole = wanted[0].start <= first and end <= wanted[0].stop
                for row in _rows(path, file, header):
                    entry = unpack(row)
                    if whole or (wanted is not None and key_group(entry[0], wanted[1]) in wanted[0]):
                        yield entry

    def items(self, state: str) -> list[bytes]:
        """See `SnapshotReader`."""
        found: list[bytes] = []
        for path in self._paths(state):
            with path.open("rb") as file:
                header = _read_header(path, file, self._schemas[state][1])
                found += [bytes(value) for (value,) in _rows(path, file, header)]
        return found

    def _paths(self, state: str) -> Iterator[Path]:
        number = self._schemas[state][0]
        for index in range(self._files.get(state, 0)):
            path = self._folder / file_name(number, index)
            if not path.is_file():
                raise _damaged(path, "it is missing")
            yield path


def _unpacker(schema: StateSchema) -> Callable[[Sequence[Any]], RawEntry]:
    expiring = EXPIRING in schema.types
    pair = bytes([_PAIR])
    if schema.kind == "keyed":
        if expiring:
            return lambda row: (bytes(row[0]), None, b"".join((pair, row[1], row[2])))
        return lambda row: (bytes(row[0]), None, bytes(row[1]))
    middle: Callable[[Any], Any] = msgspec.msgpack.Decoder(int).decode if schema.kind == "window" else bytes
    if expiring:
        return lambda row: (bytes(row[0]), middle(row[1]), b"".join((pair, row[2], row[3])))
    return lambda row: (bytes(row[0]), middle(row[1]), bytes(row[2]))


def _read_header(path: Path, file: IO[bytes], schema: StateSchema) -> Header:
    line = file.readline(1 << 20)
    try:
        header = _decode_header(line)
    except msgspec.MsgspecError as error:
        raise _damaged(path, f"its first line is no header: {error}") from error
    if header.format != FORMAT or header.format_version > FORMAT_VERSION:
        raise StateError(
            f"{path} is of format {header.format!r} {header.format_version}, and this version reads {FORMAT!r} up to "
            f"{FORMAT_VERSION}: update Tidegate"
        )
    there = (header.state, header.kind, header.version, header.types, header.fields)
    if there != (schema.name, schema.kind, schema.version, schema.types, fields_of(schema)):
        raise _damaged(path, f"it holds {header.state!r} and not {schema.name!r}, or another version or type of it")
    return header


def _rows(path: Path, file: IO[bytes], header: Header) -> Iterator[Sequence[Any]]:
    """The entries of a file behind its header, as sequences of raw msgpack values."""
    decode = msgspec.msgpack.Decoder(list[tuple[(msgspec.Raw,) * len(header.fields)]]).decode  # type: ignore[misc]  # as many as there are fields
    count = 0
    while frame := file.read(5):
        size = int.from_bytes(frame[1:], "big")
        packed = file.read(size)
        if len(frame) < 5 or frame[0] != _BIN_32 or len(packed) < size:
            raise _damaged(path, "a block is cut short")
        try:
            rows = decode(zlib.decompress(packed))
        except (zlib.error, msgspec.MsgspecError) as error:
            raise _damaged(path, f"a block cannot be read: {error}") from error
        count += len(rows)
        yield from rows
    if count != header.entries:
        raise _damaged(path, f"it has {count} entries instead of {header.entries}")


def _damaged(path: Path, reason: str) -> StateError:
    return StateError(f"{path} cannot be read: {reason}; restore an older checkpoint")
