"""What writes the input, at its rate, while everything else fails."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from events import RATE_PER_S, SPLITS, closing, event

_TICK_S = 0.02


class Input(Protocol):
    """Writes events in real time.

    Attributes:
        written: how many there are.
    """

    written: int

    def make_topics(self) -> None: ...
    async def write(self) -> None: ...
    async def finish(self) -> None: ...
    def counted(self, folder: Path) -> int: ...


class _Paced:
    """Events by the clock, until it is told that it is enough."""

    def __init__(self, seed: int) -> None:
        self.written = 0
        self._seed = seed
        self._enough = asyncio.Event()
        self._done = asyncio.Event()

    async def _pace(self, put: Callable[[int, dict[str, object]], None], flush: Callable[[], None]) -> None:
        began = time.monotonic()
        while not self._enough.is_set():
            due = int((time.monotonic() - began) * RATE_PER_S)
            for number in range(self.written, due):
                put(*event(self._seed, number))
            self.written = max(due, self.written)
            flush()
            await asyncio.sleep(_TICK_S)
        for split in range(SPLITS):
            put(split, closing(split, self.written))
        flush()
        self._done.set()

    async def finish(self) -> None:
        """Write no more but the last events of each split."""
        self._enough.set()
        await self._done.wait()


class FileInput(_Paced):
    """Files that grow, one for each split."""

    def __init__(self, folder: Path, seed: int) -> None:
        super().__init__(seed)
        self._folder = folder / "in"
        self._folder.mkdir()
        for split in range(SPLITS):
            (self._folder / f"{split}.jsonl").touch()
        self._read: dict[Path, int] = {}

    def make_topics(self) -> None:
        """There are none."""

    async def write(self) -> None:
        """Until `finish`."""
        with contextlib.ExitStack() as stack:
            files = [stack.enter_context((self._folder / f"{s}.jsonl").open("a")) for s in range(SPLITS)]

            def put(split: int, what: dict[str, object]) -> None:
                files[split].write(json.dumps(what, separators=(",", ":")) + "\n")

            await self._pace(put, lambda: [file.flush() for file in files] and None)

    def counted(self, folder: Path) -> int:
        """How many counts are visible, those of the closing events included once all of them are."""
        for path in (folder / "out" / "counts").glob("part-*.jsonl"):
            if path not in self._read:
                self._read[path] = path.read_bytes().count(b"\n")
        # The windows in front of them have fired when the closing events have come through: with their counts.
        return sum(self._read.values()) - SPLITS


class KafkaInput(_Paced):
    """A topic, one partition for each split."""

    def __init__(self, servers: str, seed: int) -> None:
        super().__init__(seed)
        self._servers = servers

    def make_topics(self) -> None:
        """The one for input and those for output."""
        from confluent_kafka.admin import AdminClient, NewTopic

        admin = AdminClient({"bootstrap.servers": self._servers})
        topics = [NewTopic(name, num_partitions=SPLITS, replication_factor=1) for name in ("in", "counts", "windows")]
        for made in admin.create_topics(topics).values():
            made.result(60)

    async def write(self) -> None:
        """Until `finish`. What a broker does not take while it is away is sent again, in order and once."""
        from confluent_kafka import Producer

        producer = Producer(
            {
                "bootstrap.servers": self._servers,
                "enable.idempotence": True,
                "message.timeout.ms": 0,
                "linger.ms": 20,
                "queue.buffering.max.messages": 2_000_000,
                "log_level": 0,
            }
        )

        def put(split: int, what: dict[str, object]) -> None:
            producer.produce("in", json.dumps(what, separators=(",", ":")), str(what["key"]), split)

        await self._pace(put, lambda: producer.poll(0) and None)
        await asyncio.to_thread(producer.flush)

    def counted(self, folder: Path) -> int:
        """How many counts are committed."""
        from confluent_kafka import Consumer, TopicPartition

        settings = {"bootstrap.servers": self._servers, "group.id": "counter", "isolation.level": "read_committed"}
        if not hasattr(self, "_consumer"):
            self._consumer = Consumer({**settings, "enable.auto.commit": False, "log_level": 0})
            self._consumer.assign([TopicPartition("counts", split, 0) for split in range(SPLITS)])
            self._counted = 0
        while messages := self._consumer.consume(10_000, 1.0):
            self._counted += sum(message.error() is None for message in messages)
        return self._counted - SPLITS
