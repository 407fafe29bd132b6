"""The sink's writers: at least once with an idempotent producer, exactly once with transactions."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

from ...operators.batch import Batch
from ...operators.time import format_ms
from ..sink import Committable, SinkContext, SinkError, SinkFencedError
from .batches import Batches, FullBatch, new_builder
from .cluster import Cluster, missing_topic
from .delivery import Delivery, Transmission
from .partitioner import KeyedPartitions
from .recovery import Prepared, TokenPlace
from .rows import RowMaker
from .settings import WriterSettings
from .slots import Slot, Slots
from .tokens import PARTITION, Ledger, Token, encode
from .transactions import FencedProducerError, ForgottenIdError, Transactions

_LOG: Final = logging.getLogger("tidegate.connectors.kafka")

_CLOSING_S: Final = 2.0

Started = TypeVar("Started")


class KafkaWriter:
    """What both guarantees share: rows, batches, delivery, linger. At least once as it stands."""

    def __init__(self, settings: WriterSettings, context: SinkContext) -> None:
        self._settings = settings
        self._context = context
        self.cluster = Cluster(settings.connection, context.sleep)
        self.transactions = Transactions(self.cluster, context.sleep, settings.delivery_timeout_ms)
        self._rows = RowMaker(
            settings.topic,
            settings.format,
            settings.key,
            settings.topic_of,
            settings.headers,
            settings.timestamp,
            context.blocking,
            only_topic=settings.only_topic,
        )
        self._delivery = Delivery(
            self.cluster,
            self.transactions,
            context.sleep,
            self._spawn,
            timeout_ms=settings.delivery_timeout_ms,
            most_waiting_bytes=settings.buffer_bytes,
            renew=self._renew,
        )
        self._batches = Batches(
            settings.batch_bytes,
            settings.compression,
            settings.exactly_once,
            KeyedPartitions(settings.partitioner),
            context.subtask,
            self._full,
        )
        self._group: asyncio.TaskGroup | None = None
        self._tasks: set[asyncio.Task[Any]] = set()
        self._linger: asyncio.TimerHandle | None = None
        self._bytes = 0

    async def open(self) -> None:
        self._group = await asyncio.TaskGroup().__aenter__()
        await self.cluster.open()
        if self._settings.topic is not None:
            await self._partitions_of(self._settings.topic)
            await self._rows.prepare(self._settings.topic)
        await self._begin()

    async def _begin(self) -> None:
        self._delivery.transmission = Transmission(await self.transactions.anonymous(), None)

    async def _partitions_of(self, topic: str) -> int:
        count = self.cluster.known_partitions(topic) or await self.cluster.partitions(topic)
        if count is None:
            raise missing_topic(topic)
        return count

    # ----------------------------------------------------------------------- writing

    async def write(self, batch: Batch[Any]) -> None:
        self._check()
        for rows in await self._rows.make(batch):
            count = await self._partitions_of(rows.topic)
            await self._ready_to_send()
            try:
                self._batches.add(rows, count, self._context.now_ms())
            except (ValueError, TypeError, OverflowError) as error:
                raise SinkError(
                    f"topic {rows.topic!r}: a record cannot be written: {error}", retriable=False
                ) from error
        if self._linger is None and not self._batches.empty:
            if self._settings.linger_ms:
                loop = asyncio.get_running_loop()
                self._linger = loop.call_later(self._settings.linger_ms / 1000, self._lingered)
            else:
                self._batches.finish()
        await self._checked(self._delivery.room())

    async def _ready_to_send(self) -> None:
        """What is written from now on can be sent."""

    def _full(self, batch: FullBatch) -> None:
        self._bytes += batch.n_bytes
        self._delivery.put(batch)

    def _lingered(self) -> None:
        self._linger = None
        self._batches.finish()

    async def _send_all(self) -> None:
        """Everything written so far has arrived when this returns."""
        if self._linger is not None:
            self._linger.cancel()
            self._linger = None
        self._batches.finish()
        await self._checked(self._delivery.flush())
        self._context.count("bytes", self._bytes)
        self._bytes = 0

    async def prepare_commit(self, checkpoint_id: int) -> list[Committable]:
        await self._send_all()
        return []

    # ------------------------------------------------------------------------ failing

    def _check(self) -> None:
        try:
            self._delivery.check()
        except (FencedProducerError, ForgottenIdError) as error:
            raise self._fenced() from error

    async def _checked(self, waiting: Coroutine[Any, Any, None]) -> None:
        try:
            await waiting
        except (FencedProducerError, ForgottenIdError) as error:
            raise self._fenced() from error

    def _fenced(self) -> SinkError:
        return SinkError("the broker no longer takes records of this producer: it has forgotten it")

    async def _renew(self, transmission: Transmission) -> None:
        raise SinkError("the broker has forgotten this producer")

    # ------------------------------------------------------------------------- tasks

    def _spawn(self, coroutine: Coroutine[Any, Any, Started]) -> asyncio.Task[Started | None]:
        """Run beside the writer. What fails there fails the writer at its next call, not the group."""

        async def guarded() -> Started | None:
            try:
                return await coroutine
            except Exception as error:
                self._delivery.fail(error)
                return None

        assert self._group is not None
        task = self._group.create_task(guarded())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda _: coroutine.close())  # it may have been cancelled before it began
        return task

    async def close(self) -> None:
        if self._linger is not None:
            self._linger.cancel()
            self._linger = None
        self._delivery.stop()
        group, self._group = self._group, None
        try:
            if self.cluster.usable and group is not None:
                await self._leave()
        finally:
            for task in list(self._tasks):
                task.cancel()
            try:
                if group is not None:
                    await group.__aexit__(None, None, None)
            finally:  # also when it is cancelled here
                await self.cluster.close()

    async def _leave(self) -> None:
        """A last word to the broker."""


class TransactionalWriter(KafkaWriter):
    """Exactly once: what is written between two barriers is one transaction, prepared at the second."""

    def __init__(self, settings: WriterSettings, context: SinkContext) -> None:
        super().__init__(settings, context)
        self._prefix = settings.prefix(context)
        self._ledger = Ledger(
            self.cluster,
            settings.tokens_topic,
            self._prefix,
            context.sleep,
            settings.connection.connect_timeout_ms,
        )
        self._slots = Slots(self._prefix, context.attempt, context.subtask)
        self._token_place = frozenset({(settings.tokens_topic, PARTITION)})
        self._active: Slot | None = None
        self._spare: asyncio.Task[Slot | None] | None = None
        self._alarms: dict[str, asyncio.TimerHandle] = {}

    async def _begin(self) -> None:
        await self._ledger.ensure()
        self._open_transmission(await self._new_slot(), frozenset())
        self._make_spare()

    # ------------------------------------------------------------------------- slots

    def _open_transmission(self, slot: Slot, used: frozenset[tuple[str, int]]) -> None:
        self._active = slot
        widen = self._token_place | used
        self._delivery.transmission = Transmission(slot.producer, slot.transactional_id, widen)

    def _make_spare(self) -> None:
        """Have the next id ready before it is needed, so that a barrier waits for nothing but its own records."""
        self._spare = self._spawn(self._next_slot())

    async def _next_slot(self) -> Slot:
        if self._slots.prepared:
            await self._look_at_prepared()
        slot = self._slots.reuse()
        if slot is None:
            return await self._new_slot()
        timeout_ms = self._settings.transaction_timeout_ms
        try:
            producer = await self.transactions.renew(slot.transactional_id, timeout_ms, slot.producer)
        except ForgottenIdError:
            producer = await self.transactions.take_over(slot.transactional_id, timeout_ms)
        return Slot(slot.number, slot.transactional_id, producer)

    async def _new_slot(self) -> Slot:
        number, name = self._slots.new()
        return Slot(number, name, await self.transactions.take_over(name, self._settings.transaction_timeout_ms))

    async def _look_at_prepared(self) -> None:
        asked = list(self._slots.prepared)
        described = await self.transactions.describe([slot.transactional_id for slot in asked])
        for slot in self._slots.settle(described, asked):
            _LOG.warning("the prepared transaction %s of checkpoint %s is gone", slot.transactional_id, slot.checkpoint)
        waiting = {slot.transactional_id for slot in self._slots.prepared}
        for name in [name for name in self._alarms if name not in waiting]:
            self._alarms.pop(name).cancel()

    async def _renew(self, transmission: Transmission) -> None:
        """The broker forgot an id that lay unused for long; there is nothing in it yet, so it may simply be had anew."""
        assert transmission.transactional_id is not None
        assert self._active is not None
        producer = await self.transactions.take_over(
            transmission.transactional_id, self._settings.transaction_timeout_ms
        )
        transmission.producer = producer
        self._active = Slot(self._active.number, self._active.transactional_id, producer)

    # ----------------------------------------------------------------------- the barrier

    async def _ready_to_send(self) -> None:
        if self._active is None:
            assert self._spare is not None
            transmission = self._delivery.transmission
            assert transmission is not None
            await asyncio.wait([self._spare])
            self._check()
            slot = self._spare.result()
            assert slot is not None
            self._open_transmission(slot, frozenset(transmission.used))
            self._make_spare()

    async def prepare_commit(self, checkpoint_id: int) -> list[Committable]:
        self._check()
        transmission, slot = self._delivery.transmission, self._active
        if slot is None or (self._batches.empty and not _has_begun(transmission)):
            return []
        assert transmission is not None
        self._batches.finish()
        token = self._token(slot, checkpoint_id)
        self._delivery.put(token)
        await self._send_all()
        slot = self._active  # it may have been had anew, with its first partition
        assert slot is not None
        assert transmission.began is not None
        if token.offset < 0:
            raise SinkError(f"topic {token.topic!r}: the broker does not say where the commit token stands")
        prepared = Prepared(
            tid=slot.transactional_id,
            producer_id=transmission.producer.id,
            fence=transmission.producer.fence,
            checkpoint=checkpoint_id,
            prefix=self._prefix,
            timeout_ms=self._settings.transaction_timeout_ms,
            began_ms=self._began_ms(transmission),
            topics=sorted({topic for topic, _ in transmission.used} - {self._settings.tokens_topic}),
            records=transmission.records - 1,
            token=TokenPlace(self._settings.tokens_topic, token.offset),
        )
        # From here on the transaction is the checkpoint's: nothing waits between this and the return.
        self._alarm(self._slots.prepare(slot, checkpoint_id, transmission.began))
        self._active = None
        return [prepared.as_committable()]

    def _token(self, slot: Slot, checkpoint_id: int) -> FullBatch:
        context = self._context
        token = Token(
            self._prefix,
            slot.transactional_id,
            slot.producer.id,
            slot.producer.fence,
            checkpoint_id,
            context.attempt,
            context.subtask,
        )
        builder = new_builder(0, True, 1 << 16)
        builder.append(0, context.now_ms(), *encode(token), [])
        return FullBatch(self._settings.tokens_topic, PARTITION, builder, 1)

    def _began_ms(self, transmission: Transmission) -> int:
        assert transmission.began is not None
        age_s = asyncio.get_running_loop().time() - transmission.began
        return self._context.now_ms() - int(age_s * 1000)

    # ------------------------------------------------------------------------- alarms

    def _alarm(self, slot: Slot) -> None:
        loop = asyncio.get_running_loop()
        when = slot.began + self._settings.transaction_timeout_ms / 2000
        self._alarms[slot.transactional_id] = loop.call_at(when, lambda: self._spawn(self._warn(slot)))

    async def _warn(self, slot: Slot) -> None:
        """A prepared transaction is getting old: say so, if it is not committed and merely nobody looked."""
        try:
            await self._look_at_prepared()
        except SinkError as error:
            _LOG.warning("prepared transactions cannot be looked at: %s", error)
        if slot in self._slots.prepared:
            timeout = format_ms(self._settings.transaction_timeout_ms)
            _LOG.warning(
                "transaction %s, prepared at checkpoint %s, is older than half of transaction_timeout=%s and not "
                "committed: the broker will abort it. Why do checkpoints not complete?",
                slot.transactional_id,
                slot.checkpoint,
                timeout,
            )
            self._context.count("old_transactions")

    # ------------------------------------------------------------------------ failing

    def _fenced(self) -> SinkError:
        transmission = self._delivery.transmission
        timeout_ms = self._settings.transaction_timeout_ms
        if transmission is not None and transmission.began is not None:
            age_s = asyncio.get_running_loop().time() - transmission.began
            if age_s * 1000 >= timeout_ms:
                return SinkError(
                    f"transaction {transmission.transactional_id} is older than transaction_timeout="
                    f"{format_ms(timeout_ms)}: the broker has aborted it. Raise the timeout, or take checkpoints more often"
                )
        return SinkFencedError(
            f"another copy of job {self._context.job!r} has taken over: the transactional ids of prefix {self._prefix!r} "
            f"are no longer ours (attempt {self._context.attempt}). Run one copy, or give each its own transactional_prefix"
        )

    async def close(self) -> None:
        for alarm in self._alarms.values():
            alarm.cancel()
        self._alarms.clear()
        await super().close()

    async def _leave(self) -> None:
        """Abort what is open and not prepared, so that readers need not wait for its timeout.

        Renewing the id aborts too, and with a higher fence: a request that is still on its way cannot write behind the abort.
        """
        transmission, slot = self._delivery.transmission, self._active
        if slot is None or not _has_begun(transmission):
            return
        for task in list(self._tasks):
            task.cancel()
        timeout_ms = self._settings.transaction_timeout_ms
        try:
            async with asyncio.timeout(_CLOSING_S):
                await self.transactions.renew(slot.transactional_id, timeout_ms, slot.producer)
        except (SinkError, FencedProducerError, ForgottenIdError, TimeoutError) as error:
            _LOG.info("transaction %s is left to the next attempt: %s", slot.transactional_id, error)


def _has_begun(transmission: Transmission | None) -> bool:
    """Whether anything was, or is about to be, sent in it."""
    return transmission is not None and (transmission.records > 0 or transmission.began is not None)
