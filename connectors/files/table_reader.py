"""Reads Parquet and Arrow IPC files, one row group or record batch at a time."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import Any, Literal

from ..formats.arrow_table import ArrowFormat, library
from ..source import Fetch, Lag, Offset, Rejected, SourceContext, SourceError, Split

TableKind = Literal["parquet", "arrow"]


class TableReader:
    """One file. Its offset is `{"row": n}`. A row group or record batch must fit in memory."""

    def __init__(
        self,
        path: str,
        split: Split,
        offset: Offset | None,
        kind: TableKind,
        format: ArrowFormat[Any],
        *,
        context: SourceContext,
    ) -> None:
        self.path = path
        self._kind = kind
        self._format = format
        self._context = context
        self._row: int = 0 if offset is None else offset["row"]
        self._table: Any = None
        self._table_start = 0
        self._tables: Iterator[Any] | None = None
        self._file: Any = None
        self._rows: int | None = None

    async def check(self) -> None:
        await self._context.blocking(self._open)
        await self.close()

    async def read(self, limit: int) -> Fetch[Any]:
        if self._tables is None:
            await self._context.blocking(self._open)
        while self._table is None or self._row >= self._table_start + self._table.num_rows:
            if not await self._context.blocking(self._next_table):
                await self.close()
                return Fetch([], {"row": self._row}, end=True)
        rows = self._table.slice(self._row - self._table_start, limit)
        start = self._row
        self._row += rows.num_rows
        try:
            decoded = self._format.decode_table(rows)
        except ValueError as error:
            raise SourceError(f"{self.path}: {error}", retriable=False) from error
        starts = range(len(decoded.values)) if decoded.starts is None else decoded.starts
        return Fetch(
            decoded.values,
            {"row": self._row},
            positions=range(start, start + len(starts)) if isinstance(starts, range) else [start + i for i in starts],
            rejected=[Rejected(bad.raw, bad.reason, f"row {start + bad.start}") for bad in decoded.undecodable],
            n_bytes=rows.nbytes,
        )

    def _open(self) -> None:
        pyarrow = library()
        try:
            self._file = open(self.path, "rb")  # noqa: SIM115  # closed by `close`
            self._tables = self._parquet() if self._kind == "parquet" else self._arrow()
            if self._rows is not None and self._rows < self._row:
                raise SourceError(
                    f"{self.path}: has {self._rows} rows, the checkpoint has read {self._row}: it was replaced. Put "
                    "the file back, or start without the checkpoint",
                    retriable=False,
                )
        except FileNotFoundError as error:
            raise SourceError(
                f"{self.path}: the file is gone. Put it back, or start without the checkpoint that names it",
                retriable=False,
            ) from error
        except (OSError, ValueError, pyarrow.ArrowException) as error:
            self._release()
            raise SourceError(f"{self.path}: no readable {self._kind} file: {error}", retriable=False) from error
        except SourceError:
            self._release()
            raise

    def _parquet(self) -> Iterator[Any]:
        parquet = importlib.import_module("pyarrow.parquet")
        file = parquet.ParquetFile(self._file)
        self._rows = file.metadata.num_rows
        columns = self._format.columns(file.schema_arrow.names)

        def tables() -> Iterator[Any]:
            start = 0
            for group in range(file.num_row_groups):
                rows = file.metadata.row_group(group).num_rows
                if start + rows > self._row:
                    self._table_start = start
                    yield file.read_row_group(group, columns=columns)
                start += rows

        return tables()

    def _arrow(self) -> Iterator[Any]:
        ipc = importlib.import_module("pyarrow.ipc")
        magic = self._file.read(6)
        self._file.seek(0)
        if magic == b"ARROW1":
            file = ipc.open_file(self._file)
            batches: Iterator[Any] = (file.get_batch(i) for i in range(file.num_record_batches))
        else:
            file = ipc.open_stream(self._file)
            batches = iter(file)
        self._format.columns(file.schema.names)

        def tables() -> Iterator[Any]:
            start = 0
            for batch in batches:
                if start + batch.num_rows > self._row:
                    self._table_start = start
                    yield batch
                start += batch.num_rows

        return tables()

    def _next_table(self) -> bool:
        assert self._tables is not None
        try:
            self._table = next(self._tables, None)
        except Exception as error:
            raise SourceError(
                f"{self.path}: cannot be read beyond row {self._row}: {error}. All rows before it were read",
                retriable=False,
            ) from error
        return self._table is not None

    def lag(self) -> Lag | None:
        return None if self._rows is None else Lag(records=max(0, self._rows - self._row))

    def _release(self) -> None:
        self._tables = self._table = None
        file, self._file = self._file, None
        if file is not None:
            file.close()

    async def close(self) -> None:
        self._release()
