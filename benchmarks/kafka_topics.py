"""Topics of the Kafka scenarios: made, filled with bids, and read back for the check, all by confluent-kafka."""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from .data import MOST_DELAY_MS
from .scenario import BenchmarkError

PARTITIONS: Final = 4

_WINDOW_MS: Final = 10_000
_CLOSING: Final = b'{"auction":%d,"bidder":0,"price":0,"channel":"","url":"","date_time":%d}'
_WAITED_S: Final = 120.0


def bids_topic(bids: Path, n: int, *, closing: bool = False) -> str:
    """The topic with the first `n` bids of a file. `closing`: and behind them one more for each auction, so far on in event
    time that an engine that ends a window only when its key is seen again ends all that hold bids."""
    # Tests share a broker: the bids of each are its own.
    name = f"bids-{zlib.crc32(str(bids).encode()):08x}-{n}"
    return f"{name}-closing" if closing else name


def create(servers: str, topic: str, settings: Mapping[str, str] | None = None) -> None:
    """Make a topic, with Kafka's settings of topics. Each of its partitions has a leader when this returns.

    Raises:
        BenchmarkError: the broker does not make it.
    """
    from confluent_kafka import KafkaException
    from confluent_kafka.admin import AdminClient, NewTopic

    admin = AdminClient({"bootstrap.servers": servers, "log_level": 3})
    try:
        admin.create_topics([NewTopic(topic, PARTITIONS, 1, config=dict(settings or {}))])[topic].result(30)
    except KafkaException as error:
        raise BenchmarkError(f"topic {topic} cannot be made: {error}") from error
    for _ in range(1000):
        found = admin.list_topics(topic, timeout=30).topics[topic]
        if found.error is None and [p.leader >= 0 for p in found.partitions.values()] == [True] * PARTITIONS:
            return
    raise BenchmarkError(f"topic {topic} has no leaders")


def delete(servers: str, topic: str) -> None:
    """Remove a topic with its records."""
    from confluent_kafka.admin import AdminClient

    admin = AdminClient({"bootstrap.servers": servers, "log_level": 3})
    admin.delete_topics([topic])[topic].result(30)


def count(servers: str, topic: str) -> int:
    """How many records a topic has that nobody has written to in transactions."""
    from confluent_kafka import Consumer, TopicPartition

    consumer = Consumer({"bootstrap.servers": servers, "group.id": "count"})
    try:
        partitions = consumer.list_topics(topic, timeout=30).topics[topic].partitions
        ends = [consumer.get_watermark_offsets(TopicPartition(topic, number), timeout=30) for number in partitions]
    finally:
        consumer.close()
    return sum(last - first for first, last in ends)


def fill(servers: str, bids: Path, n: int, *, closing: bool = False) -> None:
    """Make the topic of the first `n` bids of a file. The key is the auction, as text: bids of one auction stand in one
    partition, the one that every client puts them into."""
    from confluent_kafka import Producer

    topic = bids_topic(bids, n, closing=closing)
    create(servers, topic)
    producer = Producer(
        {
            "bootstrap.servers": servers,
            "log_level": 3,
            "enable.idempotence": True,
            "partitioner": "murmur2_random",
            "linger.ms": 20,
            "batch.size": 500_000,
            "queue.buffering.max.messages": 500_000,
        }
    )
    failures: list[Any] = []

    def delivered(error: Any, _: Any) -> None:
        if error is not None:
            failures.append(error)

    for key, value in records(bids, n, closing=closing):
        while True:
            try:
                producer.produce(topic, value, key, on_delivery=delivered)
                break
            except BufferError:
                producer.poll(0.05)
    producer.flush(_WAITED_S)
    if failures or len(producer):
        raise BenchmarkError(f"topic {topic}: {len(failures) + len(producer)} bids did not arrive: {failures[:1]}")


def records(bids: Path, n: int, *, closing: bool) -> Iterator[tuple[bytes, bytes]]:
    """The records of a topic: key and value."""
    seen: dict[bytes, None] = {}
    value = b""
    with bids.open("rb", buffering=1 << 20) as lines:
        for line in itertools.islice(lines, n):
            value = line[:-1]
            key = value[11 : value.index(b",")]
            seen[key] = None
            yield key, value
    if closing and value:
        newest_ms = int(value[value.rindex(b":") + 1 : -1])
        late_enough_ms = newest_ms + 2 * (MOST_DELAY_MS + _WINDOW_MS)
        for key in seen:
            yield key, _CLOSING % (int(key), late_enough_ms)


def read_back(servers: str, topic: str, path: Path) -> int:
    """Write the values of all committed records of a topic to a file, one a line; how many they are. Partition by partition
    in order, the partitions in any.

    Raises:
        BenchmarkError: the broker does not give them.
    """
    from confluent_kafka import Consumer, KafkaError, TopicPartition

    consumer = Consumer(
        {
            "bootstrap.servers": servers,
            "group.id": "check",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "isolation.level": "read_committed",
            "auto.offset.reset": "earliest",
        }
    )
    try:
        partitions = consumer.list_topics(topic, timeout=30).topics[topic].partitions
        consumer.assign([TopicPartition(topic, number, 0) for number in partitions])
        count = 0
        ended: set[int | None] = set()
        with path.open("wb", buffering=1 << 20) as out:
            while len(ended) < len(partitions):
                messages = consumer.consume(10_000, 1.0)
                for message in messages:
                    error = message.error()
                    if error is None:
                        out.write(message.value() or b"")
                        out.write(b"\n")
                        count += 1
                    elif error.code() == KafkaError._PARTITION_EOF:
                        ended.add(message.partition())
                    elif not error.retriable():
                        raise BenchmarkError(f"topic {topic} cannot be read: {error}")
        return count
    finally:
        consumer.close()
