"""What is wrong outside is one clear sentence with the remedy, and nothing of it is half written."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from tidegate.connectors import SinkError, formats, kafka
from tidegate.connectors.kafka import Connection, Plain
from tidegate.engine.testing.kafka import LocalKafka

from .sinks import Batch, context, die, open_writer, values, write_and_prepare


def _unused_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


async def test_a_broker_that_is_away_is_waited_for_and_then_named():
    """As long as the connection's timeout says; another try may help."""
    servers = f"127.0.0.1:{_unused_port()}"
    sink = kafka.sink(Connection(servers, connect_timeout="300ms"), "t", format=formats.json())
    with pytest.raises(
        SinkError, match=rf"Kafka at {servers} cannot be reached within 300ms: .*check that it runs"
    ) as failure:
        await sink.recover(context(), None, [])
    assert failure.value.retriable
    with pytest.raises(SinkError, match="cannot be reached within 300ms"):
        await open_writer(sink, context())


@pytest.mark.slow
@pytest.mark.parametrize("delivery", ["exactly_once", "at_least_once"])
async def test_a_topic_that_is_missing_is_named_with_the_remedy(kafka_servers, new_topic, delivery):
    """At the start for the sink's own topic, at the record for others."""
    prefix = new_topic()
    settings: Any = {"format": formats.json(), "delivery": delivery, "transactional_prefix": prefix}
    remedy = r"topic 'not-there' does not exist: create it \(kafka-topics\.sh --create --topic not-there"
    with pytest.raises(SinkError, match=remedy) as failure:
        await open_writer(kafka.sink(kafka_servers, "not-there", **settings), context())
    assert not failure.value.retriable
    writer = await open_writer(kafka.sink(kafka_servers, **settings, topic_of=lambda _: "not-there"), context())
    with pytest.raises(SinkError, match=remedy):
        await writer.write(Batch([{"n": 1}]))
    await writer.close()


@pytest.mark.parametrize("delivery", ["exactly_once", "at_least_once"])
async def test_a_record_that_is_too_large_is_named(kafka_servers, new_topic, delivery):
    """Topic, key, size and the setting that limits it; records that only together are too large name `batch_bytes`."""
    topic = new_topic(max_message_bytes=2000)
    sink = kafka.sink(
        kafka_servers, topic, format=formats.json(), key="k", delivery=delivery, transactional_prefix=topic
    )
    for records, message in [
        (
            [{"k": "big", "pad": "x" * 3000}],
            r"with key b'big' has 30\d\d bytes, more than max\.message\.bytes of the topic",
        ),
        (
            [{"k": "a", "pad": "x" * 900}] * 4,
            r"a batch of 4 records, 3\d\d\d bytes, .* set the sink's batch_bytes below it",
        ),
    ]:
        writer = await open_writer(sink, context())
        with pytest.raises(SinkError, match=f"topic '{topic}', partition 0: .*{message}") as failure:
            await write_and_prepare(writer, records, 1)
        assert not failure.value.retriable
        await writer.close()
    assert values(kafka_servers, topic) == []


async def test_a_record_without_a_key_is_refused_by_a_compacted_topic(kafka_servers, new_topic):
    """With what to do about it."""
    topic = new_topic(cleanup_policy="compact")
    writer = await open_writer(
        kafka.sink(kafka_servers, topic, format=formats.json(), delivery="at_least_once"), context()
    )
    with pytest.raises(SinkError, match="a compacted topic takes only records with a key: set key="):
        await write_and_prepare(writer, [{"n": 1}], 1)
    await writer.close()


async def test_records_that_cannot_be_written_are_named(kafka_servers, new_topic):
    """A value that the format does not take, a key that is none, a field that is missing, a function that fails."""
    topic = new_topic()
    for settings, record, message in [
        ({}, {"n": object()}, r"a record cannot be written as json\(\)"),
        ({"key": "k"}, {"n": 1}, "key='k': a record has no such field"),
        ({"key": lambda _: 1.5}, {"n": 1}, "a key must be bytes, text, a whole number"),
        ({"key": lambda value: value["x"]}, {"n": 1}, "key= failed: KeyError: 'x'"),
        ({"timestamp": "event_time"}, {"n": 1}, "the stream has no event time"),
        ({}, kafka.Message(None), "a record has neither key nor value"),
        ({}, kafka.Message({"n": 1}, partition=9), "has no partition 9, only 0 to 0"),
    ]:
        given: Any = {"format": formats.json(), "delivery": "at_least_once"} | settings
        writer = await open_writer(kafka.sink(kafka_servers, topic, **given), context())
        with pytest.raises(SinkError, match=message):
            await writer.write(Batch([record]))
        await writer.close()


async def test_a_timeout_that_does_not_cover_checkpoint_and_restart_is_refused():
    """Before anything is connected, with all that it must cover; and one that does is not."""
    sink = kafka.sink("127.0.0.1:1", "t", format=formats.json(), transaction_timeout="10m")
    settings = {"checkpoint_interval_ms": 10_000, "checkpoint_timeout_ms": 600_000}
    message = r"transaction_timeout=10m does not cover checkpoint_interval \(10s\) \+ checkpoint_timeout \(10m\) \+ restart_al"
    for refused in (lambda: sink.writer(context(**settings)), lambda: sink.recover(context(**settings), None, [])):
        with pytest.raises(SinkError, match=message) as failure:
            found = refused()
            await found
        assert not failure.value.retriable
    sink.writer(context(checkpoint_interval_ms=10_000, checkpoint_timeout_ms=500_000))


async def test_a_renamed_sink_must_keep_its_transactional_ids():
    """They have the old name in them, and what an earlier attempt left open is found by them; the message says what to set."""
    renamed = context()
    renamed.renamed_from = "totals"
    sink = kafka.sink("127.0.0.1:1", "t", format=formats.json())
    with pytest.raises(SinkError, match=rf'set transactional_prefix="{renamed.job}-totals" in kafka.sink') as failure:
        await sink.recover(renamed, 3, [])
    assert not failure.value.retriable


async def test_a_timeout_above_the_brokers_limit_is_refused_at_the_start(kafka_servers, new_topic):
    """The message names the broker's setting."""
    topic = new_topic()
    sink = kafka.sink(kafka_servers, topic, format=formats.json(), transaction_timeout="2h", transactional_prefix=topic)
    await sink.recover(context(), None, [])
    with pytest.raises(SinkError, match=r"raise their transaction\.max\.timeout\.ms"):
        await open_writer(sink, context())


async def test_a_committable_of_another_sink_is_refused(kafka_servers):
    """A checkpoint of a job that had another sink under this name."""
    sink = kafka.sink(kafka_servers, "t", format=formats.json())
    with pytest.raises(SinkError, match="output is not of a Kafka sink"):
        await sink.commit(context(), [{"staged": "part"}])


@pytest.fixture(scope="module")
def guarded(kafka_servers: str) -> Iterator[LocalKafka]:
    """A broker where the user `guest` may do what ACLs allow."""
    users = {"guest": "guest"}
    with LocalKafka(protocol="SASL_PLAINTEXT", users=users, super_users=[]) as cluster:
        yield cluster


def _filter_of(binding: Any) -> Any:
    from confluent_kafka.admin import AclBindingFilter

    return AclBindingFilter(
        binding.restype,
        binding.name,
        binding.resource_pattern_type,
        binding.principal,
        binding.host,
        binding.operation,
        binding.permission_type,
    )


@pytest.fixture
def allow(guarded: LocalKafka) -> Callable[..., None]:
    """Allows something to `guest`: allow("TOPIC", "name", "WRITE")."""
    from confluent_kafka.admin import (
        AclBinding,
        AclOperation,
        AclPermissionType,
        AdminClient,
        ResourcePatternType,
        ResourceType,
    )

    admin = AdminClient({"bootstrap.servers": guarded.internal_servers, "log_level": 3})

    def allow(resource: str, name: str, *operations: str) -> None:
        for operation in operations:
            binding = AclBinding(
                ResourceType[resource],
                name,
                ResourcePatternType.PREFIXED,
                "User:guest",
                "*",
                AclOperation[operation],
                AclPermissionType.ALLOW,
            )
            admin.create_acls([binding])[binding].result(30)
            # The controller has it; the broker that is asked next may not have it yet.
            deadline = time.monotonic() + 30
            while binding not in admin.describe_acls(_filter_of(binding)).result(30):
                assert time.monotonic() < deadline, f"{binding} is not applied"

    return allow


def _make_topic(cluster: LocalKafka, name: str) -> str:
    from confluent_kafka.admin import AdminClient, NewTopic

    admin = AdminClient({"bootstrap.servers": cluster.internal_servers, "log_level": 3})
    admin.create_topics([NewTopic(name, 1, 1)])[name].result(30)
    return name


@pytest.mark.slow
async def test_what_is_denied_is_named_one_after_the_other(guarded, allow, monkeypatch):
    """Topic, tokens topic, transactional id: each with what to allow; with all of them the sink works."""
    monkeypatch.setenv("KAFKA_PASSWORD", "guest")
    connection = Connection(guarded.servers, sasl=Plain("guest", "env:KAFKA_PASSWORD"))
    sink = kafka.sink(connection, _make_topic(guarded, "out"), format=formats.json())
    its_context = context()

    async def run() -> None:
        await sink.recover(its_context, None, [])
        writer = await open_writer(sink, its_context)
        try:
            await sink.commit(its_context, await write_and_prepare(writer, [{"n": 1}], 1))
        finally:
            await writer.close()

    for denied, resource, name, operations in [
        ("topic '__tidegate_commits'.* denied", "TOPIC", "__tidegate_commits", ["DESCRIBE"]),
        (
            "__tidegate_commits', .* does not exist and may not be created: .*--create",
            "TOPIC",
            "__tidegate_commits",
            ["CREATE"],
        ),
        ("topic '__tidegate_commits' is denied", "TOPIC", "__tidegate_commits", ["READ"]),
        ("topic '__tidegate_commits' is denied", "TOPIC", "__tidegate_commits", ["WRITE"]),
        ("topic 'out' is denied", "TOPIC", "out", ["DESCRIBE"]),
        (
            "transactional id 'job-sink-a1-s0-0' is denied: allow Write",
            "TRANSACTIONAL_ID",
            "job-",
            ["WRITE", "DESCRIBE"],
        ),
        ("topic 'out' is denied: allow Write", "TOPIC", "out", ["WRITE"]),
    ]:
        with pytest.raises(SinkError, match=denied) as failure:
            await run()
        assert not failure.value.retriable
        allow(resource, name, *operations)
    await run()
    assert values(guarded.internal_servers, "out") == [{"n": 1}]


@pytest.mark.slow
async def test_wrong_credentials_are_told_apart_from_a_broker_that_is_away(guarded, monkeypatch):
    """They are not tried again, and the password is not shown."""
    monkeypatch.setenv("KAFKA_PASSWORD", "guessed")
    connection = Connection(guarded.servers, sasl=Plain("guest", "env:KAFKA_PASSWORD"))
    with pytest.raises(SinkError, match="refuses the credentials") as failure:
        await kafka.sink(connection, "out", format=formats.json()).recover(context(), None, [])
    assert not failure.value.retriable
    assert "guessed" not in str(failure.value)


async def test_a_dead_connection_is_not_lent(kafka_servers, new_topic):
    """A commit after the writer's connection was closed opens its own."""
    topic = new_topic()
    sink = kafka.sink(kafka_servers, topic, format=formats.json(), transactional_prefix=topic)
    await sink.recover(context(), None, [])
    writer = await open_writer(sink, context())
    prepared = await write_and_prepare(writer, [{"n": 1}], 1)
    await die(writer)
    await sink.commit(context(), prepared)
    assert values(kafka_servers, topic) == [{"n": 1}]
