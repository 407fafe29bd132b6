"""How fast Kafka is read, to records decoded by msgspec: why the source is built on whole record batches.

    python -m benchmarks.kafka_clients [--servers host:port] [--records 1000000] [--compression none] [--repeat 5]

Without `--servers` a broker is started for it. One topic of 4 partitions holds JSON messages of about 176 bytes. Each side has
a fresh process, reads everything, and ends with the same lists: values, timestamps, and an offset to go on at. Sides take
turns; medians are shown. Each is bound to one core (with `--cores 2`, to two) while the broker uses what is left. CPU time is
that of the client's process with all its threads, from the first request on. Time does not count imports.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import secrets
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from operator import attrgetter
from typing import Any

import msgspec

PARTITIONS = 4
BATCH = 2048
"""As many records as the engine asks for at once."""

CHANNELS = ("Google", "Facebook", "Baidu", "Apple", "channel-1234", "channel-77", "channel-9041", "channel-313")


class Bid(msgspec.Struct):
    """What a message holds."""

    auction: int
    bidder: int
    price: int
    channel: str
    url: str
    date_time: int


def fill(servers: str, topic: str, records: int, compression: str) -> int:
    """Make a topic and write bids to it; bytes of the messages."""
    from confluent_kafka import Producer
    from confluent_kafka.admin import AdminClient, NewTopic

    admin = AdminClient({"bootstrap.servers": servers})
    admin.create_topics([NewTopic(topic, PARTITIONS, 1, config={"retention.ms": "-1"})])[topic].result()
    producer = Producer({"bootstrap.servers": servers, "linger.ms": 20, "compression.type": compression})
    chance = random.Random(42)
    n_bytes = 0
    for n in range(records):
        bid = Bid(
            chance.randrange(1000, 11_000),
            chance.randrange(1000, 200_000),
            int(100 * 10 ** (chance.random() * 3)),
            chance.choice(CHANNELS),
            f"https://www.nexmark.com/abcdefghijklmn/item.htm?query=1&channel_id={chance.randrange(10_000)}",
            1_700_000_000_000 + n // 10,
        )
        message = msgspec.json.encode(bid)
        n_bytes += len(message)
        while True:
            try:
                producer.produce(topic, message, partition=n % PARTITIONS, timestamp=bid.date_time)
                break
            except BufferError:
                producer.poll(0.1)
    producer.flush()
    return n_bytes


# ------------------------------------------------------------------------- sides


def confluent_consume(servers: str, topic: str, records: int) -> Callable[[], int]:
    """confluent-kafka, `consume(n)` in the executor's thread, one call ahead, decoding in the loop."""
    from confluent_kafka import Consumer, TopicPartition

    consumer = Consumer(
        {
            "bootstrap.servers": servers,
            "group.id": "benchmark",
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
            "check.crcs": True,
            "queued.min.messages": 100_000,
            "fetch.queue.backoff.ms": 10,  # or it rests for a second whenever it has read that far ahead
        }
    )

    async def read() -> int:
        consumer.assign([TopicPartition(topic, partition, 0) for partition in range(PARTITIONS)])
        loop, decode, done = asyncio.get_running_loop(), msgspec.json.Decoder(Bid).decode, 0
        with ThreadPoolExecutor(1) as executor:
            ahead = loop.run_in_executor(executor, consumer.consume, BATCH, 0.1)
            while done < records:
                messages = await ahead
                ahead = loop.run_in_executor(executor, consumer.consume, BATCH, 0.1)
                by_partition: dict[int, list[Any]] = {}
                for message in messages:
                    assert message.error() is None
                    by_partition.setdefault(message.partition(), []).append(message)
                for own in by_partition.values():
                    values = [decode(message.value()) for message in own]
                    timestamps = [message.timestamp()[1] for message in own]
                    offset = own[-1].offset() + 1
                    assert (len(values), offset > 0) == (len(timestamps), True)
                    done += len(values)
            await ahead
        consumer.close()
        return done

    return lambda: asyncio.run(read())


def aiokafka_getmany(servers: str, topic: str, records: int) -> Callable[[], int]:
    """aiokafka, `getmany`: an object and a call of Python for each message."""
    from aiokafka import AIOKafkaConsumer, TopicPartition

    async def read() -> int:
        decode, done = msgspec.json.Decoder(Bid).decode, 0
        async with AIOKafkaConsumer(bootstrap_servers=servers, isolation_level="read_committed") as consumer:
            partitions = [TopicPartition(topic, partition) for partition in range(PARTITIONS)]
            consumer.assign(partitions)
            for partition in partitions:
                consumer.seek(partition, 0)
            while done < records:
                for own in (await consumer.getmany(timeout_ms=100, max_records=BATCH)).values():
                    values = [decode(message.value) for message in own]
                    timestamps = [message.timestamp for message in own]
                    offset = own[-1].offset + 1
                    assert (len(values), offset > 0) == (len(timestamps), True)
                    done += len(values)
        return done

    return lambda: asyncio.run(read())


def aiokafka_batches(servers: str, topic: str, records: int) -> Callable[[], int]:
    """aiokafka's client and record batches, a column at a time, the next fetch on its way; nothing of ours."""
    return lambda: asyncio.run(_read_batches(servers, topic, records, joined=False))


def aiokafka_batches_joined(servers: str, topic: str, records: int) -> Callable[[], int]:
    """The same, with the payloads joined by newlines and decoded as lines in one call."""
    return lambda: asyncio.run(_read_batches(servers, topic, records, joined=True))


async def _read_batches(servers: str, topic: str, records: int, joined: bool) -> int:
    from aiokafka import TopicPartition
    from aiokafka.client import AIOKafkaClient
    from aiokafka.protocol.fetch import FetchRequest
    from aiokafka.record.memory_records import MemoryRecords

    value_of, timestamp_of, decoder = attrgetter("value"), attrgetter("timestamp"), msgspec.json.Decoder(Bid)
    client = AIOKafkaClient(bootstrap_servers=servers)
    await client.bootstrap()
    await client.set_topics([topic])
    broker = client.cluster.leader_for_partition(TopicPartition(topic, 0))
    offsets = dict.fromkeys(range(PARTITIONS), 0)

    def ask() -> asyncio.Task[Any]:
        rows = [(partition, offset, 1 << 20) for partition, offset in offsets.items()]
        return asyncio.create_task(client.send(broker, FetchRequest(100, 1, 8 << 20, 1, [(topic, rows)])))

    done, ahead = 0, ask()
    while done < records:
        batches = []
        for _, rows in (await ahead).topics:
            for partition, code, *_, data in rows:
                assert code == 0
                found = MemoryRecords(data)
                while found.has_next():
                    batches.append(found.next_batch())
                    offsets[partition] = batches[-1].next_offset
        ahead = ask()
        await asyncio.sleep(0)
        for batch in batches:
            assert batch.validate_crc()
            own = list(batch)
            payloads = list(map(value_of, own))
            values = decoder.decode_lines(b"\n".join(payloads)) if joined else list(map(decoder.decode, payloads))
            timestamps = list(map(timestamp_of, own))
            assert len(values) == len(timestamps)
            done += len(values)
    ahead.cancel()
    await client.close()
    return done


def tidegate_reader(servers: str, topic: str, records: int) -> Callable[[], int]:
    """Our reader, driven by hand."""
    import aiokafka.client  # noqa: F401  # imports do not count
    from tidegate.connectors import formats, kafka
    from tidegate.engine.testing.contexts import ManualSourceContext

    class Context(ManualSourceContext):
        def now_ms(self) -> int:
            return time.time_ns() // 1_000_000

        def wake(self) -> None:
            woken.set()

    woken = asyncio.Event()

    async def read() -> int:
        source, context, done = kafka.source(servers, topic, format=formats.json(Bid)), Context(), 0
        splits = await source.discover(context, frozenset())
        reader = source.reader(context)
        for split in splits:
            await reader.open(split, None)
        while done < records:
            woken.clear()
            count = 0
            for split in splits:
                fetch = await reader.read(split.id, BATCH)
                assert len(fetch.values) == len(fetch.timestamps or ())
                count += len(fetch.values)
            done += count
            if not count and done < records:
                await woken.wait()
            await asyncio.sleep(0)
        await reader.close()
        return done

    return lambda: asyncio.run(read())


def tidegate_job(servers: str, topic: str, records: int) -> Callable[[], int]:
    """A whole job: our source, the engine, and a function that counts; metrics and watermarks as for any user."""
    import aiokafka.client  # noqa: F401  # imports do not count
    from tidegate.connectors import formats, kafka, memory
    from tidegate.engine import RunConfig, Topology, run

    topology, sink = Topology("bench"), memory.sink()
    counted = 0

    def count(bid: Bid) -> bool:
        nonlocal counted
        counted += 1
        return False

    source = kafka.source(servers, topic, format=formats.json(Bid), stop_at_end=True)
    topology.source("bids", source).filter(count).sink("out", sink)

    def work() -> int:
        run(topology, RunConfig(), live=False)
        return counted

    return work


SIDES: dict[str, Callable[[str, str, int], Callable[[], int]]] = {
    side.__name__: side
    for side in (
        confluent_consume,
        aiokafka_getmany,
        aiokafka_batches,
        aiokafka_batches_joined,
        tidegate_reader,
        tidegate_job,
    )
}


# ------------------------------------------------------------------------ runner


def measure(side: str, servers: str, topic: str, records: int, cores: int) -> None:
    """One side in this process; prints its result."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-cores:])
    work = SIDES[side](servers, topic, records)
    started, cpu = time.perf_counter(), time.process_time()
    done = work()
    seconds, cpu_s = time.perf_counter() - started, time.process_time() - cpu
    assert done == records, f"{side}: {done} of {records}"
    print(json.dumps({"per_second": records / seconds, "cpu_per_million": cpu_s / records * 1e6}))


def main() -> None:
    """Measure all sides and print a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.kafka_clients", description=__doc__)
    parser.add_argument("--servers")
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--compression", default="none")
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--cores", type=int, default=1)
    parser.add_argument("--topic")
    parser.add_argument("--side", choices=SIDES)
    given = parser.parse_args()
    if given.side is not None:
        measure(given.side, given.servers, given.topic, given.records, given.cores)
        return
    with nullcontext() if given.servers else _broker() as broker:
        servers = given.servers or broker.servers
        topic = f"bids-{secrets.token_hex(4)}"
        n_bytes = fill(servers, topic, given.records, given.compression)
        found: dict[str, list[dict[str, float]]] = {side: [] for side in SIDES}
        for turn in range(given.repeat + 1):
            for side, results in found.items():
                command = [sys.executable, "-m", "benchmarks.kafka_clients", "--side", side, "--servers", servers]
                command += ["--topic", topic, "--records", str(given.records), "--cores", str(given.cores)]
                out = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
                if turn:  # the first warms the broker up
                    results.append(json.loads(out.splitlines()[-1]))
    print(
        f"{given.records:,} records of {n_bytes / given.records:.0f} bytes, {given.compression}; cores: {given.cores}"
    )
    print(f"{'':26}{'records/s':>12}{'lowest':>12}{'highest':>12}{'CPU s/M':>10}")
    for side, results in found.items():
        rates = [result["per_second"] for result in results]
        cpu = statistics.median(result["cpu_per_million"] for result in results)
        print(f"{side:26}{statistics.median(rates):>12,.0f}{min(rates):>12,.0f}{max(rates):>12,.0f}{cpu:>10.2f}")


def _broker() -> Any:
    from tidegate.engine.testing.kafka import LocalKafka

    return LocalKafka(heap_mb=512)


if __name__ == "__main__":
    main()
