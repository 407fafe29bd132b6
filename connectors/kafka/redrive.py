"""Dead letters, back to where their originals came from."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition, errors

from ..sink import Redriven, SinkContext, SinkError
from .client import connect
from .connection import Connection
from .dead_letter_sink import OFFSET, PARTITION, TOPIC, VALUE
from .topics import list_topics

REDRIVEN: Final = "tidegate.redriven"
"""The header of a message that was sent again: how many times."""

_AT_ONCE: Final = 200
_QUIET_MS: Final = 1_000


class Redrive:
    """Sends originals again, each letter once: a transaction holds what is sent and how far the letters were read.

    Args:
        connection: of the cluster; letters and originals stand in the same one.
        topic: of the letters.
        context: of the sink.
    """

    def __init__(self, connection: Connection, topic: str, context: SinkContext) -> None:
        self._connection = connection
        self._topic = topic
        self._context = context
        self._group = f"{context.job}.{context.operator_id}.redrive"
        self._settings = connection.aiokafka_settings()

    async def run(self, limit: int | None, *, send: bool, tell: Callable[[Redriven], None]) -> Redriven:
        """Until there are no more letters, or `limit` of them.

        Args:
            send: whether to send at all, or only to look.
            tell: is told how far it has come.

        Raises:
            ConnectorError: the cluster or the topic cannot be reached, or a message is refused.
        """
        try:
            return await self._run(limit, send, tell)
        except (errors.KafkaError, OSError, TimeoutError) as error:
            raise SinkError(
                f"Kafka at {self._connection.servers}: dead letters of topic {self._topic!r} are not all redriven: "
                f"{error or type(error).__name__}; start redrive again, it goes on where it was"
            ) from error

    async def _run(self, limit: int | None, send: bool, tell: Callable[[Redriven], None]) -> Redriven:
        places = await self._partitions()
        reading = {**self._settings, "enable_auto_commit": False, "isolation_level": "read_committed"}
        letters = AIOKafkaConsumer(group_id=self._group, auto_offset_reset="earliest", **reading)
        originals = AIOKafkaConsumer(auto_offset_reset="none", **reading)
        producer = AIOKafkaProducer(transactional_id=self._group, **self._settings) if send else None
        started: list[Any] = []
        try:
            for client in (letters, originals, *([producer] if producer else [])):
                await client.start()
                started.append(client)
            return await self._pass(places, letters, originals, producer, limit, tell)
        finally:
            for client in reversed(started):
                await client.stop()

    async def _pass(
        self,
        places: Sequence[TopicPartition],
        letters: Any,
        originals: Any,
        producer: Any,
        limit: int | None,
        tell: Callable[[Redriven], None],
    ) -> Redriven:
        done = Redriven()
        letters.assign(places)
        ends = await letters.end_offsets(places)
        for place in places:
            while await letters.position(place) < ends[place] and (limit is None or done.letters < limit):
                most = _AT_ONCE if limit is None else min(_AT_ONCE, limit - done.letters)
                found = (await letters.getmany(place, timeout_ms=_QUIET_MS, max_records=most)).get(place, [])
                if not found:
                    break
                done = await self._take(found, originals, producer, done, {place: found[-1].offset + 1})
                tell(done)
        return done

    async def _partitions(self) -> list[TopicPartition]:
        """Those of the letters. What is wrong with the cluster or the topic is found out here."""
        client = await connect(self._connection, self._context.sleep, SinkError)
        try:
            found = await list_topics(client, [self._topic], self._connection)
        finally:
            await client.close()
        return [TopicPartition(self._topic, number) for number in sorted(found[self._topic])]

    async def _take(
        self, letters: Sequence[Any], originals: Any, producer: Any, done: Redriven, read: dict[Any, int]
    ) -> Redriven:
        """Send some letters' originals again."""
        messages: list[dict[str, Any]] = []
        for letter in letters:
            headers = dict(letter.headers)
            if TOPIC not in headers:
                done = replace(done, foreign=done.foreign + 1)
                continue
            message = await self._original(originals, letter, headers)
            if message is None:
                done = replace(done, gone=done.gone + 1)
                continue
            messages.append(message)
        if producer is not None:
            async with producer.transaction():
                # Every send is awaited: a transaction is committed without those that failed.
                sent = [await producer.send(**message) for message in messages]
                await asyncio.gather(*sent)
                await producer.send_offsets_to_transaction(read, self._group)
        return replace(done, sent=done.sent + len(messages))

    async def _original(self, originals: Any, letter: Any, headers: dict[str, bytes]) -> dict[str, Any] | None:
        """The message that the letter is about, as it stands in its topic; None when it is gone for good."""
        topic, partition, offset = headers[TOPIC].decode(), int(headers[PARTITION]), int(headers[OFFSET])
        place = TopicPartition(topic, partition)
        if place not in originals.assignment():
            originals.assign([place])
        originals.seek(place, offset)
        try:
            batch = (await originals.getmany(place, timeout_ms=_QUIET_MS, max_records=1)).get(place, [])
        except errors.OffsetOutOfRangeError:
            batch = []
        message: dict[str, Any] = {"topic": topic, "partition": partition}
        if batch and batch[0].offset == offset:
            found = batch[0]
            times = [int(value) for name, value in found.headers if name == REDRIVEN]
            kept = [(name, value) for name, value in found.headers if name != REDRIVEN]
            message |= {"value": found.value, "key": found.key, "timestamp_ms": found.timestamp}
            return message | {"headers": [*kept, (REDRIVEN, str(sum(times) + 1).encode())]}
        if headers.get(VALUE) == b"original":
            # Retention has taken it; the letter kept its bytes.
            return message | {"value": letter.value, "headers": [(REDRIVEN, b"1")]}
        return None
