"""A job in a process of its own between two topics, and an independent idea of what must come out of it."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest
from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from tidegate.connectors.kafka import Connection
from tidegate.connectors.kafka.cluster import Cluster
from tidegate.connectors.kafka.recovery import Prepared
from tidegate.connectors.kafka.transactions import Transactions
from tidegate.engine.checkpoint.manifest import Manifest
from tidegate.engine.checkpoint.storage import CheckpointStorage
from tidegate.engine.clock import SystemClock
from tidegate.engine.control import ControlError, ask
from tidegate.engine.executor import InlineExecutor
from tidegate.engine.testing.kafka import LocalKafka

APP = Path(__file__).parent / "app.py"
PER_MS = 20
"""Events per millisecond of event time: also of real time, at 20,000 a second."""


def event(number: int) -> dict[str, Any]:
    """The nth event: keys in turn, out of order by less than half a second."""
    jitter = number * 7919 % 500
    return {
        "id": number,
        "key": f"k{number * 31 % 97}",
        "at": 1_700_000_000_000 + number // PER_MS + jitter,
        "value": number % 1009,
    }


class Feed:
    """Writes events to a topic from a thread: `rate` a second, or as fast as it can.

    Attributes:
        count: how many events; in the end as many as were written.
    """

    def __init__(self, servers: str, topic: str, partitions: int, count: int, rate: int | None) -> None:
        self.count = count
        self._stopped = False
        self._topic = topic
        self._partitions = partitions
        self._rate = rate
        self._producer = Producer(
            {"bootstrap.servers": servers, "linger.ms": 5, "enable.idempotence": True, "log_level": 0}
        )
        self._thread = threading.Thread(target=self._write, name="feed", daemon=True)
        self._goes_on = threading.Event()
        self._goes_on.set()
        self._has_paused = threading.Event()
        self._failed: list[Any] = []

    def start(self) -> None:
        self._thread.start()

    def finish(self) -> None:
        """Wait until all is written, the events that close every window included."""
        self._thread.join()
        assert self._failed == []

    def stop(self) -> None:
        """As `finish`, without the events that have not been written yet."""
        self._stopped = True
        self.finish()

    def pause(self) -> None:
        """Write no more until `resume`; what was written has arrived."""
        self._has_paused.clear()
        self._goes_on.clear()
        while self._thread.is_alive() and not self._has_paused.wait(0.1):
            pass

    def resume(self) -> None:
        """Go on."""
        self._goes_on.set()

    def _write(self) -> None:
        started = time.monotonic()
        for first in range(0, self.count, 100):
            if not self._goes_on.is_set():
                self._producer.flush(60)
                self._has_paused.set()
                self._goes_on.wait()
            if self._stopped:
                self.count = first
                break
            for number in range(first, min(first + 100, self.count)):
                self._send(event(number), number * 31 % 97 % self._partitions)
            self._producer.poll(0)
            if self._rate is not None:
                time.sleep(max(0.0, started + first / self._rate - time.monotonic()))
        end = event(self.count)["at"] + 60_000
        for partition in range(self._partitions):
            self._send({"id": -1 - partition, "key": "end", "at": end, "value": 0}, partition)
        self._producer.flush(60)

    def _send(self, value: dict[str, Any], partition: int) -> None:
        while True:
            try:
                self._producer.produce(
                    self._topic, msgspec.json.encode(value), value["key"], partition, on_delivery=self._delivered
                )
                return
            except BufferError:
                self._producer.poll(0.1)

    def _delivered(self, error: Any, _: Any) -> None:
        if error is not None:
            self._failed.append(error)


def copies(count: int, partitions: int) -> Counter[Any]:
    """What a copy of the events holds."""
    ends = [(-1 - partition, "end") for partition in range(partitions)]
    return Counter([*ends, *((e["id"], e["key"]) for e in map(event, range(count)))])


def windows(count: int) -> Counter[Any]:
    """What a count per key and second must give: (key, start, records, total)."""
    counts: Counter[Any] = Counter()
    totals: Counter[Any] = Counter()
    for e in map(event, range(count)):
        window = (e["key"], e["at"] // 1000 * 1000)
        counts[window] += 1
        totals[window] += e["value"]
    return Counter((*window, n, totals[window]) for window, n in counts.items())


class PlainReader:
    """Reads a topic as any program does that wants committed records only. It knows nothing of checkpoints.

    Attributes:
        found: every record so far, and how often.
    """

    def __init__(self, servers: str, topic: str) -> None:
        self.found: Counter[Any] = Counter()
        self._consumer = Consumer(
            {
                "bootstrap.servers": servers,
                "group.id": "the plain reader",
                "isolation.level": "read_committed",
                "enable.auto.commit": False,
                "enable.partition.eof": True,
                "log_level": 0,
            }
        )
        self._topic = topic
        self._next = dict.fromkeys(self._consumer.list_topics(topic, 30).topics[topic].partitions, 0)

    def read(self) -> Counter[Any]:
        """Read on to the end that there is now; all records up to there."""
        self._consumer.assign([TopicPartition(self._topic, *place) for place in self._next.items()])
        reading = set(self._next)
        while reading:
            for message in self._consumer.consume(10_000, 1):
                error, partition = message.error(), message.partition()
                if error is None:
                    reading.add(partition)
                    self._next[partition] = message.offset() + 1
                    self.found[tuple(msgspec.json.decode(message.value()))] += 1
                elif error.code() == KafkaError._PARTITION_EOF:
                    reading.discard(partition)
                elif not error.retriable():
                    raise AssertionError(error)
        return self.found

    def close(self) -> None:
        self._consumer.close()


class Life(subprocess.Popen[bytes]):
    """The job's process, from its start to its end."""

    def __init__(self, settings: Mapping[str, Any], log: Path) -> None:
        self._log = log
        with log.open("wb") as file:
            super().__init__([sys.executable, APP, msgspec.json.encode(settings)], stdout=file, stderr=file)

    @property
    def said(self) -> str:
        """What it wrote."""
        return self._log.read_text(errors="replace")

    def told(self, name: str) -> list[dict[str, Any]]:
        """Its events of one name."""
        return [
            msgspec.json.decode(line)
            for line in self.said.splitlines(keepends=True)
            if line.startswith(f'{{"event":"{name}"') and line.endswith("\n")
        ]

    def until(self, done: Callable[[], bool], timeout_s: float = 90) -> None:
        """Wait until something holds; the process must live so long."""
        deadline = time.monotonic() + timeout_s
        while not done():
            assert self.poll() is None, f"the job ended by itself:\n{self.said}"
            assert time.monotonic() < deadline, f"nothing for {timeout_s} s:\n{self.said}"
            time.sleep(0.05)

    def goes_on(self, checkpoints: int = 2) -> None:
        """Wait until it has completed so many more checkpoints, each with more records."""

        def done() -> set[int]:
            return {event["records"] for event in self.told("checkpoint_completed")}

        before = done()
        self.until(lambda: len(done() - before) >= checkpoints)


class Pipe:
    """One topic with events, the topics that the job writes, and the job's folder.

    Args:
        servers: that the job is told.
        beside: the servers for everybody else, where those are others.
    """

    def __init__(
        self, servers: str, topics: dict[str, str], folder: Path, partitions: int, beside: str | None = None
    ) -> None:
        self.servers = servers
        self.partitions = partitions
        self.folder = folder
        self.topics = topics
        self.beside = beside or servers
        self._lives = 0
        self._last: Life | None = None
        self._feeds: list[Feed] = []

    def close(self) -> None:
        """End what a failed test left."""
        for feed in self._feeds:
            feed.stop()

    def feed(self, count: int, rate: int | None = None) -> Feed:
        """Events for the job; started."""
        feed = Feed(self.beside, self.topics["source"], self.partitions, count, rate)
        feed.start()
        self._feeds.append(feed)
        return feed

    def endless_feed(self, rate: int = 5_000) -> Feed:
        """Events until it is stopped; started."""
        return self.feed(10_000_000, rate)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """No events come meanwhile. While a partition has no leader, what writes to it keeps a core busy with asking for one,
        and brokers that have no core left do not elect one."""
        for feed in self._feeds:
            feed.pause()
        try:
            yield
        finally:
            for feed in self._feeds:
                feed.resume()

    @contextmanager
    def job(self, **settings: Any) -> Iterator[Life]:
        """The job in a process of its own, which does not outlive the block."""
        self._lives += 1
        given = {"servers": self.servers, "state": str(self.folder / "state"), **self.topics, **settings}
        with Life(given, self.folder / f"life-{self._lives}.log") as life:
            self._last = life
            try:
                yield life
            finally:
                life.kill()

    @property
    def said(self) -> str:
        """What the last process wrote."""
        assert self._last is not None
        return self._last.said

    def told(self, name: str) -> list[dict[str, Any]]:
        """The last process's events of one name."""
        assert self._last is not None
        return self._last.told(name)

    def dies(self, **settings: Any) -> None:
        """Run the job until it dies where the settings say."""
        with self.job(**settings) as life:
            life.wait(60)
        assert life.returncode == -signal.SIGKILL, life.said

    def refuses(self, **settings: Any) -> Life:
        """Run the job, which must end by itself with an error."""
        with self.job(**settings) as life:
            life.wait(60)
        assert life.returncode > 0, life.said
        return life

    def ends_with_everything(
        self, count: int, timeout_s: float = 90, repeats: Mapping[str, int] | None = None, **settings: Any
    ) -> Life:
        """Run the job until every result of `count` events is there, stop it, and compare all that a plain reader sees."""
        with self.job(**settings) as life:
            self.completes(life, count, timeout_s, repeats)
        return life

    def completes(
        self, life: Life, count: int, timeout_s: float = 90, repeats: Mapping[str, int] | None = None
    ) -> None:
        """Wait for every result of `count` events, stop the job, and compare all that a plain reader sees.

        Args:
            repeats: how many results come twice, of each kind; none where it says nothing.
        """
        repeats = repeats or {}
        expected = self.expected(count)
        wanted = {name: results.total() + repeats.get(name, 0) for name, results in expected.items()}
        readers = {name: PlainReader(self.beside, self.topics[name]) for name in expected}
        try:
            deadline = time.monotonic() + timeout_s
            while {name: reader.read().total() for name, reader in readers.items()} != wanted:
                assert life.poll() is None, f"the job ended by itself:\n{life.said}"
                if time.monotonic() > deadline:
                    break
                time.sleep(0.1)
            life.send_signal(signal.SIGTERM)
            life.wait(60)
            assert life.returncode == 0, life.said
            for name, reader in readers.items():
                found = reader.read()
                missing, too_many = expected[name] - found, found - expected[name]
                assert (sorted(missing)[:5], too_many.total()) == ([], repeats.get(name, 0)), (
                    f"{name}: {missing.total()} missing, {too_many.total()} too many: {sorted(too_many)[:5]}\n{life.said}"
                )
                assert set(too_many) <= set(expected[name])
        finally:
            for reader in readers.values():
                reader.close()

    def lives_through(self, *troubles: Callable[[], object], timeout_s: float = 90, **settings: Any) -> Life:
        """Run the job while events come, and trouble after trouble: it goes on by itself and gives every result once."""
        feed = self.endless_feed()
        with self.job(**settings) as life:
            life.goes_on()
            for trouble in troubles:
                trouble()
                life.goes_on()
            feed.stop()
            self.completes(life, feed.count, timeout_s)
        return life

    def visible(self, name: str) -> Counter[Any]:
        """What a plain reader of committed records sees of a kind of results."""
        reader = PlainReader(self.beside, self.topics[name])
        try:
            return reader.read()
        finally:
            reader.close()

    def expected(self, count: int) -> dict[str, Counter[Any]]:
        """What must be in each topic of results."""
        made: dict[str, Callable[[], Counter[Any]]] = {
            "copy": lambda: copies(count, self.partitions),
            "windows": lambda: windows(count),
        }
        return {name: made[name]() for name in self.topics if name != "source"}

    # ------------------------------------------------------------------- the job's folder

    def manifests(self) -> list[Manifest]:
        """All checkpoints and savepoints that there are, the oldest first."""

        async def read() -> list[Manifest]:
            storage = CheckpointStorage(self.folder / "state", self.topics["source"], InlineExecutor(), SystemClock())
            return [info.manifest for info in await storage.list() if info.manifest is not None]

        return asyncio.run(read())

    def prepared(self) -> list[Prepared]:
        """The transactions of the newest checkpoint."""
        return [Prepared.of(it) for found in self.manifests()[-1].committables.values() for it in found]

    def savepoint(self, name: str) -> None:
        """Ask the running job for a savepoint; it may die of it."""
        with suppress(ControlError):
            ask(self.folder / "state" / self.topics["source"], {"command": "savepoint", "name": name}, 60)

    # ------------------------------------------------------------------- transactions

    def states(self, prepared: Sequence[Prepared]) -> list[str]:
        """How transactions stand; "gone" when their ids are no longer theirs."""

        async def ask_broker() -> list[str]:
            cluster = Cluster(Connection(self.beside), asyncio.sleep)
            await cluster.open()
            try:
                found = await Transactions(cluster, asyncio.sleep, 30_000).describe([it.tid for it in prepared])
            finally:
                await cluster.close()
            return [
                found[it.tid].state if it.tid in found and found[it.tid].producer == it.producer else "gone"
                for it in prepared
            ]

        return asyncio.run(ask_broker())

    def until_aborted(self, prepared: Sequence[Prepared]) -> None:
        """Wait until the broker has aborted transactions, as it does when their timeout has passed."""
        deadline = time.monotonic() + 60
        while any(state in ("Ongoing", "PrepareAbort") for state in self.states(prepared)):
            assert time.monotonic() < deadline, self.states(prepared)
            time.sleep(0.1)

    def leaders(self, name: str) -> list[int | None]:
        """The broker that leads each partition of a topic; None for one without a leader."""
        admin = AdminClient({"bootstrap.servers": self.beside, "log_level": 0})
        # Any broker that is up says so; what describes a topic may wait for one that is not.
        found = admin.list_topics(self.topics[name], 30).topics[self.topics[name]]
        # One so new that not every broker knows it has no partitions yet.
        return [None if p.leader < 0 else p.leader for p in found.partitions.values()] or [None]

    def until_led_by_others(self, broker: int) -> None:
        """Wait until each partition of each topic has a leader that is another one."""
        deadline = time.monotonic() + 60
        while {broker, None} & {leader for name in self.topics for leader in self.leaders(name)}:
            assert time.monotonic() < deadline, "no leader after 60 s"
            time.sleep(0.1)

    def coordinator(self, transactional_id: str) -> int:
        """The broker that keeps a transactional id."""

        async def ask_broker() -> int:
            cluster = Cluster(Connection(self.beside), asyncio.sleep)
            await cluster.open()
            try:
                return await cluster.coordinator(transactional_id)
            finally:
                await cluster.close()

        return asyncio.run(ask_broker())


@pytest.fixture
def make_pipe(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[..., Pipe]]:
    """A pipe: `make_pipe("copy", "windows")`, each with a topic of its own, on the broker of the run or on another."""
    pipes: list[Pipe] = []

    def make(*results: str, partitions: int = 4, on: LocalKafka | None = None) -> Pipe:
        names = ("source", *results)
        if on is None:
            new_topic = request.getfixturevalue("new_topic")
            servers = request.getfixturevalue("kafka_servers")
            pipe = Pipe(servers, {name: new_topic(partitions) for name in names}, tmp_path, partitions)
        else:
            # Whatever happens to clients of the cluster, feed and reader are on the brokers' own network.
            topics = {name: f"{tmp_path.name}-{name}" for name in names}
            pipe = Pipe(on.servers, topics, tmp_path, partitions, beside=on.internal_servers)
            admin = AdminClient({"bootstrap.servers": pipe.beside, "log_level": 3})
            for made in admin.create_topics([NewTopic(topic, partitions, -1) for topic in topics.values()]).values():
                made.result(30)
            while any(None in pipe.leaders(name) for name in names):
                time.sleep(0.05)
        pipes.append(pipe)
        return pipe

    yield make
    for pipe in pipes:
        pipe.close()
