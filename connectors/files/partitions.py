"""Into which folder a record is written."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import quote

from ...operators.batch import Batch
from ..sink import SinkError

PartitionBy = str | Callable[[Any], str] | None
"""None, `"key"`, the name of a field, an event-time pattern (`"%Y-%m-%d/%H"`, UTC), or value -> folder."""

FolderOf = Callable[[Batch[Any]], Sequence[str]]
"""The folder of each record of a batch."""

_SAFE: Final = " +,:@()[]~!$&'"
_MOST_CACHED: Final = 10_000


def folder_of(partition_by: PartitionBy) -> FolderOf | None:
    """How to find the folders; None when there are none.

    Raises:
        ValueError: the name is empty.
    """
    if partition_by is None:
        return None
    if callable(partition_by):
        return lambda batch: [_checked(partition_by(value)) for value in batch.values]
    if partition_by == "key":
        return _by_key
    if "%" in partition_by:
        return _by_time(partition_by)
    if not partition_by.strip("/"):
        raise ValueError(f"partition_by={partition_by!r}: name a field, or pass a pattern of event time, or a callable")
    return _by_field(partition_by)


def _by_key(batch: Batch[Any]) -> Sequence[str]:
    if batch.keys is None:
        raise SinkError('partition_by="key", but the stream has no keys: put key_by before the sink', retriable=False)
    return _named("key", batch.keys)


def _by_field(field: str) -> FolderOf:
    def folders(batch: Batch[Any]) -> Sequence[str]:
        values = batch.values
        try:
            if isinstance(values[0], dict):
                return _named(field, [value[field] for value in values])
            return _named(field, [getattr(value, field) for value in values])
        except (AttributeError, KeyError) as error:
            raise SinkError(f"partition_by={field!r}: a record has no such field", retriable=False) from error

    return folders


def _named(name: str, values: Sequence[Any]) -> Sequence[str]:
    folders = {value: f"{name}={_quoted(value)}" for value in set(values)}
    return [folders[value] for value in values]


def _quoted(value: Any) -> str:
    return "__none__" if value is None else quote(str(value), safe=_SAFE) or "__empty__"


def _by_time(pattern: str) -> FolderOf:
    known: dict[int, str] = {}

    def folders(batch: Batch[Any]) -> Sequence[str]:
        if batch.timestamps is None:
            raise SinkError(
                f"partition_by={pattern!r} is a pattern of event time, but the stream has none: give the source "
                "event_time=",
                retriable=False,
            )
        if len(known) > _MOST_CACHED:
            known.clear()
        seconds = [timestamp // 1000 for timestamp in batch.timestamps]
        for second in set(seconds) - known.keys():
            known[second] = _checked(datetime.fromtimestamp(second, UTC).strftime(pattern))
        return [known[second] for second in seconds]

    return folders


def _checked(folder: Any) -> str:
    segments = folder.strip("/").split("/") if isinstance(folder, str) else [""]
    if any(not segment or segment.startswith((".", "_")) or "\0" in segment for segment in segments):
        raise SinkError(
            f"partition_by gave {folder!r}: a folder below the sink's, such as 'origin=JFK', whose names do not begin "
            "with . or _",
            retriable=False,
        )
    return "/".join(segments)
