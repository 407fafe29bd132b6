"""The Kafka sink: exactly once by transactions that are prepared at the barrier and committed when the checkpoint is complete.

A reader with `isolation.level=read_committed` sees each record once, whatever crashed; one without sees records before their
checkpoint, and those of aborted transactions. How it works, and what happens at a crash in each place:
`docs/decisions/0005-kafka-transactions.md`.
"""

from __future__ import annotations

import re
import weakref
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final, Literal

from ...operators.time import Duration, duration_ms, format_ms
from ..formats.format import Format
from ..sink import Committable, Guarantee, SinkContext, SinkError
from .connection import Connection
from .partitioner import Partitioner
from .rows import HeadersOf, KeyOf, Timestamp, TopicOf
from .settings import WriterSettings

if TYPE_CHECKING:
    from .cluster import Cluster
    from .recovery import Recovery
    from .writer import KafkaWriter

Compression = Literal["gzip", "snappy", "lz4", "zstd"] | None

_TOPIC: Final = re.compile(r"[a-zA-Z0-9._-]{1,249}")


class KafkaSink:
    """Writes to Kafka. Made by `kafka.sink`."""

    def __init__(
        self, settings: WriterSettings, *, guarantee: Guarantee, restart_allowance_ms: int, connection: Connection
    ) -> None:
        self.guarantee: Guarantee = guarantee
        self.settings = settings
        self._connection = connection
        self._restart_allowance_ms = restart_allowance_ms
        # Commits borrow the connection of a writer that is open in this process; where there is none they open one.
        self._writers: weakref.WeakSet[KafkaWriter] = weakref.WeakSet()

    def writer(self, context: SinkContext) -> KafkaWriter:
        from .writer import KafkaWriter, TransactionalWriter

        if self.guarantee == "at_least_once":
            return KafkaWriter(self.settings, context)
        self._check_timeout(context)
        writer = TransactionalWriter(self.settings, context)
        self._writers.add(writer)
        return writer

    async def commit(self, context: SinkContext, committables: Sequence[Committable]) -> None:
        if committables:
            async with self._recovery(context) as recovery:
                await recovery.commit(committables)

    async def verify(self, context: SinkContext, committables: Sequence[Committable]) -> None:
        """Raise `OutputLostError` when some of it can never be committed; nothing is changed."""
        async with self._recovery(context) as recovery:
            await recovery.verify(committables)

    async def recover(
        self, context: SinkContext, checkpoint_id: int | None, committables: Sequence[Committable]
    ) -> None:
        if self.guarantee == "exactly_once":
            self._check_timeout(context)
            self._check_name(context)
        elif not committables:
            return
        async with self._recovery(context) as recovery:
            await recovery.recover(checkpoint_id, committables)

    def describe(self) -> str:
        settings = self.settings
        topic = repr(settings.topic) if settings.topic is not None else "topic of each record"
        return f"kafka.sink({self._connection.servers}, {topic}, {settings.format.describe()}, {self.guarantee})"

    def at(self, topic: str) -> KafkaSink:
        """The same sink, writing to another topic: what `tidegate replay --sink NAME=TOPIC` asks for. Every record goes there,
        also one that names another topic; partitions that records name stay. A `transactional_prefix` is the job's, and is
        left out.

        Raises:
            ValueError: it cannot be the name of a topic, or is the sink's own.
        """
        _check_topic(topic)
        if topic == self.settings.topic:
            raise ValueError(f"topic {topic!r} is the sink's own: name another")
        return KafkaSink(
            replace(self.settings, topic=topic, only_topic=True, transactional_prefix=None),
            guarantee=self.guarantee,
            restart_allowance_ms=self._restart_allowance_ms,
            connection=self._connection,
        )

    def _check_name(self, context: SinkContext) -> None:
        """What an earlier attempt left is found by its transactional ids, which have the sink's old name in them."""
        if context.renamed_from is not None and self.settings.transactional_prefix is None:
            raise SinkError(
                f"sink {context.operator_id!r} was called {context.renamed_from!r}, and its transactional ids begin with "
                f'that name: set transactional_prefix="{context.job}-{context.renamed_from}" in kafka.sink to keep them',
                retriable=False,
            )

    def _check_timeout(self, context: SinkContext) -> None:
        """A prepared transaction must outlive the checkpoint and a restart."""
        needed_ms = context.checkpoint_interval_ms + context.checkpoint_timeout_ms + self._restart_allowance_ms
        timeout_ms = self.settings.transaction_timeout_ms
        if timeout_ms < needed_ms:
            raise SinkError(
                f"transaction_timeout={format_ms(timeout_ms)} does not cover checkpoint_interval "
                f"({format_ms(context.checkpoint_interval_ms)}) + checkpoint_timeout "
                f"({format_ms(context.checkpoint_timeout_ms)}) + restart_allowance "
                f"({format_ms(self._restart_allowance_ms)}): the broker could abort output that a checkpoint counts on. "
                "Lower checkpoint_timeout, or raise transaction_timeout (the brokers' transaction.max.timeout.ms limits it)",
                retriable=False,
            )

    @asynccontextmanager
    async def _recovery(self, context: SinkContext) -> AsyncIterator[Recovery]:
        from .cluster import Cluster
        from .recovery import Recovery
        from .transactions import Transactions

        borrowed = self._borrow()
        cluster = borrowed or Cluster(self._connection, context.sleep)
        try:
            if borrowed is None:
                await cluster.open()
            patience_ms = self._connection.connect_timeout_ms
            yield Recovery(
                cluster,
                Transactions(cluster, context.sleep, patience_ms),
                context,
                tokens_topic=self.settings.tokens_topic,
                prefix=self.settings.prefix(context),
                timeout_ms=self.settings.transaction_timeout_ms,
                patience_ms=patience_ms,
            )
        finally:
            if borrowed is None:
                await cluster.close()

    def _borrow(self) -> Cluster | None:
        return next((writer.cluster for writer in self._writers if writer.cluster.usable), None)


def sink(
    servers: str | Sequence[str] | Connection,
    topic: str | None = None,
    *,
    format: Format[Any],
    key: KeyOf = None,
    topic_of: TopicOf = None,
    headers: HeadersOf = None,
    timestamp: Timestamp = None,
    partitioner: Partitioner = "murmur2",
    compression: Compression = None,
    delivery: Guarantee = "exactly_once",
    transaction_timeout: Duration = "15m",
    restart_allowance: Duration = "1m",
    transactional_prefix: str | None = None,
    tokens_topic: str = "__tidegate_commits",
    linger: Duration = "5ms",
    batch_bytes: int = 256 * 1024,
    buffer_bytes: int = 8 * 1024 * 1024,
    delivery_timeout: Duration = "2m",
) -> KafkaSink:
    """Write records to Kafka topics.

        kafka.sink("localhost:9092", "totals", format=formats.json(), key="account")

    Takes plain values, or `Message` values that bring key, headers, timestamp, topic and partition along; a `Message` whose
    value is None is a tombstone. Topics must exist.

    Exactly once needs checkpoints, Kafka 3.0 or newer, and readers with `isolation.level=read_committed`, who see records when
    their checkpoint is complete. At least once shows them after `linger`; after a failure some come twice.

    Args:
        servers: `"host:port"`, several with commas between, or a `Connection`.
        topic: where records go that name no other; None when all do.
        format: how values are written.
        key: a field's name, or value -> bytes, text or None. Records of one key stay in order in one partition.
        topic_of: value -> the topic it goes to.
        headers: value -> (name, bytes) pairs.
        timestamp: `"event_time"` writes the event time of each record, None the time of writing. A `Message` has its own.
        partitioner: `"murmur2"` as every other client, or (key, number of partitions) -> partition.
        compression: of record batches; lz4, snappy and zstd are in the extra `kafka`.
        delivery: `"exactly_once"`, or `"at_least_once"` for records in milliseconds.
        transaction_timeout: when the broker aborts a transaction that is not committed. Must cover checkpoint_interval,
            checkpoint_timeout and a restart; the brokers' `transaction.max.timeout.ms` is the limit.
        restart_allowance: how long a restart may take: part of what `transaction_timeout` must cover.
        transactional_prefix: what the transactional ids begin with; the job's and the sink's name when None.
        tokens_topic: the compacted topic of commit tokens; made when it is missing.
        linger: how long a batch may wait for more records.
        batch_bytes: how large a batch grows, before compression; below `max.message.bytes` of the topics.
        buffer_bytes: how much may be on its way before the stream waits.
        delivery_timeout: how long a batch is tried before the job fails.

    Raises:
        ValueError: settings that cannot be, or do not go together.
    """
    connection = Connection.of(servers)
    if topic is not None:
        _check_topic(topic)
    if not hasattr(format, "encode_messages"):
        raise ValueError("format= takes a format such as formats.json(): one payload is one record")
    if getattr(format, "has_header", False):
        raise ValueError(f"{format.describe()} has a header line, which a topic has no place for: use another format")
    if key is not None and not callable(key) and not (isinstance(key, str) and key):
        raise ValueError(f"key={key!r}: name a field, or pass value -> bytes, text or None")
    if partitioner != "murmur2" and not callable(partitioner):
        raise ValueError(f'partitioner={partitioner!r}: "murmur2", or (key, number of partitions) -> partition')
    if compression not in (None, "gzip", "snappy", "lz4", "zstd"):
        raise ValueError(f'compression={compression!r}: "gzip", "snappy", "lz4", "zstd" or None')
    if delivery not in ("exactly_once", "at_least_once"):
        raise ValueError(f'delivery={delivery!r}: "exactly_once" or "at_least_once"')
    if timestamp not in (None, "event_time"):
        raise ValueError(f'timestamp={timestamp!r}: "event_time", or None for the time of writing')
    if not 1 <= duration_ms(transaction_timeout) < 1 << 31:
        raise ValueError(f"transaction_timeout={transaction_timeout!r}: from 1ms to 24d")
    if batch_bytes < 1024 or buffer_bytes < batch_bytes:
        raise ValueError("batch_bytes must be 1024 at least, and buffer_bytes no less than batch_bytes")
    if compression in ("snappy", "lz4", "zstd") and find_spec("cramjam") is None:
        raise ValueError(f"compression={compression!r} needs cramjam: pip install 'tidegate[kafka]'")
    return KafkaSink(
        WriterSettings(
            connection=connection,
            topic=topic,
            format=format,
            key=key,
            topic_of=topic_of,
            headers=headers,
            timestamp=timestamp,
            partitioner=partitioner,
            compression=compression,
            exactly_once=delivery == "exactly_once",
            linger_ms=duration_ms(linger),
            batch_bytes=batch_bytes,
            buffer_bytes=buffer_bytes,
            delivery_timeout_ms=duration_ms(delivery_timeout),
            transaction_timeout_ms=duration_ms(transaction_timeout),
            transactional_prefix=transactional_prefix,
            tokens_topic=tokens_topic,
        ),
        guarantee=delivery,
        restart_allowance_ms=duration_ms(restart_allowance),
        connection=connection,
    )


def _check_topic(topic: str) -> None:
    if not _TOPIC.fullmatch(topic):
        raise ValueError(f"topic={topic!r} cannot be the name of a topic: letters, digits, '.', '_' and '-'")
