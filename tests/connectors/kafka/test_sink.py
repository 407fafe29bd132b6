"""The Kafka sink against a real broker: the contract, and what a record looks like in a topic."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import pytest
from tidegate.connectors import SinkError, formats, kafka
from tidegate.connectors.kafka import Message
from tidegate.engine.testing.connector_suites import SinkSuite
from tidegate.operators.batch import Batch

from .sinks import LiveSinkContext, context, open_writer, read, values, write_and_prepare
from .sources import cancelled_at


class Place:
    """A topic of its own, with its own transactional ids."""

    servers: str
    new_topic: Callable[..., str]
    topic: str

    @pytest.fixture(autouse=True)
    def _place(self, kafka_servers: str, new_topic: Callable[..., str]) -> None:
        self.servers, self.new_topic = kafka_servers, new_topic
        self.topic = new_topic(partitions=2)

    def visible(self) -> Sequence[Any]:
        return values(self.servers, self.topic)

    def context(self, subtask: int = 0, attempt: int = 1) -> LiveSinkContext:
        return context(attempt, subtask, parallelism=2)


class TestExactlyOnce(Place, SinkSuite):
    """The contract, with transactions."""

    def sink(self) -> kafka.KafkaSink:
        return kafka.sink(self.servers, self.topic, format=formats.json(), transactional_prefix=self.topic)

    async def _fresh(self, subtask: int = 0, attempt: int = 1) -> Any:
        # What is visible stays: a start from nothing needs a new place.
        self.topic = self.new_topic(partitions=2)
        return await super()._fresh(subtask, attempt)

    def test_recover_does_away_with_what_is_newer(self) -> None:
        """What is visible cannot be taken back: going behind it is refused, and names the checkpoint that it belongs to."""

        async def check() -> None:
            writer = await self._fresh()
            kept = []
            for checkpoint_id, value in enumerate(self.values(3), 1):
                prepared = await write_and_prepare(writer, [value], checkpoint_id)
                await self.sink().commit(self.context(), prepared)
                kept.append(prepared)
            await writer.close()
            with pytest.raises(
                SinkError, match=r"output of checkpoint 3 .* is visible .* starting from checkpoint 1 would"
            ):
                await self.sink().recover(self.context(attempt=2), 1, kept[0])
            await self.sink().recover(self.context(attempt=2), 3, kept[2])
            assert list(self.visible()) == self.values(3)

        asyncio.run(check())

    def test_a_start_from_nothing_begins_empty(self) -> None:
        """A start from nothing beside visible output is refused, unless the user allows repeats; the next start then goes on
        from what was accepted."""

        async def check() -> None:
            writer = await self._fresh()
            await self.sink().commit(self.context(), await write_and_prepare(writer, self.values(2), 7))
            await writer.close()
            with pytest.raises(
                SinkError, match=r"output of checkpoint 7 .* starting from nothing would write it again"
            ):
                await self.sink().recover(self.context(), None, [])
            allowing = context(1, allow_repeats=True)
            await self.sink().recover(allowing, None, [])
            writer = await open_writer(self.sink(), self.context())
            prepared = await write_and_prepare(writer, [{"n": 9}], 1)
            await self.sink().commit(self.context(), prepared)
            await writer.close()
            await self.sink().recover(self.context(attempt=2), 1, prepared)
            assert list(self.visible()) == [*self.values(2), {"n": 9}]

        asyncio.run(check())


class TestAtLeastOnce(Place, SinkSuite):
    """The contract, without transactions."""

    def sink(self) -> kafka.KafkaSink:
        return kafka.sink(self.servers, self.topic, format=formats.json(), delivery="at_least_once")


class TestRecords(Place):
    """What stands in the topic."""

    async def _write(self, batch: Batch[Any], **settings: Any) -> None:
        sink = kafka.sink(
            self.servers, self.topic, **{"format": formats.json(), "delivery": "at_least_once"} | settings
        )
        writer = await open_writer(sink, self.context())
        try:
            await writer.write(batch)
            assert await writer.prepare_commit(1) == []
        finally:
            await writer.close()

    @pytest.mark.slow
    async def test_a_key_is_a_field_or_a_function(self) -> None:
        """Text and numbers are written as text; the partition is the one that every other client would choose."""
        await self._write(Batch([{"k": "21"}, {"k": "foobar"}]), key="k")
        await self._write(Batch([{"k": 5}]), key=lambda value: None if value["k"] == 5 else b"no")
        first, second = await self._confluent_partitions([b"21", b"foobar"])
        assert self._keyed() == [(b"21", b'{"k":"21"}', (), first), (b"foobar", b'{"k":"foobar"}', (), second)]

    def _keyed(self) -> list[tuple[Any, ...]]:
        found = [(m.key(), m.value(), tuple(m.headers() or ()), m.partition()) for m in read(self.servers, self.topic)]
        return sorted(seen for seen in found if seen[0] is not None)

    async def _confluent_partitions(self, keys: list[bytes]) -> list[int]:
        from confluent_kafka import Producer

        other = self.new_topic(partitions=2)
        producer = Producer({"bootstrap.servers": self.servers, "partitioner": "murmur2_random", "log_level": 3})
        for key in keys:
            producer.produce(other, key=key, value=b"x")
        producer.flush(30)
        where = {m.key(): m.partition() for m in read(self.servers, other)}
        return [where[key] for key in keys]

    async def test_headers_and_event_times_are_written(self) -> None:
        """Headers come from a function, times from the event time."""
        batch = Batch([{"n": 1}, {"n": 2}], timestamps=[1_700_000_000_123, 1_700_000_000_456])
        await self._write(batch, headers=lambda value: [("n", str(value["n"]).encode())], timestamp="event_time")
        seen = [(m.value(), m.headers(), m.timestamp()[1]) for m in read(self.servers, self.topic)]
        assert sorted(seen) == [
            (b'{"n":1}', [("n", b"1")], 1_700_000_000_123),
            (b'{"n":2}', [("n", b"2")], 1_700_000_000_456),
        ]

    @pytest.mark.slow
    async def test_a_message_says_all_itself(self) -> None:
        """Key, headers, time, topic and partition of a Message are written; without a value it is a tombstone."""
        other = self.new_topic(partitions=3)
        messages = [
            Message(
                {"n": 1}, key=b"a", headers=(("h", b"1"), ("h", b"2")), timestamp_ms=1_700_000_000_000, partition=1
            ),
            Message(None, key=b"gone", partition=0),
            Message({"n": 2}, topic=other, partition=2),
        ]
        await self._write(Batch(messages))
        (tombstone, first) = sorted(read(self.servers, self.topic), key=lambda m: m.partition())
        assert (tombstone.key(), tombstone.value(), tombstone.partition()) == (b"gone", None, 0)
        assert (first.key(), first.value(), first.partition()) == (b"a", b'{"n":1}', 1)
        assert (first.headers(), first.timestamp()[1]) == ([("h", b"1"), ("h", b"2")], 1_700_000_000_000)
        assert [(m.value(), m.partition()) for m in read(self.servers, other)] == [(b'{"n":2}', 2)]

    @pytest.mark.slow
    async def test_each_record_may_go_to_a_topic_of_its_own(self) -> None:
        """`topic_of` chooses; in one transaction all of them become visible together."""
        topics = {"a": self.new_topic(), "b": self.new_topic()}
        sink = kafka.sink(
            self.servers,
            format=formats.json(),
            topic_of=lambda value: topics[value["to"]],
            transactional_prefix=self.topic,
        )
        await sink.recover(self.context(), None, [])
        writer = await open_writer(sink, self.context())
        prepared = await write_and_prepare(writer, [{"to": "a"}, {"to": "b"}, {"to": "a"}], 1)
        assert [values(self.servers, topic) for topic in topics.values()] == [[], []]
        await sink.commit(self.context(), prepared)
        await writer.close()
        assert [values(self.servers, topic) for topic in topics.values()] == [[{"to": "a"}] * 2, [{"to": "b"}]]
        assert (prepared[0]["topics"], prepared[0]["records"]) == (sorted(topics.values()), 3)

    @pytest.mark.slow
    async def test_at_another_topic_nothing_goes_to_those_that_records_name(self) -> None:
        """By transactions of its own, so that a job which writes at the time goes on."""
        named, shadow = self.new_topic(), self.new_topic(partitions=2)
        own = kafka.sink(
            self.servers,
            self.topic,
            format=formats.json(),
            topic_of=lambda value: named,
            transactional_prefix=self.topic,
        )
        await own.recover(self.context(), None, [])
        writer = await open_writer(own, self.context())
        before = await write_and_prepare(writer, [1], 1)
        sink = own.at(shadow)
        await sink.recover(self.context(), None, [])
        replaying = await open_writer(sink, self.context())
        records = [2, Message(3, topic=self.topic, partition=1)]
        await sink.commit(self.context(), await write_and_prepare(replaying, records, 1))
        await own.commit(self.context(), before)
        for it in (replaying, writer):
            await it.close()
        assert [values(self.servers, topic) for topic in (self.topic, named, shadow)] == [[], [1], [2, 3]]
        assert [m.partition() for m in read(self.servers, shadow) if m.value() == b"3"] == [1]

    @pytest.mark.parametrize("compression", ["gzip", "snappy", "lz4", "zstd"])
    async def test_batches_are_compressed(self, compression) -> None:
        """Every codec of Kafka can be written and is read by other clients."""
        await self._write(Batch([{"text": "x" * 1000}] * 50), compression=compression)
        assert values(self.servers, self.topic) == [{"text": "x" * 1000}] * 50

    async def test_a_partitioner_of_ones_own_chooses(self) -> None:
        """It gets the key, None as well, and the number of partitions."""
        await self._write(Batch([{"n": i} for i in range(4)]), partitioner=lambda key, count: count - 1)
        assert {m.partition() for m in read(self.servers, self.topic)} == {1}
        with pytest.raises(SinkError, match="the partitioner gives 7 for key None: there are partitions 0 to 1"):
            await self._write(Batch([{"n": 1}]), partitioner=lambda key, count: 7)

    async def test_records_without_keys_use_all_partitions_batch_by_batch(self) -> None:
        """They fill a batch of one partition, then that of the next, and keep their order within each."""
        records = [{"n": i, "pad": "x" * 100} for i in range(400)]
        await self._write(Batch(records), batch_bytes=4096)
        by_partition: dict[int, list[int]] = {}
        for message in read(self.servers, self.topic):
            by_partition.setdefault(message.partition(), []).append(msgspec.json.decode(message.value())["n"])
        assert sorted(n for found in by_partition.values() for n in found) == list(range(400))
        assert [found == sorted(found) and len(found) > 100 for found in by_partition.values()] == [True, True]

    async def test_many_batches_stay_in_order(self) -> None:
        """Records of one partition arrive in the order in which they were written, over many batches and writes."""
        topic = self.topic = self.new_topic()
        sink = kafka.sink(self.servers, topic, format=formats.json(), batch_bytes=2048, transactional_prefix=topic)
        await sink.recover(self.context(), None, [])
        writer = await open_writer(sink, self.context())
        for checkpoint_id in range(1, 6):
            for first in range(0, 1000, 100):
                start = (checkpoint_id - 1) * 1000 + first
                await writer.write(Batch([{"n": start + i} for i in range(100)]))
            await sink.commit(self.context(), await writer.prepare_commit(checkpoint_id))
        await writer.close()
        assert [msgspec.json.decode(m.value())["n"] for m in read(self.servers, topic)] == list(range(5000))


async def test_a_writer_that_is_cancelled_while_it_is_being_closed_leaves_nothing(kafka_servers, new_topic):
    """No connection and no task, wherever it is on its way out."""
    topic = new_topic()
    sink = kafka.sink(kafka_servers, topic, format=formats.json(), transactional_prefix=topic)
    closing, waits = True, 0
    while closing:
        waits += 1
        writer = await open_writer(sink, context())
        await writer.write(Batch([1]))
        closing = await cancelled_at(waits, writer.close())
        assert asyncio.all_tasks() == {asyncio.current_task()}
    assert waits > 3


def test_settings_that_cannot_be_are_refused():
    """A wrong setting is one clear sentence when the topology is written, before anything is connected."""
    json = formats.json()
    for settings, message in [
        ({"topic": "a b"}, "cannot be the name of a topic"),
        ({"partitioner": "random"}, "murmur2"),
        ({"compression": "brotli"}, '"gzip", "snappy", "lz4", "zstd" or None'),
        ({"delivery": "exactly-once"}, '"exactly_once" or "at_least_once"'),
        ({"key": 5}, "name a field"),
        ({"timestamp": "now"}, '"event_time", or None'),
        ({"batch_bytes": 10}, "batch_bytes must be 1024 at least"),
        ({"format": formats.csv()}, "header line"),
    ]:
        with pytest.raises(ValueError, match=message):
            kafka.sink("localhost:9092", **{"topic": "t", "format": json} | settings)


def test_a_sink_at_its_own_topic_is_refused():
    """It would write a second time; and a topic must have a name that can be one."""
    letters = kafka.dead_letters("localhost:9092", "totals")
    for sink in (kafka.sink("localhost:9092", "totals", format=formats.json()), letters):
        with pytest.raises(ValueError, match="topic 'totals' is the sink's own: name another"):
            sink.at("totals")
        with pytest.raises(ValueError, match="cannot be the name of a topic"):
            sink.at("again/")
        assert "'shadow'" in sink.at("shadow").describe()


def test_the_description_names_topic_format_and_guarantee():
    """What a plan shows; no credentials."""
    connection = kafka.Connection("broker:9092", sasl=kafka.Plain("me", "env:SECRET"))
    shown = kafka.sink(connection, "totals", format=formats.json()).describe()
    assert shown == "kafka.sink(broker:9092, 'totals', json(), exactly_once)"
