"""How fast the Kafka sink writes, beside the raw clients: records per second and CPU seconds per million records.

    python -m benchmarks.kafka_sink [--servers host:port] [--records 1000000] [--partitions 4] [--repeat 3] [--key]

Without `--servers` a broker is started for it. Values are 176 bytes and are written as they are, in batches of 1,000 as an
engine hands them over. Each side has a fresh process and a fresh topic; sides take turns; the median is shown. The broker
works on the same machine. CPU time is that of the client's process, all threads.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import secrets
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine
from contextlib import nullcontext
from typing import Any

VALUE = b"x" * 176
BATCH = 1000
CHECKPOINT_S = 1.0

Side = Callable[[str, str, int, bool], Coroutine[Any, Any, dict[str, float]]]


def _keys(start: int) -> list[bytes]:
    return [b"%08d" % ((start + i) % 10_000) for i in range(BATCH)]


class _Watch:
    """Counts from when it is made: start-up and imports do not count."""

    def __init__(self) -> None:
        self._started, self._cpu = time.perf_counter(), time.process_time()

    def stop(self) -> dict[str, float]:
        return {"seconds": time.perf_counter() - self._started, "cpu_s": time.process_time() - self._cpu}


async def aiokafka_send(servers: str, topic: str, records: int, keyed: bool) -> dict[str, float]:
    """One `send` per record, the futures awaited at the end, idempotent, `max_batch_size` and linger as ours."""
    from aiokafka import AIOKafkaProducer

    async with AIOKafkaProducer(
        bootstrap_servers=servers, enable_idempotence=True, max_batch_size=256 * 1024, linger_ms=5
    ) as producer:
        watch = _Watch()
        pending = []
        for start in range(0, records, BATCH):
            pending += [await producer.send(topic, VALUE, key=key if keyed else None) for key in _keys(start)]
        await asyncio.gather(*pending)
        return watch.stop()


async def confluent_produce(servers: str, topic: str, records: int, keyed: bool) -> dict[str, float]:
    """`produce` per record, idempotent, with librdkafka's own thread."""
    from confluent_kafka import Producer

    producer = Producer(
        {
            "bootstrap.servers": servers,
            "enable.idempotence": True,
            "linger.ms": 5,
            "queue.buffering.max.messages": 1_000_000,
            "partitioner": "murmur2_random",
        }
    )
    watch = _Watch()
    for start in range(0, records, BATCH):
        for key in _keys(start):
            while True:
                try:
                    producer.produce(topic, VALUE, key=key if keyed else None)
                    break
                except BufferError:
                    producer.poll(0.1)
        producer.poll(0)
    producer.flush()
    return watch.stop()


async def at_least_once(servers: str, topic: str, records: int, keyed: bool) -> dict[str, float]:
    """Our writer; `prepare_commit` every second."""
    return await _ours(servers, topic, records, keyed, "at_least_once")


async def exactly_once(servers: str, topic: str, records: int, keyed: bool) -> dict[str, float]:
    """Our writer; prepared every second and committed beside the next writes, as the engine does."""
    return await _ours(servers, topic, records, keyed, "exactly_once")


async def _ours(servers: str, topic: str, records: int, keyed: bool, delivery: Any) -> dict[str, float]:
    from tidegate.connectors import formats, kafka
    from tidegate.engine.testing.contexts import ManualSinkContext
    from tidegate.operators.batch import Batch

    class Context(ManualSinkContext):
        def now_ms(self) -> int:
            return time.time_ns() // 1_000_000

        async def sleep(self, seconds: float) -> None:
            await asyncio.sleep(seconds)

    context = Context(job=topic)
    key: Any = None
    if keyed:
        count = iter(range(1 << 60))
        key = lambda _: b"%08d" % (next(count) % 10_000)  # noqa: E731
    sink: Any = kafka.sink(servers, topic, format=formats.raw(), key=key, delivery=delivery)
    await sink.recover(context, None, [])
    writer = sink.writer(context)
    await writer.open()
    prepares, commits = [], []

    async def commit(committables: list[Any]) -> None:
        began = time.perf_counter()
        await sink.commit(context, committables)
        commits.append(time.perf_counter() - began)

    async def checkpoint(number: int) -> asyncio.Task[None]:
        began = time.perf_counter()
        prepared = await writer.prepare_commit(number)
        prepares.append(time.perf_counter() - began)
        return asyncio.create_task(commit(prepared))

    watch = _Watch()
    due, number, committing = time.perf_counter() + CHECKPOINT_S, 1, None
    for _ in range(0, records, BATCH):
        await writer.write(Batch([VALUE] * BATCH))
        await asyncio.sleep(0)
        if time.perf_counter() >= due:
            if committing is not None:
                await committing
            committing = await checkpoint(number)
            number, due = number + 1, time.perf_counter() + CHECKPOINT_S
    if committing is not None:
        await committing
    await (await checkpoint(number))
    found = watch.stop()
    await writer.close()
    found["prepare_ms"] = statistics.median(prepares) * 1000
    if delivery == "exactly_once":
        found["commit_ms"] = statistics.median(commits) * 1000
    return found


SIDES: dict[str, Side] = {
    "aiokafka send": aiokafka_send,
    "confluent-kafka produce": confluent_produce,
    "sink, at least once": at_least_once,
    "sink, exactly once": exactly_once,
}


def _measure(side: str, servers: str, topic: str, records: int, keyed: bool) -> None:
    """In the process of a side: run it and print what it took."""
    print(json.dumps(asyncio.run(SIDES[side](servers, topic, records, keyed))))


def _in_a_process(side: str, servers: str, records: int, partitions: int, keyed: bool) -> dict[str, float]:
    from confluent_kafka.admin import AdminClient, NewTopic

    topic = f"bench-{secrets.token_hex(6)}"
    admin = AdminClient({"bootstrap.servers": servers})
    admin.create_topics([NewTopic(topic, partitions, -1)])[topic].result(30)
    command = [sys.executable, "-m", "benchmarks.kafka_sink", "--side", side, "--topic", topic]
    command += ["--servers", servers, "--records", str(records), *(["--key"] if keyed else [])]
    run = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    admin.delete_topics([topic])[topic].result(30)
    found: dict[str, float] = json.loads(run.stdout)
    return found


def main() -> None:
    """Measure all sides in turn and print a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.kafka_sink", description=main.__doc__)
    parser.add_argument("--servers")
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--partitions", type=int, default=4)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--key", action="store_true", help="with keys, 10,000 different ones")
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--topic", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.side:
        _measure(given.side, given.servers, given.topic, given.records, given.key)
        return
    from tidegate.engine.testing.kafka import LocalKafka

    with nullcontext() if given.servers else LocalKafka(heap_mb=512) as kafka:
        servers = given.servers or kafka.servers
        results: dict[str, list[dict[str, float]]] = {side: [] for side in SIDES}
        for _ in range(given.repeat):
            for side, found in results.items():
                found.append(_in_a_process(side, servers, given.records, given.partitions, given.key))
    print(f"{given.records:,} records of {len(VALUE)} bytes, {given.partitions} partitions, keys: {given.key}")
    for side, found in results.items():
        middle = {name: statistics.median(run[name] for run in found) for name in found[0]}
        rate, cpu = given.records / middle["seconds"], middle["cpu_s"] * 1e6 / given.records
        times = "".join(f"  {name} {middle[name]:.1f}" for name in ("prepare_ms", "commit_ms") if name in middle)
        print(f"{side:25} {rate:10,.0f} records/s  {cpu:6.2f} CPU s per million{times}")


if __name__ == "__main__":
    main()
