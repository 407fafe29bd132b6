"""Dead letters in a topic, and the way back.

A letter's message is the poison message itself where it could not be decoded, else the record as JSON. Its headers:

    tidegate.topic, tidegate.partition, tidegate.offset    where the original stands; missing for records of other systems
    tidegate.error, tidegate.operator, tidegate.attempt    what went wrong, where, and in which attempt of the job
    tidegate.value                                         `original`, its bytes; `cut`, their beginning; or `json`
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec

from ..formats.format import RAW_LIMIT_BYTES, Decoded
from ..sink import Committable, Guarantee, Redriven, SinkContext, SinkWriter
from .connection import Connection
from .kafka_sink import KafkaSink, sink

TOPIC: Final = "tidegate.topic"
PARTITION: Final = "tidegate.partition"
OFFSET: Final = "tidegate.offset"
ERROR: Final = "tidegate.error"
OPERATOR: Final = "tidegate.operator"
ATTEMPT: Final = "tidegate.attempt"
VALUE: Final = "tidegate.value"

_PLACE: Final = re.compile(r"(.+)\[(\d+)\]@(\d+)")


class DeadLetterSink:
    """A sink for the side output `failed`. Made by `kafka.dead_letters`."""

    def __init__(self, letters: KafkaSink, connection: Connection, topic: str) -> None:
        self.guarantee: Guarantee = letters.guarantee
        self._letters = letters
        self._connection = connection
        self._topic = topic

    def writer(self, context: SinkContext) -> SinkWriter[Any]:
        return self._letters.writer(context)

    async def commit(self, context: SinkContext, committables: Sequence[Committable]) -> None:
        await self._letters.commit(context, committables)

    async def verify(self, context: SinkContext, committables: Sequence[Committable]) -> None:
        await self._letters.verify(context, committables)

    async def recover(
        self, context: SinkContext, checkpoint_id: int | None, committables: Sequence[Committable]
    ) -> None:
        await self._letters.recover(context, checkpoint_id, committables)

    async def redrive(
        self, context: SinkContext, *, limit: int | None = None, send: bool = True, tell: Callable[[Redriven], None]
    ) -> Redriven:
        """Send the originals of the letters that came since the last time to their topics once more."""
        from .redrive import Redrive

        return await Redrive(self._connection, self._topic, context).run(limit, send=send, tell=tell)

    def at(self, topic: str) -> DeadLetterSink:
        """The same sink, writing to another topic, as `KafkaSink.at`."""
        return DeadLetterSink(self._letters.at(topic), self._connection, topic)

    def describe(self) -> str:
        return f"kafka.dead_letters({self._connection.servers}, {self._topic!r}, {self.guarantee})"


def dead_letters(servers: str | Sequence[str] | Connection, topic: str, **options: Any) -> DeadLetterSink:
    """A topic for dead letters, each with headers that say where the original stands and what was wrong with it.

        stream.side_output("failed").sink("failed", kafka.dead_letters("localhost:9092", "orders.failed"))

    `tidegate redrive` sends the originals to their topics once more, where the job reads them again.

    Args:
        servers: `"host:port"`, several with commas between, or a `Connection`.
        topic: where the letters go; it must exist.
        options: those of `kafka.sink`, but for `format`, `headers` and `topic_of`.

    Raises:
        ValueError: a setting is wrong.
    """
    connection = Connection.of(servers)
    letters = sink(connection, topic, format=_Letters(), headers=headers_of, **options)
    return DeadLetterSink(letters, connection, topic)


class _Letters:
    """Writes dead letters; nobody reads them with it."""

    type: Any = None
    suffix = ".json"

    def encode_messages(self, values: Sequence[Any]) -> list[bytes]:
        return [
            letter.raw if letter.raw is not None else msgspec.json.encode(letter.value, enc_hook=str)
            for letter in values
        ]

    def decode_messages(self, payloads: Sequence[bytes]) -> Decoded[Any]:
        return Decoded(list(payloads))

    def describe(self) -> str:
        return "dead letters"


def headers_of(letter: Any) -> list[tuple[str, bytes]]:
    """The headers of a dead letter."""
    place = _PLACE.fullmatch(letter.offset) if isinstance(letter.offset, str) else None
    found = [] if place is None else list(zip((TOPIC, PARTITION, OFFSET), place.groups(), strict=True))
    kind = "json" if letter.raw is None else "cut" if len(letter.raw) >= RAW_LIMIT_BYTES else "original"
    found += [(ERROR, letter.error), (OPERATOR, letter.operator), (ATTEMPT, str(letter.attempt)), (VALUE, kind)]
    return [(name, value.encode()) for name, value in found]
