"""What the tests of the Kafka source share: a context in real time, producers, and a reader that is read by hand."""

from __future__ import annotations

import asyncio
import socket
import time
import types
from collections.abc import AsyncIterator, Callable, Coroutine, Generator, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

import msgspec
from confluent_kafka import Producer
from tidegate.connectors import Fetch, Source, Split
from tidegate.engine.testing.contexts import ManualSourceContext

DEADLINE_S = 60


class LiveSourceContext(ManualSourceContext):
    """A source's context whose time is real: a broker has no other. Says when the reader wakes the engine."""

    def __init__(self) -> None:
        super().__init__()
        self.woken = asyncio.Event()

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def wake(self) -> None:
        self.woken.set()


def produce(
    servers: str,
    topic: str,
    values: Iterable[Any],
    partition: int = 0,
    *,
    timestamp_ms: Callable[[int], int] | None = None,
    **settings: Any,
) -> None:
    """Write values as JSON, bytes as they are, None as a tombstone; returns when the broker has them."""
    producer = Producer({"bootstrap.servers": servers, "log_level": 3, **settings})
    failed: list[Any] = []
    for n, value in enumerate(values):
        payload = value if value is None or isinstance(value, bytes) else msgspec.json.encode(value)
        stamp = {} if timestamp_ms is None else {"timestamp": timestamp_ms(n)}
        producer.produce(topic, payload, partition=partition, on_delivery=lambda e, _: e and failed.append(e), **stamp)
        producer.poll(0)
    assert producer.flush(DEADLINE_S) == 0
    assert failed == []


class Transactions:
    """A producer of transactions."""

    def __init__(self, servers: str, name: str) -> None:
        self._producer = Producer({"bootstrap.servers": servers, "transactional.id": name, "log_level": 3})
        self._producer.init_transactions(DEADLINE_S)

    def begin(self, topic: str, values: Sequence[Any]) -> None:
        """Write values and leave the transaction open."""
        self._producer.begin_transaction()
        self.more(topic, values)

    def more(self, topic: str, values: Sequence[Any]) -> None:
        """Write values in the open transaction."""
        for value in values:
            self._producer.produce(topic, msgspec.json.encode(value), partition=0)
        assert self._producer.flush(DEADLINE_S) == 0

    def commit(self) -> None:
        self._producer.commit_transaction(DEADLINE_S)

    def abort(self) -> None:
        self._producer.abort_transaction(DEADLINE_S)


class Patient:
    """A source whose readers wait until there is something: for callers that ask again at once, and count how often."""

    def __init__(self, source: Any) -> None:
        self._source = source

    def __getattr__(self, name: str) -> Any:
        return getattr(self._source, name)

    def reader(self, context: LiveSourceContext) -> Any:
        reader = self._source.reader(context)
        read_now = reader.read

        async def read(split_id: str, limit: int) -> Fetch[Any]:
            async with asyncio.timeout(DEADLINE_S):
                while True:
                    context.woken.clear()
                    fetch: Fetch[Any] = await read_now(split_id, limit)
                    if fetch.values or fetch.rejected or fetch.end:
                        return fetch
                    await context.woken.wait()

        reader.read = read
        return reader


class Reading:
    """A reader with all splits of its source open, and what each has given."""

    def __init__(self, source: Source[Any], context: LiveSourceContext, splits: Sequence[Split]) -> None:
        self.reader: Any = source.reader(context)
        self.context = context
        self.splits = {split.id: split for split in splits}
        self.fetches: dict[str, list[Fetch[Any]]] = {split.id: [] for split in splits}

    @property
    def values(self) -> dict[str, list[Any]]:
        return {id: [value for fetch in fetches for value in fetch.values] for id, fetches in self.fetches.items()}

    @property
    def all_values(self) -> list[Any]:
        return [value for values in self.values.values() for value in values]

    def offset(self, split_id: str) -> Any:
        return self.fetches[split_id][-1].offset

    async def once(self, limit: int = 1000) -> int:
        """One read of each split that has not ended; how many records and bad records came."""
        count = 0
        for split_id, fetches in self.fetches.items():
            if not (fetches and fetches[-1].end):
                fetch = await self.reader.read(split_id, limit)
                fetches.append(fetch)
                count += len(fetch.values) + len(fetch.rejected)
        return count

    async def until(self, done: Callable[[], bool], limit: int = 1000) -> None:
        """Read as the engine does, when there is something, until `done`."""
        async with asyncio.timeout(DEADLINE_S):
            while True:
                self.context.woken.clear()
                count = await self.once(limit)
                if done():
                    return
                if not count and not self.context.woken.is_set():
                    await self.context.woken.wait()

    async def to_the_end(self, limit: int = 1000) -> None:
        await self.until(lambda: all(fetches[-1].end for fetches in self.fetches.values()), limit)

    async def count(self, n: int, limit: int = 1000) -> None:
        """Until so many records have come."""
        await self.until(lambda: len(self.all_values) >= n, limit)


@asynccontextmanager
async def reading(
    source: Source[Any], offsets: dict[str, Any] | None = None, splits: Sequence[Split] | None = None
) -> AsyncIterator[Reading]:
    """Open all splits that the source finds, or those given, at their offsets."""
    context = LiveSourceContext()
    found = await source.discover(context, frozenset()) if splits is None else splits
    it = Reading(source, context, found)
    try:
        for split in found:
            await it.reader.open(split, (offsets or {}).get(split.id))
        yield it
    finally:
        await it.reader.close()


async def read_all(source: Source[Any]) -> dict[str, list[Any]]:
    """All values of a bounded source."""
    async with reading(source) as it:
        await it.to_the_end()
        return it.values


async def cancelled_at(n: int, work: Coroutine[Any, Any, None]) -> bool:
    """Run `work` in an asyncio task that is cancelled where it waits for the nth time; whether it came so far.

    Raises:
        AssertionError: it went on and ended as if it had not been cancelled.
    """

    @types.coroutine
    def drive() -> Generator[Any, Any, None]:
        waits, thrown = 0, None
        while True:
            try:
                waited_for = work.send(None) if thrown is None else work.throw(thrown)
            except StopIteration:
                assert waits < n, f"it overheard a cancellation, at wait {n} of {waits}"
                return
            waits += 1
            if waits == n:
                task = asyncio.current_task()
                assert task is not None
                task.cancel()
            thrown = None
            try:
                yield waited_for
            except BaseException as error:
                thrown = error

    async def run() -> None:
        await drive()

    task = asyncio.create_task(run())
    await asyncio.wait([task])
    return task.cancelled() or bool(task.result())


def unused_port() -> int:
    """A port on which nobody listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


async def in_thread(function: Callable[..., Any], *args: Any) -> Any:
    """Run what blocks beside the event loop: killing and starting brokers, producing."""
    with ThreadPoolExecutor(1) as executor:
        return await asyncio.get_running_loop().run_in_executor(executor, function, *args)
