"""What a Kafka sink is told, checked and without a connection."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..formats.format import Format
from ..sink import SinkContext
from .connection import Connection
from .partitioner import Partitioner
from .rows import HeadersOf, KeyOf, Timestamp, TopicOf


@dataclass(frozen=True)
class WriterSettings:
    """How a sink writes. The names are those of the sink's parameters.

    Attributes:
        only_topic: every record goes to `topic`, also one that names another.
    """

    connection: Connection
    topic: str | None
    format: Format[Any]
    key: KeyOf
    topic_of: TopicOf
    headers: HeadersOf
    timestamp: Timestamp
    partitioner: Partitioner
    compression: str | None
    exactly_once: bool
    linger_ms: int
    batch_bytes: int
    buffer_bytes: int
    delivery_timeout_ms: int
    transaction_timeout_ms: int
    transactional_prefix: str | None
    tokens_topic: str
    only_topic: bool = False

    def prefix(self, context: SinkContext) -> str:
        """What the transactional ids of a job's sink begin with."""
        return self.transactional_prefix or f"{context.job}-{context.operator_id}"
