"""From a batch of the stream to columns of Kafka records."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ...operators.batch import Batch
from ..formats.format import Blocking, Format, RegisteredFormat
from ..sink import SinkError
from .message import Message

KeyOf = str | Callable[[Any], bytes | str | None] | None
Headers = Sequence[tuple[str, bytes]]
HeadersOf = Callable[[Any], Headers] | None
TopicOf = Callable[[Any], str] | None
Timestamp = Literal["event_time"] | None


@dataclass(slots=True)
class Rows:
    """Records for one topic, as parallel lists; None where no record has any.

    Attributes:
        values: None is a tombstone.
        partitions: where a record names its own; None leaves it to the partitioner.
    """

    topic: str
    values: Sequence[bytes | None]
    keys: Sequence[bytes | None] | None
    timestamps: Sequence[int | None] | None
    headers: Sequence[Headers] | None
    partitions: Sequence[int | None] | None


class RowMaker:
    """Reads keys, headers, topics and times of records and encodes their values in bulk.

    Args:
        topic: where records go that name no other; None when all must.
        only_topic: all go there, whatever they name.
        blocking: of the sink's context, for formats with a schema registry.
    """

    def __init__(
        self,
        topic: str | None,
        format: Format[Any],
        key: KeyOf,
        topic_of: TopicOf,
        headers: HeadersOf,
        timestamp: Timestamp,
        blocking: Blocking,
        *,
        only_topic: bool = False,
    ) -> None:
        self._topic = topic
        self._only = only_topic
        self._format = format
        self._key = key
        self._topic_of = topic_of
        self._headers = headers
        self._timestamp = timestamp
        self._blocking = blocking
        self._formats: dict[str, Format[Any]] = {}

    async def prepare(self, topic: str) -> None:
        """Get ready to encode for a topic."""
        found = self._format
        if isinstance(found, RegisteredFormat):
            found = found.for_topic(topic, "value")
            await found.prepare_encode(self._blocking)
        self._formats[topic] = found

    async def make(self, batch: Batch[Any]) -> list[Rows]:
        """The rows of a batch, by topic, in order within each.

        Raises:
            SinkError: a record cannot be written; says why.
        """
        values, timestamps = batch.values, batch.timestamps
        if self._timestamp == "event_time" and timestamps is None:
            raise SinkError(
                'timestamp="event_time", but the stream has no event time: give the source event_time=', retriable=False
            )
        if (self._only or self._topic_of is None) and Message not in set(map(type, values)):
            return [await self._plain(self._only_topic(), values, timestamps)]
        groups: dict[str, list[int]] = {}
        for i, value in enumerate(values):
            groups.setdefault(self._topic_for(value), []).append(i)
        return [
            await self._mixed(topic, [values[i] for i in found], timestamps and [timestamps[i] for i in found])
            for topic, found in groups.items()
        ]

    async def _plain(self, topic: str, values: Sequence[Any], timestamps: Sequence[int] | None) -> Rows:
        return Rows(
            topic,
            await self._encode(topic, values),
            None if self._key is None else self._keys(self._key, values),
            timestamps if self._timestamp == "event_time" else None,
            None if self._headers is None else self._read(self._headers, values, "headers"),
            None,
        )

    async def _mixed(self, topic: str, values: Sequence[Any], timestamps: Sequence[int] | None) -> Rows:
        """Messages say themselves what else is read from a plain value."""
        inner = [value.value if isinstance(value, Message) else value for value in values]
        rows = await self._plain(topic, [value for value in inner if value is not None], None)
        encoded, keys, headers = iter(rows.values), iter(rows.keys or ()), iter(rows.headers or ())
        out = Rows(topic, [], [], [], [], [])
        columns: Any = (out.values, out.keys, out.timestamps, out.headers, out.partitions)
        times = timestamps if timestamps is not None else [None] * len(values)
        for value, content, time in zip(values, inner, times, strict=True):
            is_message = isinstance(value, Message)
            payload = None if content is None else next(encoded)
            key = None if content is None else next(keys, None)
            named = () if content is None else next(headers, ())
            event_time = time if self._timestamp == "event_time" or is_message else None
            row = [payload, key, event_time, named, None]
            if is_message:
                row[1] = value.key if value.key is not None else key
                row[2] = value.timestamp_ms if value.timestamp_ms is not None else event_time
                row[3] = value.headers or named
                row[4] = value.partition
            if payload is None and row[1] is None:
                raise SinkError(f"topic {topic!r}: a record has neither key nor value", retriable=False)
            for column, cell in zip(columns, row, strict=True):
                column.append(cell)
        return out

    def _topic_for(self, value: Any) -> str:
        if self._only:
            return self._only_topic()
        if isinstance(value, Message):
            if value.topic is not None:
                return value.topic
            value = value.value
        if self._topic_of is not None and value is not None:
            topic: str = self._read(self._topic_of, [value], "topic_of")[0]
            return topic
        return self._only_topic()

    def _only_topic(self) -> str:
        if self._topic is None:
            raise SinkError(
                "a record names no topic: give the sink a topic or topic_of, or the Message its topic", retriable=False
            )
        return self._topic

    async def _encode(self, topic: str, values: Sequence[Any]) -> Sequence[bytes | None]:
        if topic not in self._formats:
            await self.prepare(topic)
        try:
            return self._formats[topic].encode_messages(values)
        except (TypeError, ValueError, OverflowError, AttributeError) as error:
            raise SinkError(
                f"topic {topic!r}: a record cannot be written as {self._format.describe()}: {error}"
            ) from error

    def _keys(self, key: str | Callable[[Any], Any], values: Sequence[Any]) -> list[bytes | None]:
        keys = _fields(key, values) if isinstance(key, str) else self._read(key, values, "key")
        kinds = set(map(type, keys))
        if kinds <= {str}:
            return [key.encode() for key in keys]
        if kinds <= {bytes, type(None)}:
            return keys
        if kinds == {int}:
            return [b"%d" % key for key in keys]
        return [_key_bytes(key) for key in keys]

    def _read(self, function: Callable[[Any], Any], values: Sequence[Any], what: str) -> list[Any]:
        try:
            return [function(value) for value in values]
        except Exception as error:
            raise SinkError(f"{what}= failed: {type(error).__name__}: {error}", retriable=False) from error


def _fields(field: str, values: Sequence[Any]) -> list[Any]:
    try:
        if values and isinstance(values[0], dict):
            return [value[field] for value in values]
        return [getattr(value, field) for value in values]
    except (AttributeError, KeyError, TypeError) as error:
        raise SinkError(f"key={field!r}: a record has no such field", retriable=False) from error


def _key_bytes(key: Any) -> bytes | None:
    if key is None or isinstance(key, bytes):
        return key
    if isinstance(key, str):
        return key.encode()
    if isinstance(key, int):
        return str(key).encode()
    raise SinkError(
        f"a key must be bytes, text, a whole number (written as text) or None, not {type(key).__name__}: "
        "pass key= a function that makes it",
        retriable=False,
    )
