"""Keys belong to the same partitions as for every other client."""

from __future__ import annotations

import pytest
from confluent_kafka import Producer
from hypothesis import given
from hypothesis import strategies as st
from tidegate.connectors.kafka.partitioner import KeyedPartitions, murmur2

from .sinks import read


@pytest.mark.parametrize(
    ("data", "signed"),
    [
        (b"21", -973932308),
        (b"foobar", -790332482),
        (b"a-little-bit-long-string", -985981536),
        (b"a-little-bit-longer-string", -1486304829),
        (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        (b"abc", 479470107),
    ],
)
def test_the_hash_is_that_of_the_java_client(data, signed):
    """The vectors of Kafka's own UtilsTest."""
    assert murmur2(data) == signed & 0xFFFFFFFF


@given(st.binary(max_size=40))
def test_the_hash_is_that_of_aiokafka(data):
    """Another implementation agrees on any key, the empty one too."""
    from aiokafka.partitioner import murmur2 as theirs

    assert murmur2(data) == theirs(data) & 0xFFFFFFFF


def test_another_client_chooses_the_same_partitions(kafka_servers, new_topic):
    """confluent-kafka with `murmur2_random`, the Java client's way, puts each of many keys where we do."""
    topic = new_topic(partitions=7)
    keys = [f"key-{n}".encode() for n in range(300)]
    producer = Producer({"bootstrap.servers": kafka_servers, "partitioner": "murmur2_random", "log_level": 3})
    for key in keys:
        producer.produce(topic, key=key, value=b"")
    producer.flush(30)
    theirs = {message.key(): message.partition() for message in read(kafka_servers, topic)}
    assert dict(zip(keys, KeyedPartitions("murmur2").of(keys, 7), strict=True)) == theirs


def test_more_keys_than_are_kept_and_other_counts_change_nothing():
    """What is remembered is only ever what would be computed."""
    partitions = KeyedPartitions("murmur2")
    keys = [str(n).encode() for n in range(70_000)]
    expected = [(murmur2(key) & 0x7FFFFFFF) % 5 for key in keys]
    assert partitions.of(keys, 5) == expected
    assert partitions.of(keys[:10], 3) == [(murmur2(key) & 0x7FFFFFFF) % 3 for key in keys[:10]]
    assert partitions.of(keys, 5) == expected
