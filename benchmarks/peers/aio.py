"""aiokafka by hand: asyncio and Python, with the loops over bytes compiled."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any, Final

import msgspec

from ..kafka_topics import PARTITIONS
from ..scenario import Figures
from ..stopwatch import Stopwatch

LABEL: Final = "aiokafka"
BATCHES: Final = "aiokafka-batches"
"""The side of `read_batches`."""

_BATCH: Final = 10_000
_PENDING: Final = 10_000


def read(servers: str, topic: str, count: int, type: type[Any], look: Callable[[list[Any]], None]) -> Figures:
    """Read `count` records with `getmany`, the faster way of two, decode them and show them to `look`."""

    async def run() -> Figures:
        from aiokafka import AIOKafkaConsumer, TopicPartition

        consumer = AIOKafkaConsumer(
            bootstrap_servers=servers,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            isolation_level="read_committed",
            max_partition_fetch_bytes=4 << 20,
            fetch_max_bytes=16 << 20,
        )
        decode = msgspec.json.Decoder(type).decode
        async with consumer:
            watch = Stopwatch()
            consumer.assign([TopicPartition(topic, partition) for partition in range(PARTITIONS)])
            seen = 0
            while seen < count:
                found = await consumer.getmany(timeout_ms=500, max_records=_BATCH)
                for messages in found.values():
                    values = [decode(message.value) for message in messages]
                    seen += len(values)
                    look(values)
            return watch.read()

    return _run(run)


def read_batches(servers: str, topic: str, count: int, type: type[Any], look: Callable[[list[Any]], None]) -> Figures:
    """Read `count` records from the record batches of fetch requests, a column at a time and the next fetch on its way: what
    is left when there is no consumer. It serves one broker that does not fail."""

    async def run() -> Figures:
        from aiokafka import TopicPartition
        from aiokafka.client import AIOKafkaClient
        from aiokafka.protocol.fetch import FetchRequest
        from aiokafka.record.memory_records import MemoryRecords

        decode, value_of = msgspec.json.Decoder(type).decode, attrgetter("value")
        client = AIOKafkaClient(bootstrap_servers=servers)
        await client.bootstrap()
        await client.set_topics([topic])
        broker = client.cluster.leader_for_partition(TopicPartition(topic, 0))
        offsets = dict.fromkeys(range(PARTITIONS), 0)

        async with asyncio.TaskGroup() as group:

            def ask() -> asyncio.Task[Any]:
                rows = [(partition, offset, 1 << 20) for partition, offset in offsets.items()]
                return group.create_task(client.send(broker, FetchRequest(100, 1, 8 << 20, 1, [(topic, rows)])))

            watch = Stopwatch()
            seen, ahead = 0, ask()
            while seen < count:
                batches = []
                for _, rows in (await ahead).topics:
                    for partition, code, *_, data in rows:
                        if code:
                            raise RuntimeError(f"partition {partition}: error {code}")
                        found = MemoryRecords(data)
                        while found.has_next():
                            batch = found.next_batch()
                            if not batch.validate_crc():
                                raise RuntimeError(f"partition {partition}: a batch is damaged")
                            batches.append(batch)
                            offsets[partition] = batch.next_offset
                ahead = ask()
                await asyncio.sleep(0)  # the request goes out before the records of the last one are decoded
                for batch in batches:
                    values = [decode(payload) for payload in map(value_of, list(batch))]
                    seen += len(values)
                    look(values)
            figures = watch.read()
            ahead.cancel()
        await client.close()
        return figures

    return _run(run)


def write(servers: str, topic: str, values: Sequence[Any], key: Callable[[Any], bytes]) -> Figures:
    """Encode values and write them with `send`, without losing or doubling any."""

    async def run() -> Figures:
        from aiokafka import AIOKafkaProducer

        encode = msgspec.json.Encoder().encode
        producer = AIOKafkaProducer(
            bootstrap_servers=servers, enable_idempotence=True, max_batch_size=256 * 1024, linger_ms=5
        )
        async with producer:
            await producer.partitions_for(topic)
            watch = Stopwatch()
            rest = iter(values)
            while batch := list(itertools.islice(rest, _PENDING)):
                sent = [await producer.send(topic, encode(value), key=key(value)) for value in batch]
                await asyncio.gather(*sent)
            return watch.read()

    return _run(run)


def _run(run: Callable[[], Any]) -> Figures:
    """On the event loop that our engine takes where it is there."""
    factory: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop
    with contextlib.suppress(ImportError):
        import uvloop

        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        figures: Figures = runner.run(run())
    return figures
