"""Kafka as source and sink (extra `kafka`).

    kafka.source("localhost:9092", "bids", format=formats.json(Bid))
    kafka.sink("localhost:9092", "totals", format=formats.json())
    kafka.Connection("broker:9093", tls=kafka.Tls(ca="ca.pem"), sasl=kafka.Scram("me", "env:KAFKA_PASSWORD"))

Importing this loads no Kafka library.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from .connection import Connection, OAuthBearer, Plain, Sasl, Scram, Tls, TokenProvider
from .message import Message
from .starts import AtTime, Start, at_time

if TYPE_CHECKING:
    from .dead_letter_sink import DeadLetterSink, dead_letters
    from .kafka_sink import KafkaSink, sink
    from .kafka_source import KafkaSource, source

_WHERE: Final[dict[str, str]] = {
    "DeadLetterSink": "dead_letter_sink",
    "KafkaSink": "kafka_sink",
    "KafkaSource": "kafka_source",
    "dead_letters": "dead_letter_sink",
    "sink": "kafka_sink",
    "source": "kafka_source",
}


def __getattr__(name: str) -> Any:
    """What needs more modules, loaded when first used."""
    if name in _WHERE:
        return getattr(import_module(f".{_WHERE[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = [
    "AtTime",
    "Connection",
    "DeadLetterSink",
    "KafkaSink",
    "KafkaSource",
    "Message",
    "OAuthBearer",
    "Plain",
    "Sasl",
    "Scram",
    "Start",
    "Tls",
    "TokenProvider",
    "at_time",
    "dead_letters",
    "sink",
    "source",
]
