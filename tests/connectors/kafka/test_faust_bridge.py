"""The Faust bridge with Faust apps on a real broker: embedded in the loop of the test, and in processes that are killed."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from tidegate.connectors import SinkError, memory
from tidegate.connectors.faust import channel_sink, channel_source
from tidegate.engine import RunConfig, Topology, start
from tidegate.engine.testing.contexts import ManualSinkContext
from tidegate.operators import agg
from tidegate.operators.batch import Batch

faust = pytest.importorskip("faust")

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

NewTopic = Callable[..., str]


def new_app(servers: str, name: str, folder: Path, **settings: Any) -> Any:
    """An app as a user has it, but for the directory, the web server and timeouts fit for a test."""
    chosen = {
        "broker": f"kafka://{servers}",
        "store": "memory://",
        "datadir": str(folder / name),
        "web_enabled": False,
        "topic_disable_leader": True,
        "consumer_auto_offset_reset": "earliest",
        "broker_heartbeat_interval": 1,
        "broker_session_timeout": 6,
        "broker_rebalance_timeout": 6,
        "broker_commit_interval": 0.2,
    }
    return faust.App(name, **(chosen | settings))


@asynccontextmanager
async def running(app: Any) -> AsyncIterator[Any]:
    await app.start()
    try:
        yield app
    finally:
        await app.stop()


async def until(condition: Callable[[], Any], what: str, timeout_s: float = 60) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"waited {timeout_s} s for {what}"
        await asyncio.sleep(0.01)


async def produce(servers: str, topic: str, values: Any, partitions: int = 1) -> None:
    """Write values as JSON, bytes as they are, to the partitions in turn."""
    async with AIOKafkaProducer(bootstrap_servers=servers, linger_ms=5) as producer:
        payloads = [value if isinstance(value, bytes) else json.dumps(value).encode() for value in values]
        sent = [await producer.send(topic, payload, partition=i % partitions) for i, payload in enumerate(payloads)]
        await asyncio.gather(*sent)


async def consume(servers: str, topic: str, enough: Callable[[list[Any]], bool]) -> list[Any]:
    """The messages of a topic from its beginning, until there are enough."""
    found: list[Any] = []
    async with AIOKafkaConsumer(topic, bootstrap_servers=servers, auto_offset_reset="earliest") as consumer:
        deadline = time.monotonic() + 60
        while not enough(found):
            assert time.monotonic() < deadline, (
                f"waited 60 s for more than {len(found)} messages of {topic}: {found[-5:]}"
            )
            for messages in (await consumer.getmany(timeout_ms=200)).values():
                found += messages
    return found


@pytest.fixture(autouse=True)
async def no_task_left() -> AsyncIterator[None]:
    before = asyncio.all_tasks()
    yield
    await until(lambda: not asyncio.all_tasks() - before - {asyncio.current_task()}, "tasks to end", 10)


async def test_a_topic_through_an_agent_a_channel_a_topology_and_a_topic(
    kafka_servers: str, new_topic: NewTopic, tmp_path: Path
) -> None:
    """An app hands what its agent makes to a topology and gets the totals back, which any consumer can read."""
    orders, totals = new_topic(), new_topic()
    app = new_app(kafka_servers, orders, tmp_path)
    to_topology = app.channel()

    @app.agent(app.topic(orders, value_serializer="json"))  # type: ignore[untyped-decorator]
    async def sizes(stream: Any) -> None:
        async for event in stream.events():
            await to_topology.send(value=(event.value["shop"], event.value["n"]), timestamp=event.value["at"])

    source = channel_source(to_topology)
    topology = Topology("through")
    topology.source("orders", source).key_by(lambda order: order[0], key_type=str).aggregate(
        name="sums", total=agg.sum(lambda order: order[1])
    ).sink("totals", channel_sink(app.topic(totals, value_serializer="json"), key="key", timestamp="event_time"))

    await produce(kafka_servers, orders, [{"shop": "ab"[n % 2], "n": n, "at": 1000 + n} for n in range(100)])
    async with running(app), start(topology) as job:
        found = await consume(kafka_servers, totals, lambda messages: len(messages) == 100)
        await job.stop()
    expected, running_total = [], {"a": 0, "b": 0}
    for n in range(100):
        shop = "ab"[n % 2]
        running_total[shop] += n
        expected.append((shop.encode(), {"key": shop, "total": running_total[shop]}, (1000 + n) * 1000))
    assert [(m.key, json.loads(m.value), m.timestamp) for m in found] == expected


async def committed(servers: str, group: str, topic: str) -> int | None:
    """What the group has committed of partition 0, as any tool sees it."""
    admin = AIOKafkaAdminClient(bootstrap_servers=servers)
    await admin.start()
    try:
        offsets = await admin.list_consumer_group_offsets(group)
    finally:
        await admin.close()
    found = offsets.get(TopicPartition(topic, 0))
    return None if found is None or found.offset < 0 else found.offset


def idle_agent(app: Any) -> None:
    """Faust starts no app without an agent."""

    @app.agent(app.channel())  # type: ignore[untyped-decorator]
    async def idle(stream: Any) -> None:
        async for _ in stream:
            raise AssertionError("nobody sends to it")


def collecting(name: str, source: Any, sink: Any) -> Topology:
    topology = Topology(name)
    topology.source("numbers", source).sink("out", sink)
    return topology


async def test_faust_commits_what_a_complete_checkpoint_contains_and_nothing_else(
    kafka_servers: str, new_topic: NewTopic, tmp_path: Path
) -> None:
    """Read, processed and written is not enough: only the checkpoint lets the group's offset go on."""
    topic = new_topic()
    app = new_app(kafka_servers, topic, tmp_path)
    idle_agent(app)
    source, sink = channel_source(app.topic(topic, value_type=int)), memory.channel()
    await produce(kafka_servers, topic, range(50))
    config = RunConfig(checkpoints=tmp_path / "state", checkpoint_interval="1h")
    async with running(app), start(collecting("commits", source, sink), config) as job:
        assert [await anext(sink) for _ in range(50)] == list(range(50))
        await app.consumer.commit()
        assert await committed(kafka_servers, topic, topic) is None
        await job.checkpoint()
        await until(lambda: not source._held, "events to be acknowledged")
        await produce(kafka_servers, topic, range(50, 60))
        assert [await anext(sink) for _ in range(10)] == list(range(50, 60))
        await app.consumer.commit()
        assert await committed(kafka_servers, topic, topic) == 50
        await job.stop()
    # The last checkpoint and the app's own end have committed the rest.
    assert await committed(kafka_servers, topic, topic) == 60


async def test_the_app_may_end_before_the_topology(kafka_servers: str, new_topic: NewTopic, tmp_path: Path) -> None:
    """The job goes on with nothing to read until it is stopped, and both leave nothing behind; what Faust could not commit
    any more comes again after the next start and is not counted again."""
    topic = new_topic()
    app = new_app(kafka_servers, topic, tmp_path)
    idle_agent(app)
    config = RunConfig(checkpoints=tmp_path / "state", checkpoint_interval="1h")
    sums, out = Topology("sums"), memory.channel()
    read = sums.source("numbers", channel_source(app.topic(topic, value_type=int)))
    read.key_by(lambda n: n % 2, key_type=int).aggregate(name="sum", total=agg.sum(lambda n: n)).sink("out", out)
    await produce(kafka_servers, topic, range(5))
    async with start(sums, config) as job:
        async with running(app):
            assert [(await anext(out)).total for _ in range(5)] == [0, 1, 2, 4, 6]
        await job.stop()
    assert await committed(kafka_servers, topic, topic) is None

    app = new_app(kafka_servers, topic, tmp_path)
    idle_agent(app)
    sums, out = Topology("sums"), memory.channel()
    read = sums.source("numbers", channel_source(app.topic(topic, value_type=int)))
    read.key_by(lambda n: n % 2, key_type=int).aggregate(name="sum", total=agg.sum(lambda n: n)).sink("out", out)
    await produce(kafka_servers, topic, [5, 6])
    async with running(app), start(sums, config) as job:
        assert [(await anext(out)).total for _ in range(2)] == [9, 12]
        await job.stop()
    assert await committed(kafka_servers, topic, topic) == 7


async def test_a_topology_that_is_not_running_makes_faust_stop_fetching(
    kafka_servers: str, new_topic: NewTopic, tmp_path: Path
) -> None:
    """A bounded number of events waits; when the topology comes, all of them go through, in order."""
    topic = new_topic()
    app = new_app(kafka_servers, topic, tmp_path)
    idle_agent(app)
    source, sink = channel_source(app.topic(topic, value_type=int), capacity=20), memory.channel(capacity=10_000)
    await produce(kafka_servers, topic, range(3000))
    async with running(app):
        await until(source._queue.full, "the queue to be full")
        assert (source._queue.qsize(), app.consumer._buffered_partitions) == (20, {(topic, 0)})
        async with start(collecting("late", source, sink)) as job:
            assert [await anext(sink) for _ in range(3000)] == list(range(3000))
            await job.stop()


async def test_undecodable_messages_are_dead_letters_also_beside_an_agent(
    kafka_servers: str, new_topic: NewTopic, tmp_path: Path
) -> None:
    """The topology rejects them with topic, partition and offset, whoever else reads the topic."""
    topic = new_topic()
    app = new_app(kafka_servers, topic, tmp_path)
    seen_by_agent = []
    source = channel_source(app.topic(topic, value_type=int))

    @app.agent(app.topic(topic, value_type=bytes, value_serializer="raw"))  # type: ignore[untyped-decorator]
    async def raw(stream: Any) -> None:
        async for value in stream:
            seen_by_agent.append(value)  # noqa: PERF401  # the stream does not end

    topology, good, bad = Topology("letters"), memory.channel(), memory.channel()
    numbers = topology.source("numbers", source, on_error="dead_letter")
    numbers.sink("good", good)
    numbers.side_output("failed").sink("bad", bad)
    await produce(kafka_servers, topic, [1, b"oops", 3])
    async with running(app), start(topology) as job:
        assert [await anext(good), await anext(good)] == [1, 3]
        letter = await anext(bad)
        assert (letter.value, letter.split, letter.offset) == ("oops", "faust", [topic, 0, 1])
        assert letter.error.startswith("ValueDecodeError: ")
        await until(lambda: len(seen_by_agent) == 3, "the agent")
        await job.stop()
    assert seen_by_agent == [b"1", b"oops", b"3"]
    assert await committed(kafka_servers, topic, topic) == 3


async def test_a_send_that_the_broker_refuses_fails_the_checkpoint(
    kafka_servers: str, new_topic: NewTopic, tmp_path: Path
) -> None:
    """Every send is awaited before the checkpoint is prepared."""
    topic, other = new_topic(max_message_bytes=1000), new_topic()
    app = new_app(kafka_servers, topic, tmp_path)
    idle_agent(app)
    unread = channel_source(app.topic(other))  # Faust starts no app without a topic
    async with running(app):
        writer = channel_sink(app.topic(topic, value_serializer="json")).writer(ManualSinkContext())
        await writer.open()
        await writer.write(Batch(["small"]))
        assert await writer.prepare_commit(1) == []
        await writer.write(Batch(["x" * 5000]))
        with pytest.raises(SinkError, match=f"topic {topic}: the broker did not take a record: .*MessageSizeTooLarge"):
            await writer.prepare_commit(2)
        await writer.close()
    found = await consume(kafka_servers, topic, lambda messages: len(messages) == 1)
    assert [json.loads(message.value) for message in found] == ["small"]
    unread.close()


PROGRAM = """
import asyncio, sys
import faust
from tidegate.connectors.faust import channel_sink, channel_source
from tidegate.engine import RunConfig, Topology, start
from tidegate.operators import agg

servers, numbers, totals, folder = sys.argv[1:]


async def main():
    app = faust.App(
        numbers, broker=f"kafka://{servers}", store="memory://", datadir=f"{folder}/faust", web_enabled=False,
        topic_disable_leader=True, consumer_auto_offset_reset="earliest", broker_heartbeat_interval=1,
        broker_session_timeout=6, broker_rebalance_timeout=6, broker_commit_interval=0.1,
    )

    @app.agent(app.channel())
    async def idle(stream):
        async for _ in stream:
            pass

    topology = Topology("killed")
    topology.source("numbers", channel_source(app.topic(numbers, value_type=int))).key_by(
        lambda n: n % 3, key_type=int
    ).aggregate(name="sums", n=agg.count(), total=agg.sum(lambda n: n)).sink(
        "totals", channel_sink(app.topic(totals, value_serializer="json"))
    )
    await app.start()
    async with start(topology, RunConfig(checkpoints=f"{folder}/state", checkpoint_interval="100ms")) as job:
        await job.wait()


asyncio.run(main())
"""


async def test_messages_are_neither_lost_nor_counted_twice_when_the_process_is_killed(
    kafka_servers: str, new_topic: NewTopic, tmp_path: Path
) -> None:
    """SIGKILL while messages pass, twice: the results are those of a run without a crash; the sink repeats some."""
    numbers, totals = new_topic(), new_topic()
    (tmp_path / "program.py").write_text(PROGRAM)
    arguments = [str(tmp_path / "program.py"), kafka_servers, numbers, totals, str(tmp_path)]
    counts, sums, expected = [0] * 3, [0] * 3, set()
    for n in range(3000):
        counts[n % 3] += 1
        sums[n % 3] += n
        expected.add((n % 3, counts[n % 3], sums[n % 3]))

    def results(messages: list[Any]) -> set[tuple[int, int, int]]:
        return {(r["key"], r["n"], r["total"]) for r in (json.loads(message.value) for message in messages)}

    found: list[Any] = []
    for part in range(3):
        process = await asyncio.create_subprocess_exec(sys.executable, *arguments, stderr=asyncio.subprocess.DEVNULL)
        # What is counted when the process dies lies in the middle of this part.
        await produce(kafka_servers, numbers, range(part * 1000, part * 1000 + 500))
        seen = part * 1000 + 500
        await consume(kafka_servers, totals, lambda messages, seen=seen: len(results(messages)) >= seen)
        await produce(kafka_servers, numbers, range(part * 1000 + 500, part * 1000 + 1000))
        if part == 2:
            found = await consume(kafka_servers, totals, lambda messages: len(results(messages)) >= len(expected))
        process.kill()
        await process.wait()
    assert results(found) == expected
    assert len(found) >= len(expected)


async def test_nothing_is_lost_when_partitions_move_to_another_worker(
    kafka_servers: str, new_topic: NewTopic, tmp_path: Path
) -> None:
    """Two apps of one group, each with a job: a second one that joins takes a partition over, at least once."""
    topic = new_topic(partitions=2)
    seen: list[set[int]] = [set(), set()]

    async def worker(n: int, produced: asyncio.Event) -> None:
        app = new_app(kafka_servers, topic, tmp_path)
        idle_agent(app)
        topology = Topology(f"worker-{n}")
        topology.source("numbers", channel_source(app.topic(topic, value_type=int))).map(seen[n].add, name="seen").sink(
            "nowhere", memory.sink()
        )
        config = RunConfig(checkpoints=tmp_path / f"state-{n}", checkpoint_interval="50ms")
        async with running(app), start(topology, config) as job:
            await produced.wait()
            await job.stop()

    done = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(worker(0, done))
        await produce(kafka_servers, topic, range(100), partitions=2)
        await until(lambda: len(seen[0]) == 100, "the first worker")
        group.create_task(worker(1, done))
        sent = 100
        while len(seen[1]) < 100:
            assert sent < 20_000, "the second worker was given nothing"
            await produce(kafka_servers, topic, range(sent, sent + 20), partitions=2)
            sent += 20
        await until(lambda: seen[0] | seen[1] == set(range(sent)), "every message to be seen")
        done.set()


async def test_the_example_gets_its_windows_back(kafka_servers: str, tmp_path: Path) -> None:
    """It is a whole program, and prints the first minute of each shop."""
    example = Path(__file__).parents[3] / "examples" / "faust_bridge.py"
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(example),
        env={**os.environ, "TIDEGATE_KAFKA": kafka_servers},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
    assert out.decode().splitlines() == ["Oslo: 15.00 from 2 orders", "Turin: 7.50 from 1 orders"]
