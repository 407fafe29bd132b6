"""A job in a process of its own between two topics, and an independent idea of what must come out of it."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition

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
    """Writes events to a topic from a thread: `rate` a second, or as fast as it can."""

    def __init__(self, servers: str, topic: str, partitions: int, count: int, rate: int | None) -> None:
        self.count = count
        self._topic = topic
        self._partitions = partitions
        self._rate = rate
        self._producer = Producer({"bootstrap.servers": servers, "linger.ms": 5, "enable.idempotence": True})
        self._thread = threading.Thread(target=self._write, name="feed")
        self._failed: list[Any] = []

    def start(self) -> None:
        self._thread.start()

    def finish(self) -> None:
        """Wait until all is written, the events that close every window included."""
        self._thread.join()
        assert self._failed == []

    def _write(self) -> None:
        started = time.monotonic()
        for first in range(0, self.count, 100):
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


def committed(servers: str, topic: str) -> Counter[Any]:
    """Every record of a topic that a plain reader of committed records sees, up to the end that there is now."""
    consumer = Consumer(
        {
            "bootstrap.servers": servers,
            "group.id": "the plain reader",
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
        }
    )
    try:
        partitions = consumer.list_topics(topic, 30).topics[topic].partitions
        consumer.assign([TopicPartition(topic, partition, 0) for partition in partitions])
        found: Counter[Any] = Counter()
        waiting = set(partitions)
        while waiting:
            for message in consumer.consume(10_000, 1):
                if message.error() is None:
                    waiting.add(message.partition())
                    found[tuple(msgspec.json.decode(message.value()))] += 1
                elif message.error().code() == KafkaError._PARTITION_EOF:
                    waiting.discard(message.partition())
                else:
                    raise AssertionError(message.error())
        return found
    finally:
        consumer.close()


class Pipe:
    """One topic with events, the topics that the job writes, and the job's folder."""

    def __init__(self, servers: str, topics: dict[str, str], folder: Path, partitions: int) -> None:
        self.servers = servers
        self.partitions = partitions
        self.folder = folder
        self._topics = topics
        self._lives = 0

    def feed(self, count: int, rate: int | None = None) -> Feed:
        """Events for the job; started."""
        feed = Feed(self.servers, self._topics["source"], self.partitions, count, rate)
        feed.start()
        return feed

    @contextmanager
    def job(self, **settings: Any) -> Iterator[subprocess.Popen[bytes]]:
        """The job in a process of its own, which does not outlive the block."""
        self._lives += 1
        given = {"servers": self.servers, "state": str(self.folder / "state"), **self._topics, **settings}
        with (self.folder / f"life-{self._lives}.log").open("wb") as log:
            process = subprocess.Popen([sys.executable, APP, msgspec.json.encode(given)], stdout=log, stderr=log)
            try:
                yield process
            finally:
                process.kill()
                process.wait()

    @property
    def said(self) -> str:
        """What the last process wrote."""
        return (self.folder / f"life-{self._lives}.log").read_text(errors="replace")

    def dies(self, **settings: Any) -> None:
        """Run the job until it dies where the settings say."""
        with self.job(**settings) as process:
            process.wait(60)
        assert process.returncode == -signal.SIGKILL, self.said

    def ends_with_everything(self, count: int, timeout_s: float = 90, **settings: Any) -> None:
        """Run the job until every result of `count` events is there, stop it, and compare all that a plain reader sees."""
        expected = self.expected(count)
        wanted = {name: results.total() for name, results in expected.items()}
        with self.job(**settings) as process:
            deadline = time.monotonic() + timeout_s
            while {name: committed(self.servers, topic).total() for name, topic in self._results()} != wanted:
                assert process.poll() is None, f"the job ended by itself:\n{self.said}"
                if time.monotonic() > deadline:
                    break
            process.send_signal(signal.SIGTERM)
            process.wait(60)
        assert process.returncode == 0, self.said
        for name, topic in self._results():
            found = committed(self.servers, topic)
            missing, too_many = expected[name] - found, found - expected[name]
            assert (sorted(missing)[:5], sorted(too_many)[:5]) == ([], []), (
                f"{name}: {missing.total()} missing, {too_many.total()} too many\n{self.said}"
            )

    def expected(self, count: int) -> dict[str, Counter[Any]]:
        """What must be in each topic of results."""
        made: dict[str, Callable[[], Counter[Any]]] = {
            "copy": lambda: copies(count, self.partitions),
            "windows": lambda: windows(count),
        }
        return {name: made[name]() for name, _ in self._results()}

    def _results(self) -> list[tuple[str, str]]:
        return [(name, topic) for name, topic in self._topics.items() if name != "source"]


@pytest.fixture
def make_pipe(kafka_servers: str, new_topic: Callable[..., str], tmp_path: Path) -> Callable[..., Pipe]:
    """A pipe: `make_pipe("copy", "windows")`, each with a topic of its own."""

    def make(*results: str, partitions: int = 4) -> Pipe:
        topics = {name: new_topic(partitions) for name in ("source", *results)}
        return Pipe(kafka_servers, topics, tmp_path, partitions)

    return make
