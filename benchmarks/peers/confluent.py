"""confluent-kafka by hand: what librdkafka gives a program in Python."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec

from ..kafka_topics import PARTITIONS
from ..scenario import Figures
from ..stopwatch import Stopwatch

LABEL: Final = "confluent-kafka"

_BATCH: Final = 10_000


def read(servers: str, topic: str, count: int, type: type[Any], look: Callable[[list[Any]], None]) -> Figures:
    """Read `count` records with `consume`, the faster way of two, decode them and show them to `look`."""
    from confluent_kafka import Consumer, TopicPartition

    consumer = Consumer(
        {
            "bootstrap.servers": servers,
            "group.id": "none",
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "queued.min.messages": 500_000,
            "fetch.message.max.bytes": 4_000_000,
            # Or it rests for a second whenever it has read so far ahead.
            "fetch.queue.backoff.ms": 10,
        }
    )
    decode = msgspec.json.Decoder(type).decode
    consumer.list_topics(topic, timeout=30)
    watch = Stopwatch()
    consumer.assign([TopicPartition(topic, partition, 0) for partition in range(PARTITIONS)])
    seen = 0
    while seen < count:
        values = []
        for message in consumer.consume(_BATCH, 0.2):
            if message.error() is not None:
                raise RuntimeError(message.error())
            values.append(decode(message.value() or b""))
        seen += len(values)
        look(values)
    figures = watch.read()
    consumer.close()
    return figures


def write(servers: str, topic: str, values: Sequence[Any], key: Callable[[Any], bytes]) -> Figures:
    """Encode values and write them with `produce`, without losing or doubling any."""
    from confluent_kafka import Producer

    producer = Producer(
        {
            "bootstrap.servers": servers,
            "enable.idempotence": True,
            "partitioner": "murmur2_random",
            "linger.ms": 5,
            "batch.size": 256 * 1024,
            "queue.buffering.max.messages": 1_000_000,
        }
    )
    encode = msgspec.json.Encoder().encode
    producer.list_topics(topic, timeout=30)
    produce = producer.produce
    watch = Stopwatch()
    for i, value in enumerate(values):
        while True:
            try:
                produce(topic, encode(value), key(value))
                break
            except BufferError:
                producer.poll(0.05)
        if not i % 1000:
            producer.poll(0)
    if left := producer.flush(120):
        raise RuntimeError(f"{left} records did not arrive")
    return watch.read()
