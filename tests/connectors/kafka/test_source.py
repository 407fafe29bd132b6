"""The Kafka source against a real broker: the contract, where reading begins, and what is read."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewPartitions
from tidegate.connectors import Lag, Rejected, SourceError, Split, formats, kafka
from tidegate.connectors.kafka import Message
from tidegate.connectors.kafka.read_ahead import FETCH_BYTES
from tidegate.engine.testing.connector_suites import SourceSuite

from .sources import (
    DEADLINE_S,
    LiveSourceContext,
    Patient,
    Transactions,
    cancelled_at,
    produce,
    read_all,
    reading,
    unused_port,
)

T0 = 1_700_000_000_000
FOR_EVER = {"retention_ms": -1}
"""For records whose timestamps are old: the usual retention would delete them."""


class TestContract(SourceSuite):
    """What the engine asks of every replayable source, of three partitions of which one is empty."""

    @pytest.fixture(autouse=True)
    def _topic(self, kafka_servers: str, new_topic: Callable[..., str]) -> None:
        self.servers, self.topic = kafka_servers, new_topic(partitions=3)
        self.records = {
            f"{self.topic}-{p}": [{"p": p, "n": n} for n in range(size)] for p, size in enumerate((7, 5, 0))
        }
        for partition, values in enumerate(self.records.values()):
            produce(self.servers, self.topic, values, partition)

    def source(self) -> Any:
        return Patient(kafka.source(self.servers, self.topic, format=formats.json(), stop_at_end=True))

    def expected(self) -> dict[str, list[Any]]:
        return self.records

    def context(self) -> Any:
        return LiveSourceContext()


# ------------------------------------------------------------------------ start


async def test_a_start_at_the_beginning_reads_what_is_there(kafka_servers, new_topic):
    """`earliest` is what is used when nothing is said; a compressed topic reads like any other."""
    topic = new_topic()
    for n, compression in enumerate(("none", "gzip", "snappy", "lz4", "zstd")):
        produce(
            kafka_servers, topic, range(n * 100, n * 100 + 100), **{"compression.type": compression, "linger.ms": 50}
        )
    assert await read_all(kafka.source(kafka_servers, topic, format=formats.json(int), stop_at_end=True)) == {
        f"{topic}-0": list(range(500))
    }


async def test_a_start_at_the_end_is_fixed_when_the_partitions_are_found(kafka_servers, new_topic):
    """A crash before anything was read loses nothing: what came in between is read from the split of the checkpoint."""
    topic = new_topic()
    produce(kafka_servers, topic, range(10))
    source = kafka.source(kafka_servers, topic, format=formats.json(int), start="latest")
    async with reading(source) as it:
        assert await it.once() == 0
        splits = list(it.splits.values())
        assert (splits, it.offset(f"{topic}-0")) == (
            [Split(f"{topic}-0", {"topic": topic, "partition": 0, "start": 10})],
            10,
        )
    produce(kafka_servers, topic, range(10, 15))
    async with reading(source, splits=splits) as it:
        await it.count(5)
        assert it.all_values == list(range(10, 15))


async def test_a_start_at_a_time_begins_with_the_first_record_not_before_it(kafka_servers, new_topic):
    """As milliseconds or a datetime; where no record is that new, with the next one to come."""
    topic = new_topic(partitions=2, **FOR_EVER)
    produce(kafka_servers, topic, range(10), 0, timestamp_ms=lambda n: T0 + n * 1000)
    produce(kafka_servers, topic, range(3), 1, timestamp_ms=lambda n: T0)
    for moment in (T0 + 6500, datetime.fromtimestamp((T0 + 6500) / 1000, UTC)):
        source = kafka.source(kafka_servers, topic, format=formats.json(int), start=kafka.at_time(moment))
        async with reading(source) as it:
            await it.count(3)
            assert [split.where["start"] for split in it.splits.values()] == [7, 3]
            assert it.values == {f"{topic}-0": [7, 8, 9], f"{topic}-1": []}


async def test_a_start_at_explicit_offsets_leaves_others_at_their_beginning(kafka_servers, new_topic):
    """Partitions that are not named are read whole."""
    topic = new_topic(partitions=2)
    for partition in (0, 1):
        produce(kafka_servers, topic, range(4), partition)
    source = kafka.source(kafka_servers, topic, format=formats.json(int), start={(topic, 1): 3}, stop_at_end=True)
    assert await read_all(source) == {f"{topic}-0": [0, 1, 2, 3], f"{topic}-1": [3]}


async def test_a_start_at_committed_offsets_goes_on_where_the_group_is(kafka_servers, new_topic):
    """Where the group has committed nothing, at the beginning."""
    topic = new_topic(partitions=2)
    for partition in (0, 1):
        produce(kafka_servers, topic, range(4), partition)
    group = f"group-of-{topic}"
    await commit_as(kafka_servers, group, TopicPartition(topic, 0, 2))
    source = kafka.source(
        kafka_servers, topic, format=formats.json(int), start="committed", group=group, stop_at_end=True
    )
    assert await read_all(source) == {f"{topic}-0": [2, 3], f"{topic}-1": [0, 1, 2, 3]}


async def commit_as(servers: str, group: str, place: TopicPartition) -> None:
    """What another client does; a broker that has just made the topic of offsets refuses it for a moment."""
    admin = AdminClient({"bootstrap.servers": servers})
    async with asyncio.timeout(DEADLINE_S):
        while True:
            asked = admin.alter_consumer_group_offsets([ConsumerGroupTopicPartitions(group, [place])])
            if asked[group].result(DEADLINE_S).topic_partitions[0].error is None:
                return
            await asyncio.sleep(0)


# ------------------------------------------------------------------------ topics


async def test_partitions_can_be_chosen(kafka_servers, new_topic):
    """Only those are read; one that is not there is named."""
    topic = new_topic(partitions=3)
    for partition in range(3):
        produce(kafka_servers, topic, [partition], partition)
    source = kafka.source(kafka_servers, topic, format=formats.json(int), partitions=[2, 0], stop_at_end=True)
    assert await read_all(source) == {f"{topic}-0": [0], f"{topic}-2": [2]}
    with pytest.raises(SourceError, match=rf"topic '{topic}' has no partition 3: it has 0 to 2"):
        await kafka.source(kafka_servers, topic, format=formats.json(), partitions=[3]).discover(
            LiveSourceContext(), frozenset()
        )


async def test_several_topics_are_read(kafka_servers, new_topic):
    """Each with its own splits, in the order of their names."""
    topics = [new_topic(), new_topic()]
    for topic in topics:
        produce(kafka_servers, topic, [topic])
    source = kafka.source(kafka_servers, topics, format=formats.json(str), stop_at_end=True)
    assert await read_all(source) == {f"{topic}-0": [topic] for topic in sorted(topics)}


async def test_new_partitions_and_topics_of_a_pattern_are_found_and_read_whole(kafka_servers, new_topic):
    """Also when the job began at the end: what came before they were found is not lost."""
    topic = new_topic()
    prefix = topic.rsplit("-", 1)[0]
    produce(kafka_servers, topic, ["old"])
    source = kafka.source(kafka_servers, pattern=rf"{prefix}-[0-9a-f]+", format=formats.json(str), start="latest")
    async with reading(source) as it:
        assert [*it.splits] == [f"{topic}-0"]
        assert await it.once() == 0
        admin = AdminClient({"bootstrap.servers": kafka_servers})
        admin.create_partitions([NewPartitions(topic, 2)])[topic].result(DEADLINE_S)
        other = new_topic()
        async with asyncio.timeout(DEADLINE_S):
            found: list[Split] = []
            while len(found) < 2:
                found = await source.discover(it.context, frozenset(it.splits))
        assert found == sorted(
            [
                Split(f"{topic}-1", {"topic": topic, "partition": 1}),
                Split(f"{other}-0", {"topic": other, "partition": 0}),
            ],
            key=lambda split: split.id,
        )
        produce(kafka_servers, topic, ["new"], 0)
        produce(kafka_servers, topic, ["of a new partition"], 1)
        produce(kafka_servers, other, ["of a new topic"])
        for split in found:
            await it.reader.open(split, None)
            it.fetches[split.id] = []
        await it.count(3)
        assert it.values == {
            f"{topic}-0": ["new"],
            f"{topic}-1": ["of a new partition"],
            f"{other}-0": ["of a new topic"],
        }


# ----------------------------------------------------------------------- records


async def test_messages_carry_key_headers_timestamp_and_place(kafka_servers, new_topic):
    """A tombstone is a message without a value."""
    topic = new_topic(**FOR_EVER)
    producer = Producer({"bootstrap.servers": kafka_servers})
    producer.produce(topic, b'"v"', key=b"k", headers=[("a", b"1"), ("a", b"2")], timestamp=T0, partition=0)
    producer.produce(topic, None, key=b"k", timestamp=T0 + 1, partition=0)
    producer.produce(topic, b"2", timestamp=T0 + 2, partition=0)
    assert producer.flush(DEADLINE_S) == 0
    source = kafka.source(kafka_servers, topic, format=formats.json(), messages=True, stop_at_end=True)
    async with reading(source) as it:
        await it.to_the_end()
        assert it.all_values == [
            Message("v", b"k", (("a", b"1"), ("a", b"2")), T0, topic, 0, 0),
            Message(None, b"k", (), T0 + 1, topic, 0, 1),
            Message(2, None, (), T0 + 2, topic, 0, 2),
        ]
        assert [t for fetch in it.fetches[f"{topic}-0"] for t in fetch.timestamps or ()] == [T0, T0 + 1, T0 + 2]


async def test_a_bad_record_is_rejected_with_its_place_and_its_neighbours_pass(kafka_servers, new_topic):
    """The positions of the good ones are theirs still."""
    topic = new_topic()
    produce(kafka_servers, topic, [1, b"{", None, 2, b"\xff", 3], **{"linger.ms": 100})
    source = kafka.source(kafka_servers, topic, format=formats.json(int), tombstones="reject", stop_at_end=True)
    async with reading(source) as it:
        await it.to_the_end()
        fetches = it.fetches[f"{topic}-0"]
        rejected = [bad for fetch in fetches for bad in fetch.rejected]
        assert [(bad.raw, bad.position) for bad in rejected] == [
            (b"{", f"{topic}[0]@1"),
            (b"", f"{topic}[0]@2"),
            (b"\xff", f"{topic}[0]@4"),
        ]
        assert rejected[1] == Rejected(
            b"",
            'a tombstone: the record has no value; read it with messages=True, or set tombstones="skip"',
            f"{topic}[0]@2",
        )
        places = [(v, p) for fetch in fetches for v, p in zip(fetch.values, fetch.positions or (), strict=True)]
        assert places == [(1, f"{topic}[0]@0"), (2, f"{topic}[0]@3"), (3, f"{topic}[0]@5")]


async def test_tombstones_are_skipped_and_counted(kafka_servers, new_topic):
    """Unless whole messages are wanted, or they are to be bad records."""
    topic = new_topic()
    produce(kafka_servers, topic, [1, None, None, 2])
    async with reading(kafka.source(kafka_servers, topic, format=formats.json(int), stop_at_end=True)) as it:
        await it.to_the_end()
        assert (it.all_values, it.context.counts) == ([1, 2], {"tombstones_skipped": 2})


async def test_raw_bytes_pass_through(kafka_servers, new_topic):
    """A format that takes every payload, the empty one included."""
    topic = new_topic()
    produce(kafka_servers, topic, [b"\xff\x00", b"", b"x"])
    assert await read_all(kafka.source(kafka_servers, topic, format=formats.raw(), stop_at_end=True)) == {
        f"{topic}-0": [b"\xff\x00", b"", b"x"]
    }


async def test_records_larger_than_a_fetch_are_read(kafka_servers, new_topic):
    """A record of 3 MiB between small ones."""
    topic = new_topic(max_message_bytes=8 << 20)
    values = ["a", "b" * (3 << 20), "c"]
    produce(kafka_servers, topic, values, **{"message.max.bytes": 8 << 20})
    assert await read_all(kafka.source(kafka_servers, topic, format=formats.json(str), stop_at_end=True)) == {
        f"{topic}-0": values
    }


# ------------------------------------------------------------------ transactions


def _wait_until_visible(servers: str, topic: str, value: bytes) -> None:
    """A commit is decided before its mark is written: wait for a plain reader of committed records."""
    consumer = Consumer({"bootstrap.servers": servers, "group.id": "sees", "isolation.level": "read_committed"})
    consumer.assign([TopicPartition(topic, 0, 0)])
    while (message := consumer.poll(60)) is not None and message.value() != value:
        pass
    consumer.close()
    assert message is not None


async def test_aborted_transactions_are_left_out(kafka_servers, new_topic):
    """Committed, aborted and plain records of several producers, interleaved; offsets lead over the gaps."""
    topic = new_topic()
    a, b, c = (Transactions(kafka_servers, f"{topic}-{name}") for name in "abc")
    plain: list[str] = []

    def write(value: str) -> None:
        plain.append(value)
        produce(kafka_servers, topic, [value])

    a.begin(topic, ["a1"])
    b.begin(topic, ["b1 aborted"])
    write("p1")
    a.more(topic, ["a2"])
    b.more(topic, ["b2 aborted"])
    b.abort()
    c.begin(topic, ["c1 aborted"])
    a.commit()
    b.begin(topic, ["b3"])
    c.more(topic, ["c2 aborted"])
    b.commit()
    write("p2")
    c.abort()
    a.begin(topic, ["a3 aborted"])
    a.abort()
    a.begin(topic, ["a4"])
    a.commit()
    _wait_until_visible(kafka_servers, topic, b'"a4"')
    committed = ["a1", "p1", "a2", "b3", "p2", "a4"]
    source = kafka.source(kafka_servers, topic, format=formats.json(str), stop_at_end=True)
    async with reading(source) as it:
        await it.to_the_end(limit=1)
        assert it.all_values == committed
        offsets = [(fetch.offset, len(fetch.values)) for fetch in it.fetches[f"{topic}-0"]]
        splits = list(it.splits.values())
    done = 0
    for offset, count in offsets:
        done += count
        async with reading(source, {f"{topic}-0": offset}, splits) as it:
            await it.to_the_end()
            assert it.all_values == committed[done:], f"resumed at {offset}"
    uncommitted = kafka.source(
        kafka_servers, topic, format=formats.json(str), isolation="read_uncommitted", stop_at_end=True
    )
    assert (await read_all(uncommitted))[f"{topic}-0"] == [
        *("a1", "b1 aborted", "p1", "a2", "b2 aborted", "c1 aborted", "b3", "c2 aborted", "p2", "a3 aborted", "a4")
    ]


async def test_an_open_transaction_is_waited_for(kafka_servers, new_topic):
    """What stands behind it comes in order when it is committed; lag does not count it before."""
    topic = new_topic()
    transaction = Transactions(kafka_servers, topic)
    produce(kafka_servers, topic, ["before"])
    transaction.begin(topic, ["in it"])
    produce(kafka_servers, topic, ["behind"])
    async with reading(kafka.source(kafka_servers, topic, format=formats.json(str))) as it:
        await it.count(1)
        assert (it.all_values, it.reader.lag(f"{topic}-0")) == (["before"], Lag(records=0, event_time_ms=0))
        transaction.commit()
        await it.count(3)
        assert it.all_values == ["before", "in it", "behind"]


# ----------------------------------------------------------- lag, wakes, groups


async def test_lag_is_known_in_records_and_in_time(kafka_servers, new_topic):
    """Before the first fetch it is not; at the end it is nothing."""
    topic = new_topic(**FOR_EVER)
    produce(kafka_servers, topic, range(10), timestamp_ms=lambda n: T0 + n, **{"linger.ms": 100})
    async with reading(kafka.source(kafka_servers, topic, format=formats.json(int))) as it:
        assert it.reader.lag(f"{topic}-0") is None
        await it.until(lambda: len(it.all_values) == 4, limit=4)
        it.context.now_ms = lambda: T0 + 1003  # type: ignore[method-assign]
        assert it.reader.lag(f"{topic}-0") == Lag(records=6, event_time_ms=1000)
        await it.count(10)
        assert it.reader.lag(f"{topic}-0") == Lag(records=0, event_time_ms=0)


async def test_the_engine_is_woken_when_records_arrive(kafka_servers, new_topic):
    """A read that found nothing is not repeated for nothing."""
    topic = new_topic()
    async with reading(kafka.source(kafka_servers, topic, format=formats.json(int))) as it:
        await it.until(lambda: it.offset(f"{topic}-0") == 0)
        it.context.woken.clear()
        assert await it.once() == 0
        produce(kafka_servers, topic, [1])
        async with asyncio.timeout(DEADLINE_S):
            await it.context.woken.wait()
        assert (await it.once(), it.all_values) == (1, [1])


async def test_what_is_fetched_ahead_is_bounded(kafka_servers, new_topic):
    """However much there is, and however slowly it is read; nothing is lost by it."""
    topic = new_topic()
    produce(kafka_servers, topic, (b"%08d" % n + b"x" * 1000 for n in range(20_000)), **{"linger.ms": 5})
    async with reading(kafka.source(kafka_servers, topic, format=formats.raw())) as it:
        ahead = it.reader._partitions[f"{topic}-0"]
        async with asyncio.timeout(DEADLINE_S):
            while not ahead.full:
                await it.once(limit=0)
        most = 0
        while len(it.all_values) < 20_000:
            await it.count(min(len(it.all_values) + 100, 20_000), limit=100)
            most = max(most, ahead.n_bytes)
        assert most < 2 * FETCH_BYTES + 1_000_000, "more than a fetch above the limit; batches end at a million bytes"
        assert [int(value[:8]) for value in it.all_values] == list(range(20_000))


async def test_the_group_is_told_the_offsets_of_checkpoints(kafka_servers, new_topic):
    """Another client sees them; a reader that is closed right after has told them."""
    topic = new_topic(partitions=2)
    produce(kafka_servers, topic, range(4))
    group = f"group-of-{topic}"
    await commit_as(kafka_servers, group, TopicPartition(topic, 0, 1))
    source = kafka.source(kafka_servers, topic, format=formats.json(int), group=group)
    async with reading(source) as it:
        await it.count(4)
        await it.reader.checkpointed({f"{topic}-0": 2, f"{topic}-1": None})
        await it.reader.checkpointed({f"{topic}-0": 4, f"{topic}-1": None})
    # Not by an AdminClient: its list_consumer_group_offsets can end the process.
    other = Consumer({"bootstrap.servers": kafka_servers, "group.id": group, "log_level": 3})
    try:
        told = other.committed([TopicPartition(topic, 0), TopicPartition(topic, 1)], DEADLINE_S)
    finally:
        other.close()
    assert [partition.offset for partition in told] == [4, -1001]


# ------------------------------------------------------------------- retention


def delete_before(servers: str, topic: str, offset: int) -> None:
    admin = AdminClient({"bootstrap.servers": servers})
    place = TopicPartition(topic, 0, offset)
    [deleted] = admin.delete_records([place]).values()
    deleted.result(DEADLINE_S)


async def test_an_offset_that_retention_overtook_fails_with_the_size_of_the_gap(kafka_servers, new_topic):
    """Never silently; the message says how to go on."""
    topic = new_topic()
    produce(kafka_servers, topic, range(10))
    delete_before(kafka_servers, topic, 7)
    source = kafka.source(kafka_servers, topic, format=formats.json(int))
    async with reading(source, {f"{topic}-0": 3}) as it:
        with pytest.raises(SourceError) as failed:
            await it.count(1)
        assert str(failed.value) == (
            f"{topic}[0]@3: 4 offsets are gone, up to 7: retention deleted the records before they were read; raise the "
            'retention of the topic, or go on without them: on_missing_offset="skip"'
        )
        assert failed.value.retriable is False


async def test_an_offset_that_retention_overtook_can_be_skipped_with_a_count(kafka_servers, new_topic):
    """Reading goes on with the oldest record that is left."""
    topic = new_topic()
    produce(kafka_servers, topic, range(10))
    delete_before(kafka_servers, topic, 7)
    source = kafka.source(kafka_servers, topic, format=formats.json(int), on_missing_offset="skip")
    async with reading(source, {f"{topic}-0": 3}) as it:
        await it.count(3)
        assert (it.all_values, it.context.counts, it.offset(f"{topic}-0")) == ([7, 8, 9], {"offsets_skipped": 4}, 10)


async def test_a_start_at_the_beginning_is_no_gap(kafka_servers, new_topic):
    """What was gone before the job began is not missed."""
    topic = new_topic()
    produce(kafka_servers, topic, range(10))
    delete_before(kafka_servers, topic, 7)
    source = kafka.source(kafka_servers, topic, format=formats.json(int), stop_at_end=True)
    assert await read_all(source) == {f"{topic}-0": [7, 8, 9]}
    delete_before(kafka_servers, topic, 10)
    assert await read_all(source) == {f"{topic}-0": []}


async def test_an_offset_behind_the_end_is_an_error(kafka_servers, new_topic):
    """The topic is another one than that of the checkpoint."""
    topic = new_topic()
    produce(kafka_servers, topic, range(3))
    async with reading(kafka.source(kafka_servers, topic, format=formats.json(int)), {f"{topic}-0": 8}) as it:
        with pytest.raises(SourceError, match=r"@8: is behind the end of the partition, 3: the topic was made anew"):
            await it.count(1)


# ------------------------------------------------------------------- bad input


async def test_a_topic_that_is_not_there_is_named_and_not_made(kafka_servers, new_topic):
    """With the remedy; asking does not create it."""
    topic = f"{new_topic()}-missing"
    with pytest.raises(SourceError, match=f"topic '{topic}' does not exist: create it"):
        await kafka.source(kafka_servers, topic, format=formats.json()).discover(LiveSourceContext(), frozenset())
    assert topic not in AdminClient({"bootstrap.servers": kafka_servers}).list_topics(timeout=DEADLINE_S).topics
    with pytest.raises(SourceError, match="no topic matches the pattern"):
        await kafka.source(kafka_servers, pattern=topic, format=formats.json()).discover(
            LiveSourceContext(), frozenset()
        )


async def test_a_topic_that_goes_away_is_named(kafka_servers, new_topic):
    """After `connect_timeout`, for a broker that has just started does not know all topics."""
    topic = new_topic()
    produce(kafka_servers, topic, [1])
    connection = kafka.Connection(kafka_servers, connect_timeout="500ms")
    async with reading(kafka.source(connection, topic, format=formats.json(int))) as it:
        await it.count(1)
        admin = AdminClient({"bootstrap.servers": kafka_servers})
        admin.delete_topics([topic])[topic].result(DEADLINE_S)
        with pytest.raises(SourceError, match=rf"{topic}\[0\] does not exist, for 500ms now: create it"):
            await it.count(2)


async def test_a_broker_that_is_not_there_is_waited_for_and_then_named():
    """What it waits for, for how long, and what to look at."""
    port = unused_port()
    connection = kafka.Connection(f"127.0.0.1:{port}", connect_timeout="300ms")
    with pytest.raises(SourceError) as failed:
        await kafka.source(connection, "t", format=formats.json()).discover(LiveSourceContext(), frozenset())
    assert str(failed.value).startswith(f"Kafka at 127.0.0.1:{port} cannot be reached within 300ms: ")
    assert str(failed.value).endswith("; check that it runs, the servers and the network")
    assert failed.value.retriable is True


async def test_a_source_that_is_cancelled_leaves_no_connection(kafka_servers, new_topic):
    """Wherever it is on its way: looking for partitions, opening them, reading them."""
    topic = new_topic(partitions=2)
    produce(kafka_servers, topic, range(10))
    source = kafka.source(kafka_servers, topic, format=formats.json(int))

    async def work() -> None:
        async with reading(source) as it:
            await it.count(10)

    told: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, what: told.append(what))
    waits = 1
    while await cancelled_at(waits, work()):
        waits += 1
    assert waits > 5
    gc.collect()
    assert (told, asyncio.all_tasks()) == ([], {asyncio.current_task()})


async def test_a_reader_that_is_cancelled_while_it_is_being_closed_leaves_nothing(kafka_servers, new_topic):
    """Also where it waits for the group to learn of the last checkpoint."""
    topic = new_topic()
    source = kafka.source(kafka_servers, topic, format=formats.json(int), group=f"group-of-{topic}")
    splits = await source.discover(LiveSourceContext(), frozenset())
    closing, waits = True, 0
    while closing:
        waits += 1
        async with reading(source, splits=splits) as it:
            await it.reader.checkpointed({splits[0].id: 0})
            closing = await cancelled_at(waits, it.reader.close())
            assert asyncio.all_tasks() == {asyncio.current_task()}
    assert waits > 3


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"topics": "t", "start": "newest"}, 'start=\'newest\': "earliest", "latest"'),
        ({"topics": "t", "start": "committed"}, "name the group"),
        ({"topics": "t", "start": {"t": 3}}, r"write \{\(topic, partition\): offset\}"),
        ({"topics": "t", "isolation": "none"}, "isolation='none': 'read_committed' or 'read_uncommitted'"),
        ({"topics": "t", "on_missing_offset": "reset"}, "on_missing_offset='reset': 'fail' or 'skip'"),
        ({"topics": "t", "tombstones": "keep"}, "tombstones='keep': 'skip' or 'reject'"),
        ({"topics": "t", "partitions": []}, "partitions="),
        ({"topics": []}, "name a topic"),
        ({"topics": "t", "pattern": "t"}, "either topics or pattern"),
        ({}, "either topics or pattern"),
        ({"pattern": "("}, "is no regular expression"),
        ({"topics": "t", "format": formats.arrow()}, "is no format of payloads"),
    ],
)
def test_a_wrong_setting_is_named_before_anything_runs(settings, message):
    """With what may stand there."""
    with pytest.raises(ValueError, match=message):
        kafka.source("localhost:9092", **{"format": formats.json(), **settings})


def test_the_description_says_what_is_read():
    """And the type of the records is known."""

    class Bid(msgspec.Struct):
        price: int

    source = kafka.source("localhost:9092", ["a", "b"], format=formats.json(Bid))
    assert (source.describe(), source.type) == ("kafka.source('localhost:9092', 'a', 'b', json(Bid))", Bid)
    whole = kafka.source("localhost:9092", pattern="a.*", format=formats.json(Bid), messages=True)
    assert (whole.describe(), whole.type) == ("kafka.source('localhost:9092', pattern='a.*', json(Bid))", Message[Bid])
