"""Brings record batches to the leaders of their partitions, in order and each once.

A partition has one batch on the way at a time; a request takes one from each partition that its broker leads. What was not
answered, or refused for a reason that passes, is sent again exactly as it was: the broker knows the sequence number and
drops what it has. The first batch that cannot be delivered fails the writer: nothing may be prepared without it.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, Final

from aiokafka.protocol.produce import ProduceRequest

from ...operators.time import format_ms
from ..sink import SinkError
from . import wire
from .batches import FullBatch, largest
from .client import Sleep
from .cluster import Cluster, UnansweredError, denied_id, denied_topic
from .transactions import FencedProducerError, ForgottenIdError, ProducerId, Transactions

_LOG: Final = logging.getLogger("tidegate.connectors.kafka")

_LEADERLESS_PAUSE_S: Final = 0.1
_LONGEST_PAUSE_S: Final = 1.0
# The library copies a request several times. Above this, each copy is memory fresh from the system: a third more CPU time.
_REQUEST_BYTES: Final = 256 << 10
_BROKER_TIMEOUT_MS: Final = 20_000
_SEQUENCES: Final = 1 << 31

Place = tuple[str, int]


class Transmission:
    """What is sent under one producer id and fence: one transaction, or, without transactions, all that a writer sends.

    Attributes:
        transactional_id: None without transactions.
        began: the loop's time at which the broker began to count the transaction's age; None before.
        places: the partitions that belong to the transaction.
        widen: partitions that are made part of it with the first.
    """

    def __init__(
        self, producer: ProducerId, transactional_id: str | None, widen: frozenset[Place] = frozenset()
    ) -> None:
        self.producer = producer
        self.transactional_id = transactional_id
        self.began: float | None = None
        self.places: set[Place] = set()
        self.used: set[Place] = set()
        self.widen = widen
        self.records = 0
        self._sequences: dict[Place, int] = {}

    def next_sequence(self, place: Place, count: int) -> int:
        """The number of the first of the next `count` records to a partition."""
        found = self._sequences.get(place, 0)
        self._sequences[place] = (found + count) % _SEQUENCES
        return found


class Delivery:
    """The way of batches to the brokers.

    Args:
        cluster: an open connection.
        transactions: for partitions that a transaction grows by.
        spawn: runs a coroutine beside the writer; what it raises goes to `fail`.
        timeout_ms: how long a batch is tried.
        most_waiting_bytes: how much may wait before `room` waits.
        renew: gets a new producer id for a transaction that has nothing in it yet, when the broker forgot the old one.
    """

    def __init__(
        self,
        cluster: Cluster,
        transactions: Transactions,
        sleep: Sleep,
        spawn: Callable[[Coroutine[Any, Any, None]], object],
        *,
        timeout_ms: int,
        most_waiting_bytes: int,
        renew: Callable[[Transmission], Coroutine[Any, Any, None]],
    ) -> None:
        self._cluster = cluster
        self._transactions = transactions
        self._sleep = sleep
        self._spawn = spawn
        self._timeout_ms = timeout_ms
        self._most_waiting_bytes = most_waiting_bytes
        self._renew = renew
        self._waiting: dict[Place, deque[FullBatch]] = {}
        self._busy: set[Place] = set()
        self._adding = False
        self._looking = False
        self._changed = asyncio.Event()
        self._stopped = False
        self.waiting_bytes = 0
        self.failure: Exception | None = None
        self.transmission: Transmission | None = None

    def put(self, batch: FullBatch) -> None:
        """Take a batch. It goes out in the present transmission, behind those before it."""
        assert self.transmission is not None
        if self.failure is not None or self._stopped:
            return
        batch.deadline = asyncio.get_running_loop().time() + self._timeout_ms / 1000
        place = (batch.topic, batch.partition)
        self._waiting.setdefault(place, deque()).append(batch)
        self.waiting_bytes += batch.n_bytes
        self.transmission.used.add(place)
        self.transmission.records += batch.count
        self._kick()

    async def room(self) -> None:
        """Wait until little enough is waiting.

        Raises:
            Exception: a batch could not be delivered.
        """
        while self.waiting_bytes > self._most_waiting_bytes and self.failure is None:
            self._changed.clear()
            await self._changed.wait()
        self.check()

    async def flush(self) -> None:
        """Wait until everything has arrived.

        Raises:
            Exception: a batch could not be delivered.
        """
        while (self._waiting or self._adding) and self.failure is None:
            self._changed.clear()
            await self._changed.wait()
        self.check()

    def check(self) -> None:
        """Raise what failed."""
        if self.failure is not None:
            raise self.failure

    def fail(self, error: Exception) -> None:
        """Deliver no more."""
        if self.failure is None:
            self.failure = error
        self._changed.set()

    def stop(self) -> None:
        """Begin nothing new."""
        self._stopped = True

    # ---------------------------------------------------------------------- sending

    def _kick(self) -> None:
        """Send all that can be sent now."""
        transmission = self.transmission
        if transmission is None or self.failure is not None or self._stopped:
            return
        requests: dict[int, list[FullBatch]] = {}
        sizes: dict[int, int] = {}
        new: list[Place] = []
        leaderless = False
        for place, queue in self._waiting.items():
            if place in self._busy:
                continue
            if transmission.transactional_id is not None and place not in transmission.places:
                new.append(place)
                continue
            leader = self._cluster.leader(*place)
            if leader is None:
                leaderless = True
                continue
            batch = queue[0]
            size = sizes.get(leader, 0)
            if size == 0 or size + batch.n_bytes <= _REQUEST_BYTES:
                sizes[leader] = size + batch.n_bytes
                requests.setdefault(leader, []).append(batch)
        if new and not self._adding:
            self._adding = True
            self._spawn(self._add(transmission, new))
        if leaderless and not self._looking:
            self._looking = True
            self._spawn(self._look_for_leaders())
        for leader, batches in requests.items():
            for batch in batches:
                self._busy.add((batch.topic, batch.partition))
            self._spawn(self._send(transmission, leader, batches))

    async def _add(self, transmission: Transmission, places: list[Place]) -> None:
        """Make partitions part of the transaction; the first time, those of the transaction before it too."""
        try:
            assert transmission.transactional_id is not None
            first = transmission.began is None
            if first:
                places = sorted({*places, *transmission.widen})
                transmission.began = asyncio.get_running_loop().time()
            try:
                await self._transactions.add(transmission.transactional_id, transmission.producer, places)
            except ForgottenIdError:
                if not first:
                    raise
                await self._renew(transmission)
                await self._transactions.add(transmission.transactional_id, transmission.producer, places)
            transmission.places.update(places)
        finally:
            self._adding = False
            self._changed.set()
        self._kick()

    async def _look_for_leaders(self) -> None:
        try:
            await self._cluster.refresh()
            await self._sleep(_LEADERLESS_PAUSE_S)
        finally:
            self._looking = False
        now = asyncio.get_running_loop().time()
        for place, queue in self._waiting.items():
            if place not in self._busy and self._cluster.leader(*place) is None and queue[0].deadline < now:
                self.fail(self._given_up(queue[0], "it has no leader"))
        self._kick()

    async def _send(self, transmission: Transmission, leader: int, batches: list[FullBatch]) -> None:
        topics: dict[str, list[tuple[int, bytearray]]] = {}
        for batch in batches:
            if batch.data is None:
                sequence = transmission.next_sequence((batch.topic, batch.partition), batch.count)
                batch.seal(transmission.producer, sequence)
            assert batch.data is not None
            topics.setdefault(batch.topic, []).append((batch.partition, batch.data))
        request = ProduceRequest(transmission.transactional_id, -1, _BROKER_TIMEOUT_MS, list(topics.items()))
        again: list[FullBatch] = []
        try:
            answer = await self._cluster.ask(leader, request)
        except UnansweredError as error:
            again, reason = batches, str(error)
        else:
            codes = {(t, p): (code, offset) for t, found in answer.topics for p, code, offset, *_ in found}
            reason = ""
            for batch in batches:
                code, offset = codes[batch.topic, batch.partition]
                if code in (0, wire.DUPLICATE_SEQUENCE):
                    self._arrived(batch, offset)
                elif code in wire.DELIVER_AGAIN:
                    again.append(batch)
                    reason = wire.code_name(code)
                else:
                    raise self._refused(transmission, batch, code)
        if again:
            await self._later(again, reason)
        self._changed.set()
        self._kick()

    def _arrived(self, batch: FullBatch, offset: int) -> None:
        batch.offset = offset
        place = (batch.topic, batch.partition)
        queue = self._waiting[place]
        queue.popleft()
        if not queue:
            del self._waiting[place]
        self.waiting_bytes -= batch.n_bytes
        self._busy.discard(place)

    async def _later(self, batches: list[FullBatch], reason: str) -> None:
        """Wait before these are sent again, to whoever leads their partitions then."""
        now = asyncio.get_running_loop().time()
        for batch in batches:
            if batch.deadline < now:
                raise self._given_up(batch, reason)
        pause = min(batch.retry_pause for batch in batches)
        for batch in batches:
            batch.retry_pause = min(batch.retry_pause * 2, _LONGEST_PAUSE_S)
        _LOG.info("%d batches are sent again, the first to %s: %s", len(batches), batches[0].topic, reason)
        await self._cluster.refresh()
        await self._sleep(pause)
        for batch in batches:
            self._busy.discard((batch.topic, batch.partition))

    # ----------------------------------------------------------------------- refusals

    def _given_up(self, batch: FullBatch, reason: str) -> SinkError:
        return SinkError(
            f"topic {batch.topic!r}, partition {batch.partition}: {batch.count} records could not be delivered within "
            f"delivery_timeout={format_ms(self._timeout_ms)}: {reason}"
        )

    def _refused(self, transmission: Transmission, batch: FullBatch, code: int) -> Exception:
        """What a refusal for good means."""
        where = f"topic {batch.topic!r}, partition {batch.partition}"
        if code in wire.TOO_LARGE:
            return _too_large(batch, where)
        if code in wire.ENDED:
            return FencedProducerError(transmission.transactional_id)
        if code == wire.TOPIC_DENIED:
            return denied_topic(batch.topic)
        if code == wire.TRANSACTIONAL_ID_DENIED:
            return denied_id(str(transmission.transactional_id))
        if code == wire.INVALID_TIMESTAMP:
            return SinkError(
                f"{where}: a record's timestamp is further from now than message.timestamp.before.max.ms or "
                "message.timestamp.after.max.ms of the topic allow",
                retriable=False,
            )
        if code == wire.INVALID_RECORD:
            return SinkError(
                f"{where}: the broker refuses a record: a compacted topic takes only records with a key: set key=",
                retriable=False,
            )
        return SinkError(f"{where}: the broker refuses {batch.count} records: {wire.code_name(code)}")


def _too_large(batch: FullBatch, where: str) -> SinkError:
    assert batch.data is not None
    key, size, count = largest(batch.data)
    if count > 1:
        return SinkError(
            f"{where}: a batch of {count} records, {len(batch.data)} bytes, is larger than max.message.bytes of the "
            "topic allows: set the sink's batch_bytes below it",
            retriable=False,
        )
    return SinkError(
        f"{where}: the record with key {key!r} has {size} bytes, more than max.message.bytes of the topic (or "
        "message.max.bytes of the brokers) allows: raise it, or write less",
        retriable=False,
    )
