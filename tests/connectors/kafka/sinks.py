"""What the tests of the Kafka sink share: a context in real time, readers, and a job's life in a few calls."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec
from aiokafka.protocol.produce import ProduceRequest
from tidegate.connectors import Committable
from tidegate.connectors.kafka import wire
from tidegate.connectors.kafka.batches import FullBatch, new_builder
from tidegate.connectors.kafka.cluster import Cluster
from tidegate.connectors.kafka.connection import Connection
from tidegate.connectors.kafka.kafka_sink import KafkaSink
from tidegate.connectors.kafka.tokens import PARTITION, Token, encode
from tidegate.connectors.kafka.transactions import ProducerId, Transactions
from tidegate.engine.testing.contexts import ManualSinkContext
from tidegate.operators.batch import Batch


class LiveSinkContext(ManualSinkContext):
    """A sink's context whose time is real: a broker has no other."""

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


def context(attempt: int = 1, subtask: int = 0, parallelism: int = 1, **settings: Any) -> LiveSinkContext:
    """A context of job `job` and sink `sink`."""
    return LiveSinkContext(attempt=attempt, subtask=subtask, parallelism=parallelism, **settings)


def read(servers: str, topic: str, *, committed: bool = True) -> list[Any]:
    """All messages of a topic that a plain consumer sees now, in the order of each partition."""
    from confluent_kafka import Consumer, TopicPartition

    settle(servers)
    consumer = Consumer(
        {
            "bootstrap.servers": servers,
            "group.id": "reader-of-tests",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "isolation.level": "read_committed" if committed else "read_uncommitted",
            "log_level": 3,
        }
    )
    try:
        partitions = sorted(consumer.list_topics(topic, timeout=30).topics[topic].partitions)
        consumer.assign([TopicPartition(topic, partition, 0) for partition in partitions])
        found, at_end = [], set()
        while len(at_end) < len(partitions):
            message = consumer.poll(10)
            assert message is not None, f"{topic}: nothing more, and not at the end"
            if message.error() is not None:
                assert message.error().code() == -191, message.error()  # the end of a partition
                at_end.add(message.partition())
            else:
                found.append(message)
        return found
    finally:
        consumer.close()


def settle(servers: str) -> None:
    """Wait until no transaction is between its decision and the marks that show it."""

    async def wait() -> None:
        async with asyncio.timeout(30), Asking(servers) as asking:
            while True:
                states = await asking.transactions.list()
                if not any(state.startswith("Prepare") for state in states.values()):
                    return
                await asyncio.sleep(0.01)

    # A test may stand in a loop of its own.
    thread = ThreadPoolExecutor(1)
    try:
        thread.submit(asyncio.run, wait()).result()
    finally:
        thread.shutdown()


def values(servers: str, topic: str, *, committed: bool = True) -> list[Any]:
    """The JSON values that a plain consumer sees now, sorted."""
    return sorted((msgspec.json.decode(m.value()) for m in read(servers, topic, committed=committed)), key=repr)


class Asking:
    """A connection to ask a broker with, as `async with`."""

    def __init__(self, servers: str) -> None:
        self.cluster = Cluster(Connection(servers), asyncio.sleep)
        self.transactions = Transactions(self.cluster, asyncio.sleep, 30_000)

    async def __aenter__(self) -> Asking:
        await self.cluster.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.cluster.close()

    async def write_token(self, topic: str, token: Token) -> int:
        """Put a token into the ledger as its transaction's first record; its offset."""
        batch = new_builder(0, True, 1 << 16)
        batch.append(0, 0, *encode(token), [])
        full = FullBatch(topic, PARTITION, batch, 1)
        full.seal(ProducerId(token.producer_id, token.fence), 0)
        request = ProduceRequest(token.transactional_id, -1, 30_000, [(topic, [(PARTITION, full.data)])])
        async with asyncio.timeout(30):
            while True:
                answer = await self.cluster.ask(self.cluster.leader(topic, PARTITION), request)
                _, code, offset, *_ = answer.topics[0][1][0]
                if code == 0:
                    return offset
                assert code in wire.DELIVER_AGAIN, wire.code_name(code)  # the topic is new
                await self.cluster.refresh()


async def open_writer(sink: KafkaSink, its_context: ManualSinkContext) -> Any:
    """An open writer."""
    writer = sink.writer(its_context)
    try:
        await writer.open()
    except BaseException:
        await writer.close()
        raise
    return writer


async def write_and_prepare(writer: Any, records: Sequence[Any], checkpoint_id: int) -> list[Committable]:
    """One checkpoint's worth of a writer."""
    await writer.write(Batch(list(records)))
    found: list[Committable] = await writer.prepare_commit(checkpoint_id)
    return found


async def die(writer: Any) -> None:
    """The writer's process dies: the broker hears nothing of it."""
    await writer.cluster.close()
    await writer.close()


async def until(condition: Callable[[], bool]) -> None:
    """Wait until something holds."""
    async with asyncio.timeout(30):
        while True:
            if condition():
                return
            await asyncio.sleep(0.02)


async def until_ended(servers: str, transactional_id: str) -> None:
    """Wait until the broker itself has ended a transaction."""
    async with asyncio.timeout(60), Asking(servers) as asking:
        while True:
            found = await asking.transactions.describe([transactional_id])
            if found[transactional_id].state not in ("Ongoing", "PrepareAbort"):
                return
            await asyncio.sleep(0.05)
