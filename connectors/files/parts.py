"""One part file being written: bytes or columns, in the staging folder until it is committed. What is marked *blocks*
runs in the executor."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from typing import Any, Final, Protocol

from ..formats.arrow_table import ArrowFormat, library
from ..formats.format import Format
from .compression import Compression, compressor
from .framing import framed

_ROWS_PER_GROUP: Final = 100_000

# So many blocks are written one by one; more of them, which are small then, are put together first.
_MOST_WRITES: Final = 64


class Part(Protocol):
    """Takes values, writes them when told to.

    Attributes:
        path: the file.
        n_bytes: how large it is, with what waits in memory; an estimate while it is written.
        waiting_bytes: what waits in memory.
        n_records: how many records it holds.
        opened_ms: when it began.
    """

    path: str
    n_bytes: int
    waiting_bytes: int
    n_records: int
    opened_ms: int

    def add(self, values: list[Any]) -> None:
        """Take values, in memory only."""
        ...

    def flush(self) -> None:
        """Write what waits. Blocks."""
        ...

    def sync(self) -> None:
        """Write what waits and make it durable; more may be added. Blocks."""
        ...

    def finish(self) -> None:
        """Write the end of the file and make it durable. Blocks. Nothing is added after."""
        ...

    def discard(self) -> None:
        """Give back what is open."""
        ...


OpenPart = Callable[[str, int], Part]
"""A new part at a path, begun at a time in milliseconds."""


class BytesPart:
    """Records as lines or framed by their length, compressed or not. The file is open only while something is written,
    so any number of partitions may be written at a time."""

    def __init__(self, path: str, opened_ms: int, format: Format[Any], compression: Compression) -> None:
        self.path = path
        self.opened_ms = opened_ms
        self.n_bytes = self.waiting_bytes = self.n_records = 0
        self._format: Any = format
        self._lines = hasattr(format, "encode_lines")
        self._blocks: list[bytes] = []
        self._compression = compression
        self._compressor = compressor(compression)

    def add(self, values: list[Any]) -> None:
        if not self._lines:
            block = framed(self._format.encode_messages(values))
        else:
            if not self.n_records and self._format.has_header:
                header = self._format.header(values)
                self._format = self._format.with_header(header)
                self._blocks.append(header)
                self.waiting_bytes += len(header)
                self.n_bytes += len(header)
            block = self._format.encode_lines(values)
        self._blocks.append(block)
        self.waiting_bytes += len(block)
        self.n_bytes += len(block)
        self.n_records += len(values)

    def flush(self) -> None:
        self._write(False, False)

    def sync(self) -> None:
        self._write(False, True)

    def finish(self) -> None:
        self._write(True, True)

    def _write(self, end: bool, durable: bool) -> None:
        blocks, self._blocks = self._blocks, []
        waiting, self.waiting_bytes = self.waiting_bytes, 0
        if self._compressor is not None:
            data = self._compressor.compress(b"".join(blocks))
            if end:
                data += self._compressor.flush()
            elif durable:
                # A complete member, so that a reader of the growing file gets all that is promised.
                data += self._compressor.flush()
                self._compressor = compressor(self._compression)
            self.n_bytes += len(data) - waiting
            blocks = [data]
        elif len(blocks) > _MOST_WRITES:
            blocks = [b"".join(blocks)]
        with open(self.path, "ab", buffering=0) as file:
            for block in blocks:
                view = memoryview(block)
                while view:
                    view = view[file.write(view) :]
            if durable:
                os.fsync(file.fileno())

    def discard(self) -> None:
        self._blocks.clear()


class ColumnsPart:
    """Rows as a Parquet or Arrow IPC file; a row group for every 100,000 rows. The schema is the type's, or that of the
    first rows."""

    def __init__(self, path: str, opened_ms: int, format: ArrowFormat[Any], kind: str, compression: str) -> None:
        self.path = path
        self.opened_ms = opened_ms
        self.n_bytes = self.waiting_bytes = self.n_records = 0
        self._format = format
        self._kind = kind
        self._compression = compression
        self._values: list[Any] = []
        self._file: Any = None
        self._writer: Any = None
        self._schema: Any = None

    def add(self, values: list[Any]) -> None:
        self._values += values
        self.n_records += len(values)
        if len(self._values) >= _ROWS_PER_GROUP:
            # So large that the writer flushes now: a row group is complete.
            self.waiting_bytes = 1 << 40

    def flush(self) -> None:
        values, self._values, self.waiting_bytes = self._values, [], 0
        if not values:
            return
        if self._writer is None:
            self._schema = self._format.schema()
        table = self._format.encode_table(values, self._schema)
        if self._writer is None:
            self._open(table.schema)
        self._writer.write_table(table)
        self.n_bytes = self._file.tell()

    def _open(self, schema: Any) -> None:
        self._schema = schema
        self._file = open(self.path, "wb")  # noqa: SIM115  # closed by `finish` or `discard`
        if self._kind == "parquet":
            parquet = importlib.import_module("pyarrow.parquet")
            self._writer = parquet.ParquetWriter(self._file, schema, compression=self._compression)
        else:
            self._writer = library().ipc.new_file(self._file, schema)

    def sync(self) -> None:
        self.flush()

    def finish(self) -> None:
        self.flush()
        self._writer.close()
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        self.n_bytes = os.path.getsize(self.path)

    def discard(self) -> None:
        self._values.clear()
        if self._file is None or self._file.closed:
            return
        try:
            # Else the library does it later, when the file is closed, and complains.
            self._writer.close()
        except (OSError, ValueError):
            pass
        finally:
            self._file.close()
