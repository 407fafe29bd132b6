"""What the user writes: one path that is a source in one place and a sink in another."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Generic, TypedDict, TypeVar, Unpack, overload

from ...operators.time import Duration, duration_ms
from .. import formats
from ..formats.arrow_table import ArrowFormat, library
from ..formats.format import Format, RegisteredFormat, type_name
from ..sink import Committable, Guarantee, SinkContext, SinkError, SinkWriter
from ..source import Offset, SourceContext, SourceReader, Split
from .compression import SUFFIX_OF, Compression, checked, compression_of
from .file_sink import Existing, FileWriter, SinkSettings, blocking, commit_parts, recover_parts, written_parts
from .file_source import FileSource, SplitReader
from .follow_reader import FollowReader
from .partitions import PartitionBy, folder_of
from .parts import BytesPart, ColumnsPart, OpenPart, Part
from .paths import Root, size_bytes
from .record_reader import OnDamage, ReadSettings, RecordReader
from .table_reader import TableKind, TableReader

T = TypeVar("T")

Path = str | os.PathLike[str]


@dataclass(eq=False)
class Files(Generic[T]):
    """Files as a source and as a sink; made by `lines`, `csv`, `text`, `parquet` and `arrow`.

    Attributes:
        type: of the records.
        bounded: whether every split ends.
        poll_interval_ms: how often a growing file is looked at.
        guarantee: of the sink.
        has_timestamps: files bring no timestamps of their own.
        replayable: files can be read again.
        finds_splits: followed and watched paths may get new files.
    """

    type: Any
    bounded: bool
    poll_interval_ms: int
    guarantee: Guarantee
    _shown: str
    _source: FileSource
    _sink: SinkSettings
    has_timestamps: bool = False
    replayable: bool = True
    finds_splits: bool = field(init=False)

    def __post_init__(self) -> None:
        self.finds_splits = not self.bounded

    async def discover(self, context: SourceContext, known: frozenset[str]) -> list[Split]:
        return await self._source.discover(known, context)

    def reader(self, context: SourceContext) -> SourceReader[T]:
        return self._source.reader(context)

    def writer(self, context: SinkContext) -> SinkWriter[T]:
        self._refuse_file()
        return FileWriter(self._sink, context)

    async def commit(self, context: SinkContext, committables: Sequence[Committable]) -> None:
        await blocking(self._sink, context, commit_parts, self._sink, committables)

    async def recover(
        self, context: SinkContext, checkpoint_id: int | None, committables: Sequence[Committable]
    ) -> None:
        self._refuse_file()
        await blocking(self._sink, context, recover_parts, self._sink, context, checkpoint_id, committables)

    def describe(self) -> str:
        return self._shown

    def at(self, path: Path) -> Files[T]:
        """The same sink, writing into another folder: what `tidegate replay --sink NAME=path` asks for."""
        folder = os.fspath(path)
        return replace(self, _sink=replace(self._sink, folder=folder), _shown=f"{self._shown} at {folder!r}")

    def written(self, after: int | None = None, until: int | None = None) -> Files[T]:
        """What the sink has made visible, as a bounded source of its records: of the checkpoints with an id behind `after` and
        up to `until`, or all of it. May be empty."""
        root = Root(self._sink.folder)
        names = partial(written_parts, self._sink, after, until)
        shown = f"{self._shown}, what was written"
        return replace(self, bounded=True, _source=self._source.among(root, names), _shown=shown)

    def _refuse_file(self) -> None:
        if os.path.isfile(self._sink.folder):
            raise SinkError(
                f"{self._sink.folder}: is a file; a sink writes parts into a folder, such as 'out/'", retriable=False
            )


class SinkOptions(TypedDict, total=False):
    """What the sinks of all kinds of files take.

    Keys:
        delivery: `"exactly_once"` stages parts and shows them when the checkpoint is complete. `"at_least_once"`
            appends to visible files at once; after a failure records come again, and a last line may be torn.
        partition_by: folders: `"key"`, a field name (`origin=JFK/`), an event-time pattern (`"%Y-%m-%d/%H"`, UTC), or
            a callable value -> folder.
        roll_size: begin another part when one is this large; parts also end with each checkpoint.
        roll_interval: begin another part when one is this old.
        existing: when the job starts from nothing and its parts of an earlier run are there: `"set_aside"` (usual)
            moves them to `.staged/retracted-…` with a warning, `"fail"` refuses, `"keep"` leaves them beside the new
            ones.
    """

    delivery: Guarantee
    partition_by: PartitionBy
    roll_size: int | str | None
    roll_interval: Duration | None
    existing: Existing


class LineOptions(SinkOptions, total=False):
    """What `lines`, `csv` and `text` take besides.

    Keys:
        compression: `"gzip"`, `"zstd"` (extra `zstd`) or `"none"`; None goes by the names when reading, and
            compresses nothing when writing.
        follow: source: keep reading files that grow, like `tail -F`, and pick up new ones. A file that is renamed is
            read to its end, then the new file of its name; a glob or folder must not take in the renamed ones. A file
            that is cut is reported as a rejected record and read from its beginning.
        watch: source: pick up new files; each is complete when it appears, and read once.
        split_size: source: read larger files in ranges of this size (`"64MB"`), by several subtasks. A range owns the
            lines that begin in it. Not for compressed files.
        max_line: source: longer records are rejected; `"16MB"` when left out.
        on_damage: source: at a place that cannot be read, after all before it, `"fail"` the job (usual) or `"stop"`:
            report it as a rejected record and end there; a followed file goes on with what is there now.
        poll_interval: source: how often to look at growing files; `"100ms"` when left out.
    """

    compression: Compression | None
    follow: bool
    watch: bool
    split_size: int | str | None
    max_line: int | str
    on_damage: OnDamage
    poll_interval: Duration


class TableOptions(SinkOptions, total=False):
    """What `parquet` and `arrow` take besides.

    Keys:
        watch: source: pick up new files; each is complete when it appears, and read once.
        poll_interval: source: how often to ask; `"100ms"` when left out.
        compression: sink, Parquet: of the columns; `"zstd"` when left out.
    """

    watch: bool
    poll_interval: Duration
    compression: str


@overload
def lines(path: Path, format: Format[T], **options: Unpack[LineOptions]) -> Files[T]: ...
@overload
def lines(path: Path, format: None = None, **options: Unpack[LineOptions]) -> Files[Any]: ...
def lines(path: Path, format: Format[Any] | None = None, **options: Unpack[LineOptions]) -> Files[Any]:
    """Files of records, one per line (or, for `formats.msgpack`, each behind its length).

    As a source it is replayable: the offset leads into the file, which must not have changed before that place. A
    compressed file is read again from its start, up to the offset. As a sink it writes part files into a folder.

    Args:
        path: a file, a folder (all files below it whose names do not begin with `.` or `_`), or a glob. For a sink: a
            folder.
        format: what a record is; `formats.json()` when left out.
        options: see `LineOptions`.

    Raises:
        ValueError: a setting is wrong.
        TypeError: an option is not known.
        ImportError: a library is not installed; names the extra.
    """
    chosen: Format[Any] = formats.json() if format is None else format
    return _lines("lines", path, chosen, chosen.describe(), **options)


@overload
def csv(path: Path, type: type[T], **options: Unpack[LineOptions]) -> Files[T]: ...
@overload
def csv(path: Path, type: Any = None, **options: Unpack[LineOptions]) -> Files[Any]: ...
def csv(path: Path, type: Any = None, **options: Unpack[LineOptions]) -> Files[Any]:
    """CSV files with a header row: `lines` with `formats.csv(type)`, which has more settings."""
    return _lines("csv", path, formats.csv(type), type_name(type), **options)


def text(path: Path, **options: Unpack[LineOptions]) -> Files[str]:
    """Text files, a line is a record: `lines` with `formats.text()`."""
    return _lines("text", path, formats.text(), "", **options)


@overload
def parquet(path: Path, type: type[T], **options: Unpack[TableOptions]) -> Files[T]: ...
@overload
def parquet(path: Path, type: Any = None, **options: Unpack[TableOptions]) -> Files[Any]: ...
def parquet(path: Path, type: Any = None, **options: Unpack[TableOptions]) -> Files[Any]:
    """Parquet files; needs the extra `arrow`.

    As a source it reads a row group at a time, and only the columns that the type names; the offset is the row. As a
    sink it writes row groups of up to 100,000 rows; a file ends with each checkpoint.

    Args:
        path: a file, a folder or a glob; for a sink a folder.
        type: a `msgspec.Struct`, a dataclass or a TypedDict; None gives dicts.
        options: see `TableOptions`.
    """
    return _tables("parquet", path, type, **options)


@overload
def arrow(path: Path, type: type[T], **options: Unpack[TableOptions]) -> Files[T]: ...
@overload
def arrow(path: Path, type: Any = None, **options: Unpack[TableOptions]) -> Files[Any]: ...
def arrow(path: Path, type: Any = None, **options: Unpack[TableOptions]) -> Files[Any]:
    """Arrow IPC files, or streams when reading; needs the extra `arrow`. Else like `parquet`."""
    return _tables("arrow", path, type, **options)


def _lines(
    function: str,
    path: Path,
    format: Format[Any],
    shown: str,
    *,
    compression: Compression | None = None,
    follow: bool = False,
    watch: bool = False,
    split_size: int | str | None = None,
    max_line: int | str = "16MB",
    on_damage: OnDamage = "fail",
    poll_interval: Duration = "100ms",
    **sink: Unpack[SinkOptions],
) -> Files[Any]:
    if isinstance(format, ArrowFormat):
        raise ValueError("formats.arrow is not a format of lines: use files.arrow or files.parquet")
    if isinstance(format, RegisteredFormat):
        raise ValueError(f"{format.describe()} needs a schema registry, which files do without: leave registry= out")
    checked(compression)
    if on_damage not in ("fail", "stop"):
        raise ValueError(f'on_damage={on_damage!r}: "fail" or "stop"')
    if split_size is not None and follow:
        raise ValueError("split_size: a growing file is not split; leave out follow or split_size")
    if split_size is not None and not getattr(format, "splittable", False):
        raise ValueError(
            f"split_size: {format.describe()} cannot be read in ranges; CSV without line ends inside quotes can, "
            "with formats.csv(..., multiline=False)"
        )
    settings = ReadSettings(format, compression, size_bytes(max_line, "max_line"), on_damage)

    def open_split(path: str, split: Split, offset: Offset | None, context: SourceContext) -> SplitReader:
        growing = follow and compression_of(path, compression) == "none"
        return (FollowReader if growing else RecordReader)(path, split, offset, settings, context)

    written: Compression = compression or "none"

    def open_part(path: str, opened_ms: int) -> Part:
        return BytesPart(path, opened_ms, format, written)

    source = FileSource(
        Root(path),
        open_split,
        unbounded=follow or watch,
        split_bytes=None if split_size is None else size_bytes(split_size, "split_size"),
        compression=compression,
    )
    settings_out = _sink_settings(path, open_part, format.suffix + SUFFIX_OF[written], True, **sink)
    return Files(
        format.type,
        not (follow or watch),
        duration_ms(poll_interval),
        settings_out.guarantee,
        _describe(function, path, shown),
        source,
        settings_out,
    )


def _tables(
    kind: TableKind,
    path: Path,
    type: Any,
    *,
    watch: bool = False,
    poll_interval: Duration = "100ms",
    compression: str = "zstd",
    **sink: Unpack[SinkOptions],
) -> Files[Any]:
    library()
    format: ArrowFormat[Any] = formats.arrow(type)

    def open_split(path: str, split: Split, offset: Offset | None, context: SourceContext) -> SplitReader:
        return TableReader(path, split, offset, kind, format, context=context)

    def open_part(path: str, opened_ms: int) -> Part:
        return ColumnsPart(path, opened_ms, format, kind, compression)

    source = FileSource(Root(path), open_split, unbounded=watch, split_bytes=None, compression="none")
    settings = _sink_settings(path, open_part, f".{kind}", False, **sink)
    return Files(
        type,
        not watch,
        duration_ms(poll_interval),
        settings.guarantee,
        _describe(kind, path, type_name(type)),
        source,
        settings,
    )


def _sink_settings(
    path: Path,
    open_part: OpenPart,
    suffix: str,
    appendable: bool,
    *,
    delivery: Guarantee = "exactly_once",
    partition_by: PartitionBy = None,
    roll_size: int | str | None = None,
    roll_interval: Duration | None = None,
    existing: Existing = "set_aside",
) -> SinkSettings:
    if delivery not in ("exactly_once", "at_least_once"):
        raise ValueError(f'delivery={delivery!r}: "exactly_once" or "at_least_once"')
    if existing not in ("set_aside", "fail", "keep"):
        raise ValueError(f'existing={existing!r}: "set_aside", "fail" or "keep"')
    return SinkSettings(
        folder=os.fspath(path),
        guarantee=delivery,
        open_part=open_part,
        suffix=suffix,
        appendable=appendable,
        folder_of=folder_of(partition_by),
        roll_bytes=None if roll_size is None else size_bytes(roll_size, "roll_size"),
        roll_ms=None if roll_interval is None else duration_ms(roll_interval),
        existing=existing,
    )


def _describe(function: str, path: Path, shown: str) -> str:
    return f"files.{function}({os.fspath(path)!r}{', ' if shown else ''}{shown})"
