"""The ledger: a compacted topic in which the sink can read what became of its transactions.

A transaction that the broker has ended says no longer how. So each carries a *commit token*: one record in the
ledger, written in the same transaction. If the token is committed, so was the output. Beside the tokens stand
*starts*: which attempt of the job began to write, and from which checkpoint, for an attempt must fence those before
it and know whether newer output is visible.

    token:copy-out-a3-s0-1    {"kind":"token","checkpoint":57,"producer_id":4001,"fence":12,…}   in the transaction
    start:copy-out-a4         {"kind":"start","attempt":4,"parallelism":2,"restored":56}          after recovery

All stands in partition 0, in the order in which it happened. It is read raw, open transactions and their ends among
the records: a reader of committed records alone would have to wait for every open transaction of every other job.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from ...operators.time import format_ms
from ..sink import SinkError
from . import wire
from .batches import new_builder
from .client import Sleep
from .cluster import Cluster, UnansweredError, denied_topic

PARTITION: Final = 0
_FETCH_BYTES: Final = 4 << 20
_CONFIG: Final = {
    "cleanup.policy": "compact",
    "min.cleanable.dirty.ratio": "0.1",
    "segment.ms": "3600000",
    "segment.bytes": "67108864",
}


class Token(msgspec.Struct, frozen=True, tag="token", tag_field="kind"):
    """One prepared transaction.

    Attributes:
        transactional_id: whose transaction; the newest of each id is kept for ever.
        checkpoint: at whose barrier it was prepared.
        attempt, subtask: who wrote it.
    """

    prefix: str
    transactional_id: str
    producer_id: int
    fence: int
    checkpoint: int
    attempt: int
    subtask: int

    @property
    def key(self) -> bytes:
        return f"token:{self.transactional_id}".encode()


class Start(msgspec.Struct, frozen=True, tag="start", tag_field="kind"):
    """An attempt that may have written: from here on all that was visible before is accepted.

    Attributes:
        parallelism: how many subtasks it has.
        restored: the checkpoint from which it went on; 0 for a start from nothing.
    """

    prefix: str
    attempt: int
    parallelism: int
    restored: int

    @property
    def key(self) -> bytes:
        return f"start:{self.prefix}-a{self.attempt}".encode()


@dataclass(frozen=True, slots=True)
class Written:
    """An entry and where it stands."""

    offset: int
    entry: Token | Start


@dataclass(frozen=True, slots=True)
class Raw:
    """A batch of records as it stands in the log.

    Attributes:
        producer_id: -1 outside transactions.
        ends: True when it is the mark of a commit, False of an abort, None for records.
    """

    producer_id: int
    ends: bool | None
    records: tuple[tuple[int, bytes, bytes | None], ...]


class History:
    """What the ledger tells about one sink: decided from the log in order, without asking anybody.

    Args:
        prefix: the sink's transactional prefix.
    """

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._open: dict[int, list[Written]] = {}
        self._committed: list[Written] = []
        self._aborted: set[int] = set()

    def add(self, batch: Raw) -> None:
        """The next batch of the log."""
        if batch.ends is not None:
            ended = self._open.pop(batch.producer_id, [])
            if batch.ends:
                self._committed += ended
            else:
                self._aborted.update(written.offset for written in ended)
            return
        found = [Written(offset, entry) for offset, entry in self._entries(batch) if entry.prefix == self._prefix]
        if batch.producer_id >= 0:
            if found:
                self._open.setdefault(batch.producer_id, []).extend(found)
        else:
            self._committed += found

    def _entries(self, batch: Raw) -> Iterator[tuple[int, Token | Start]]:
        tokens, starts = f"token:{self._prefix}-a".encode(), f"start:{self._prefix}-a".encode()
        for offset, key, value in batch.records:
            if value is not None and key.startswith((tokens, starts)):
                try:
                    yield offset, _DECODER.decode(value)
                except msgspec.MsgspecError:
                    continue

    @property
    def _in_order(self) -> list[Written]:
        return sorted(self._committed, key=lambda written: written.offset)

    def committed(self, transactional_id: str, offset: int) -> bool | None:
        """Whether the transaction whose token stands at `offset` was committed; None while it is open.

        A later token of the same id proves it too: an id is used again only after its transaction was committed.
        """
        for written in self._committed:
            entry = written.entry
            if isinstance(entry, Token) and entry.transactional_id == transactional_id and written.offset >= offset:
                return True
        opened = any(written.offset == offset for found in self._open.values() for written in found)
        return None if opened else False

    def newer_than(self, checkpoint_id: int) -> int | None:
        """The newest checkpoint after this one whose output is visible, and was not accepted by a start; None if there
        is none."""
        visible: set[int] = set()
        for written in self._in_order:
            if isinstance(written.entry, Token):
                visible.add(written.entry.checkpoint)
            else:
                visible = {seen for seen in visible if seen <= written.entry.restored}
        return max((seen for seen in visible if seen > checkpoint_id), default=None)

    def unfenced(self) -> dict[int, int]:
        """The attempts that may still write, with their parallelism: each fences those before it, one from nothing all."""
        living: dict[int, int] = {}
        for written in self._in_order:
            start = written.entry
            if isinstance(start, Start):
                living = {n: p for n, p in living.items() if start.restored and n > start.attempt}
                living[start.attempt] = start.parallelism
        return living


class Ledger:
    """Reads the ledger, and makes its topic.

    Args:
        cluster: an open connection.
        topic: its name.
        prefix: the sink's transactional prefix.
        patience_ms: how long an answer is waited for.
    """

    def __init__(self, cluster: Cluster, topic: str, prefix: str, sleep: Sleep, patience_ms: int) -> None:
        self._cluster = cluster
        self._topic = topic
        self._sleep = sleep
        self._patience_ms = patience_ms
        self._next: int | None = None
        self._history = History(prefix)

    async def ensure(self) -> None:
        """The topic is there when this returns.

        Raises:
            SinkError: it is not, and we may not make it; says how to.
        """
        if await self._cluster.exists(self._topic) and await self._cluster.partitions(self._topic):
            return
        deadline, pause = self._deadline(), 0.05
        while True:
            try:
                code = await self._cluster.create_topic(self._topic, _CONFIG)
            except UnansweredError as error:
                code, reason = wire.NOT_CONTROLLER, str(error)
            else:
                reason = wire.code_name(code)
            if code == 0 and await self._cluster.partitions(self._topic):
                return
            if code in (wire.TOPIC_DENIED, wire.CLUSTER_DENIED):
                raise SinkError(
                    f"topic {self._topic!r}, which keeps the commit tokens of exactly-once sinks, does not exist and may "
                    f"not be created: allow Create to this user, or create it: kafka-topics.sh --create --topic "
                    f"{self._topic} --partitions 1 --replication-factor 3 --config cleanup.policy=compact",
                    retriable=False,
                )
            pause = await self._pause(pause, deadline, f"topic {self._topic!r} could not be created: {reason}")

    async def read(self, through: int = -1) -> History:
        """Read on to the end that there is now, which must lie behind the offset `through`.

        Raises:
            SinkError: it cannot be read, or has lost what stood at `through`.
        """
        deadline, pause = self._deadline(), 0.01
        until: int | None = None
        while True:
            try:
                if until is None:
                    # A new leader answers only when it knows all that was acknowledged, so nothing is overlooked.
                    until = await self._cluster.last_offset(self._topic, PARTITION)
                if self._next is None:
                    self._next = await self._cluster.first_offset(self._topic, PARTITION)
                if until <= through:
                    raise SinkError(
                        f"topic {self._topic!r} ends at offset {until}, but a checkpoint knows of a commit token at "
                        f"{through}: the topic was deleted or emptied, and what was committed cannot be told; restore "
                        "the topic, or start from nothing",
                        retriable=False,
                    )
                if self._next >= until:
                    return self._history
                code, data = await self._cluster.fetch(self._topic, PARTITION, self._next, _FETCH_BYTES)
            except UnansweredError as error:
                reason = str(error)
                await self._cluster.refresh()
            else:
                if code == 0 and self._take(data):
                    continue
                if code == wire.TOPIC_DENIED:
                    raise denied_topic(self._topic)
                if code == wire.OFFSET_OUT_OF_RANGE:
                    raise SinkError(f"topic {self._topic!r} was emptied while it was read: start again")
                reason = wire.code_name(code) if code else "it gives no records"
                if code:
                    await self._cluster.refresh()
            pause = await self._pause(pause, deadline, f"topic {self._topic!r} cannot be read: {reason}")

    async def write(self, entry: Start, now_ms: int) -> None:
        """Append an entry outside any transaction. Once more is no harm: the newest of a key counts.

        Raises:
            SinkError: it cannot be written.
        """
        builder = new_builder(0, False, 1 << 16)
        builder.append(0, now_ms, *encode(entry), [])
        data = builder.build()
        deadline, pause = self._deadline(), 0.01
        while True:
            try:
                code = await self._cluster.append(self._topic, PARTITION, data)
            except UnansweredError as error:
                reason = str(error)
            else:
                if code == 0:
                    return
                if code == wire.TOPIC_DENIED:
                    raise denied_topic(self._topic)
                reason = wire.code_name(code)
                if code not in wire.DELIVER_AGAIN:
                    raise SinkError(f"topic {self._topic!r} cannot be written: {reason}")
            await self._cluster.refresh()
            pause = await self._pause(pause, deadline, f"topic {self._topic!r} cannot be written: {reason}")

    def _take(self, data: bytes) -> bool:
        before = self._next
        assert before is not None
        for following, batch in raw_batches(data, before):
            self._history.add(batch)
            self._next = following
        return self._next != before

    async def _pause(self, pause: float, deadline: float, problem: str) -> float:
        if asyncio.get_running_loop().time() + pause > deadline:
            raise SinkError(f"{problem} (for {format_ms(self._patience_ms)})")
        await self._sleep(pause)
        return min(pause * 2, 0.5)

    def _deadline(self) -> float:
        return asyncio.get_running_loop().time() + self._patience_ms / 1000


def encode(entry: Token | Start) -> tuple[bytes, bytes]:
    """Key and value of an entry."""
    return entry.key, msgspec.json.encode(entry)


def raw_batches(data: bytes, first: int) -> Iterator[tuple[int, Raw]]:
    """The batches in what a fetch gave, from offset `first` on, each with the offset behind it. What is cut off is left."""
    from aiokafka.record.memory_records import MemoryRecords

    records = MemoryRecords(data)
    while records.has_next():
        batch: Any = records.next_batch()
        following = batch.base_offset + batch.last_offset_delta + 1
        if following <= first:
            continue
        producer_id = batch.producer_id if batch.is_transactional else -1
        if batch.is_control_batch:
            _, kind = _CONTROL.unpack_from(next(iter(batch)).key)
            if kind in (0, 1):
                yield following, Raw(producer_id, kind == 1, ())
            continue
        found = tuple((r.offset, r.key or b"", r.value) for r in batch if r.offset >= first)
        yield following, Raw(producer_id, None, found)


def as_raw(entries: Sequence[tuple[int, Token | Start]], producer_id: int = -1) -> Raw:
    """A batch of entries, by offset, as it would be read."""
    return Raw(producer_id, None, tuple((offset, *encode(entry)) for offset, entry in entries))


_CONTROL: Final = struct.Struct(">HH")
_DECODER: Final = msgspec.json.Decoder(Token | Start)
