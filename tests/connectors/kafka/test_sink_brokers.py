"""Brokers that die under the sink: it waits, goes on, and each record is there once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
from tidegate.connectors import Committable, SinkError, formats, kafka
from tidegate.connectors.kafka.cluster import Cluster, UnansweredError
from tidegate.connectors.kafka.kafka_sink import KafkaSink
from tidegate.connectors.kafka.transactions import Ended, FencedProducerError, ProducerId, Transactions
from tidegate.engine.testing.kafka import LocalKafka

from .sinks import Asking, Batch, context, die, open_writer, until, values

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture
def one(kafka_servers: str) -> Iterator[LocalKafka]:
    """A broker to kill."""
    with LocalKafka() as cluster:
        yield cluster


@pytest.fixture
def three(kafka_servers: str) -> Iterator[LocalKafka]:
    """Three brokers, any of which may be killed."""
    with LocalKafka(3) as cluster:
        yield cluster


def _make_topic(cluster: LocalKafka, partitions: int, replicas: int) -> str:
    from confluent_kafka.admin import AdminClient, NewTopic

    admin = AdminClient({"bootstrap.servers": cluster.servers, "log_level": 3})
    admin.create_topics([NewTopic("out", partitions, replicas)])["out"].result(30)
    return "out"


class Run:
    """Writes and commits checkpoint after checkpoint, for as long as there is trouble and a little longer.

    Attributes:
        written: the numbers from 0 that were written.
        checkpoints: how many were committed.
    """

    def __init__(self, sink: KafkaSink) -> None:
        self.sink = sink
        self.written = 0
        self.checkpoints = 0
        self.calm = False

    async def through(self, *troubles: Callable[[], object]) -> None:
        """Let each trouble happen, five checkpoints after the one before it."""

        async def trouble() -> None:
            for strike in troubles:
                before = self.checkpoints
                await until(lambda: self.checkpoints >= before + 5)  # noqa: B023
                await asyncio.to_thread(strike)
            self.calm = True

        await asyncio.gather(self._write(), trouble())

    async def _write(self) -> None:
        its_context, left = context(), 5
        writer = await open_writer(self.sink, its_context)
        try:
            while left:
                left -= self.calm
                for _ in range(10):
                    await writer.write(Batch([{"n": self.written + i} for i in range(50)]))
                    self.written += 50
                    await asyncio.sleep(0)
                prepared = await writer.prepare_commit(self.checkpoints + 1)
                await self._commit(prepared)
                self.checkpoints += 1
        finally:
            await writer.close()

    async def _commit(self, prepared: list[Committable]) -> None:
        while True:
            try:
                await self.sink.commit(context(), prepared)
            except SinkError as error:
                if not error.retriable:
                    raise
            else:
                return


@pytest.mark.parametrize("delivery", ["exactly_once", "at_least_once"])
async def test_a_broker_that_is_killed_and_restarted_costs_time_only(one, delivery):
    """What was on its way is sent again and dropped where it had arrived; the job does not even restart."""
    topic = _make_topic(one, 2, 1)
    connection = kafka.Connection(one.servers, connect_timeout="60s")
    sink = kafka.sink(connection, topic, format=formats.json(), delivery=delivery)
    await sink.recover(context(), None, [])

    run = Run(sink)
    await run.through(*[lambda: (one.kill(0), one.start(0))] * 2)
    assert sorted(value["n"] for value in values(one.servers, topic)) == list(range(run.written))


async def test_leaders_and_coordinators_move(three):
    """Each of three brokers dies once, and with it leaders of partitions and the coordinator of the transactions."""
    topic = _make_topic(three, 6, 3)
    connection = kafka.Connection(three.servers, connect_timeout="60s")
    sink = kafka.sink(connection, topic, format=formats.json())
    await sink.recover(context(), None, [])

    run = Run(sink)
    steps = [partial(step, broker) for broker in range(3) for step in (three.kill, three.start)]
    await run.through(*steps)
    assert sorted(value["n"] for value in values(three.servers, topic)) == list(range(run.written))


async def test_what_was_prepared_survives_the_broker(one):
    """Writer and broker die; both come back; the transaction is committed."""
    topic = _make_topic(one, 1, 1)
    sink = kafka.sink(kafka.Connection(one.servers, connect_timeout="60s"), topic, format=formats.json())
    await sink.recover(context(), None, [])
    writer = await open_writer(sink, context())
    await writer.write(Batch([{"n": 1}]))
    prepared = await writer.prepare_commit(1)
    await writer.write(Batch([{"n": 2}]))
    await die(writer)
    await asyncio.to_thread(one.kill, 0)
    await asyncio.to_thread(one.start, 0)
    await sink.recover(context(2), 1, prepared)
    assert values(one.servers, topic) == [{"n": 1}]
    async with Asking(one.servers) as asking:
        states = await asking.transactions.list()
    assert set(states.values()) == {"Empty"}


async def test_an_id_that_the_broker_forgot_is_had_anew(kafka_servers):
    """A writer that had nothing to write for longer than the broker remembers ids goes on as if nothing were."""
    forgetful = {
        "transactional.id.expiration.ms": "500",
        "transaction.remove.expired.transaction.cleanup.interval.ms": "100",
    }
    with LocalKafka(settings=forgetful) as cluster:
        topic = _make_topic(cluster, 1, 1)
        sink = kafka.sink(cluster.servers, topic, format=formats.json())
        await sink.recover(context(), None, [])
        writer = await open_writer(sink, context())
        expected = []
        async with Asking(cluster.servers) as asking:
            for checkpoint_id in range(1, 5):
                async with asyncio.timeout(60):
                    while True:
                        if not await asking.transactions.list():
                            break
                        await asyncio.sleep(0.05)
                await writer.write(Batch([{"n": checkpoint_id}]))
                prepared = await writer.prepare_commit(checkpoint_id)
                await sink.commit(context(), prepared)
                expected.append({"n": checkpoint_id})
        await writer.close()
        assert values(cluster.servers, topic) == expected


class LosingCluster:
    """A connection that loses one answer, and what `lose` does away with."""

    def __init__(self, cluster: Cluster, lose: Callable[[], object]) -> None:
        self._cluster = cluster
        self._lose: Callable[[], object] | None = lose

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cluster, name)

    async def ask(self, broker: int, request: Any, *, coordination: bool = False) -> Any:
        """Ask in earnest."""
        answer = await self._cluster.ask(broker, request, coordination=coordination)
        if self._lose is not None:
            lose, self._lose = self._lose, None
            await asyncio.to_thread(lose)
            raise UnansweredError("the answer was lost")
        return answer


@pytest.mark.parametrize("taken_over", [False, True])
async def test_a_renewal_whose_answer_was_lost_with_its_coordinator_is_found_again(one, taken_over):
    """The next coordinator no longer knows that the higher fence is ours, but nothing else has come of it; what somebody
    else has begun under the id is not ours."""
    topic = _make_topic(one, 1, 1)
    async with Asking(one.servers) as asking:
        first = await asking.transactions.take_over("id", 60_000)
        await asking.transactions.add("id", first, [(topic, 0)])
        await asking.transactions.end("id", first, commit=True)

    async def take_over() -> None:
        async with Asking(one.servers) as other:
            producer = await other.transactions.take_over("id", 60_000)
            await other.transactions.add("id", producer, [(topic, 0)])

    def lose() -> None:
        one.kill(0)
        one.start(0)
        if taken_over:
            asyncio.run(take_over())

    async with Asking(one.servers) as asking:
        losing: Any = LosingCluster(asking.cluster, lose)
        transactions = Transactions(losing, asyncio.sleep, 60_000)
        if taken_over:
            with pytest.raises(FencedProducerError):
                await transactions.renew("id", 60_000, first)
            return
        renewed = await transactions.renew("id", 60_000, first)
        assert renewed == ProducerId(first.id, first.fence + 1)
        await transactions.add("id", renewed, [(topic, 0)])
        assert await transactions.end("id", renewed, commit=True) is Ended.DONE
