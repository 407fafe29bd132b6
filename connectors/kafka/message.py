"""A record with all that Kafka keeps of it."""

from __future__ import annotations

from typing import Generic, TypeVar

import msgspec

T = TypeVar("T")


class Message(msgspec.Struct, Generic[T], frozen=True):
    """A record with its key, headers and place: what a source gives with `messages=True`, and a sink takes.

    Attributes:
        value: the decoded value; None is a tombstone.
        key: as it stands in the topic.
        headers: names and bytes, in order; a name may come more than once.
        timestamp_ms: milliseconds since 1970 UTC; a sink takes the event time of the record where it is None.
        topic: where it was read, or where it shall be written; None is the sink's own topic.
        partition: where it was read, or shall be written; None leaves it to the partitioner.
        offset: where it was read; a sink does not look at it.
    """

    value: T | None
    key: bytes | None = None
    headers: tuple[tuple[str, bytes], ...] = ()
    timestamp_ms: int | None = None
    topic: str | None = None
    partition: int | None = None
    offset: int | None = None
