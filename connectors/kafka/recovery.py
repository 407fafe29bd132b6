"""The second phase, and what comes first in every attempt: committing what was prepared, fencing who wrote before."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Sequence
from typing import Any, Final, TypeVar

import msgspec

from ..sink import Committable, OutputLostError, SinkContext, SinkError
from .client import Sleep
from .cluster import Cluster
from .slots import attempt_of, id_name
from .tokens import History, Ledger, Start
from .transactions import Described, Ended, ProducerId, Transactions

_LOG: Final = logging.getLogger("tidegate.connectors.kafka")

Result = TypeVar("Result")

_AT_ONCE: Final = 32
_NAMES_AT_ONCE: Final = 8


class TokenPlace(msgspec.Struct, frozen=True):
    """Where a commit token stands."""

    topic: str
    offset: int


class Prepared(msgspec.Struct, frozen=True, forbid_unknown_fields=False):
    """A committable of this sink: a transaction that only waits for its commit.

    Attributes:
        tid: the transactional id.
        producer_id, fence: with it, all that any client needs to commit the transaction.
        checkpoint: at whose barrier it was prepared.
        began_ms: when the broker began to count its age, by our clock.
        topics, records: for people.
    """

    tid: str
    producer_id: int
    fence: int
    checkpoint: int
    prefix: str
    timeout_ms: int
    began_ms: int
    topics: list[str]
    records: int
    token: TokenPlace

    @property
    def producer(self) -> ProducerId:
        return ProducerId(self.producer_id, self.fence)

    def as_committable(self) -> Committable:
        """As it stands in the manifest."""
        found: Committable = msgspec.to_builtins(self)
        return found

    @staticmethod
    def of(committable: Committable) -> Prepared:
        """What `as_committable` gave.

        Raises:
            SinkError: another kind of sink made it.
        """
        try:
            return msgspec.convert(committable, Prepared)
        except msgspec.ValidationError as error:
            raise SinkError(f"the checkpoint's output is not of a Kafka sink: {error}", retriable=False) from error


class Recovery:
    """Commits and recovers for one sink, with a connection of its own or a writer's.

    Args:
        cluster: an open connection.
        tokens_topic: the ledger.
        prefix: the sink's transactional prefix.
        timeout_ms: of transactions.
        patience_ms: how long an answer is waited for.
    """

    def __init__(
        self,
        cluster: Cluster,
        transactions: Transactions,
        context: SinkContext,
        *,
        tokens_topic: str,
        prefix: str,
        timeout_ms: int,
        patience_ms: int,
    ) -> None:
        self._cluster = cluster
        self._transactions = transactions
        self._context = context
        self._tokens_topic = tokens_topic
        self._prefix = prefix
        self._timeout_ms = timeout_ms
        self._patience_ms = patience_ms
        self._sleep: Sleep = context.sleep
        self._ledgers: dict[str, Ledger] = {}

    # ------------------------------------------------------------------------ committing

    async def commit(self, committables: Sequence[Committable]) -> None:
        """Commit, whatever was committed already.

        Young transactions are committed straight away. When one may be gone, all are looked at first: what cannot be
        whole is better not begun.

        Raises:
            OutputLostError: one can never be committed.
        """
        prepared = [Prepared.of(committable) for committable in committables]
        now_ms = self._context.now_ms()
        if any(now_ms - it.began_ms > it.timeout_ms / 2 for it in prepared):
            await self._commit_whole(prepared)
            return
        ended = await self._each(prepared)
        unknown = [it for it, end in zip(prepared, ended, strict=True) if end is Ended.UNKNOWN]
        if unknown:
            lost = [it for it in unknown if not await self._was_committed(it)]
            if lost:
                raise _lost(lost, partly=len(lost) < len(prepared))

    async def verify(self, committables: Sequence[Committable]) -> None:
        """Look whether all is committed or can be, and change nothing.

        Raises:
            OutputLostError: one can never be committed.
        """
        await self._still_open([Prepared.of(committable) for committable in committables])

    async def _commit_whole(self, prepared: Sequence[Prepared]) -> None:
        """Commit all or, when one is gone and none is visible, none.

        Raises:
            OutputLostError: one can never be committed.
        """
        open_ = await self._still_open(prepared)
        ended = await self._each(open_)
        gone = [it for it, end in zip(open_, ended, strict=True) if end is Ended.UNKNOWN]
        gone = [it for it in gone if not await self._was_committed(it)]
        if gone:
            raise _lost(gone, partly=len(gone) < len(prepared))

    async def _still_open(self, prepared: Sequence[Prepared]) -> list[Prepared]:
        """Those that wait for their commit; all others are committed.

        Raises:
            OutputLostError: one can never be committed.
        """
        if not prepared:
            return []
        described = await self._transactions.describe([it.tid for it in prepared])
        states = {it.tid: _state(described.get(it.tid), it.producer) for it in prepared}
        open_ = [it for it in prepared if states[it.tid] in ("Ongoing", "PrepareCommit")]
        asked = [it for it in prepared if it not in open_ and states[it.tid] != "CompleteCommit"]
        lost = [it for it in asked if not await self._was_committed(it)]
        if lost:
            untouched = [it for it in open_ if states[it.tid] == "Ongoing"]
            raise _lost(lost, partly=len(lost) + len(untouched) < len(prepared))
        return open_

    async def _each(self, prepared: Sequence[Prepared]) -> list[Ended]:
        limit = asyncio.Semaphore(_AT_ONCE)

        async def end(it: Prepared) -> Ended:
            async with limit:
                return await self._transactions.end(it.tid, it.producer, commit=True)

        if len(prepared) == 1:
            return [await end(prepared[0])]
        return await _all([end(it) for it in prepared])

    async def _was_committed(self, prepared: Prepared) -> bool:
        """What the ledger says, waiting for the end of a transaction that is being ended."""
        loop = asyncio.get_running_loop()
        deadline, pause = loop.time() + self._patience_ms / 1000, 0.01
        ledger = self._ledger(prepared.token.topic)
        while True:
            history = await ledger.read(through=prepared.token.offset)
            found = history.committed(prepared.tid, prepared.token.offset)
            if found is not None:
                return found
            if loop.time() > deadline:
                raise SinkError(
                    f"transaction {prepared.tid} of checkpoint {prepared.checkpoint} is ending, but its mark does not "
                    f"reach topic {prepared.token.topic!r}: is a broker down?"
                )
            await self._sleep(pause)
            pause = min(pause * 2, 0.5)

    def _ledger(self, topic: str) -> Ledger:
        found = self._ledgers.get(topic)
        if found is None:
            found = self._ledgers[topic] = Ledger(self._cluster, topic, self._prefix, self._sleep, self._patience_ms)
        return found

    # ------------------------------------------------------------------------ recovering

    async def recover(self, checkpoint_id: int | None, committables: Sequence[Committable]) -> None:
        """Commit what the checkpoint holds, then fence and abort whatever earlier attempts left.

        The order matters at a crash: commits are idempotent; nobody is fenced before it is certain that we go on; and the
        ledger tells of this start only when all before it are fenced, so the next start fences them again if it must.

        Raises:
            OutputLostError: a committable can never be committed.
            SinkError: newer output is visible and cannot be taken back.
        """
        ledger = self._ledger(self._tokens_topic)
        await ledger.ensure()
        await self._commit_whole([Prepared.of(committable) for committable in committables])
        restored = checkpoint_id or 0
        history = await ledger.read()
        self._refuse_repeats(history, restored)
        await self._fence(history, from_nothing=checkpoint_id is None)
        self._refuse_repeats(await ledger.read(), restored)
        context = self._context
        start = Start(self._prefix, context.attempt, context.parallelism, restored)
        await ledger.write(start, context.now_ms())

    def _refuse_repeats(self, history: History, restored: int) -> None:
        newer = history.newer_than(restored)
        if newer is None or self._context.allow_repeats:
            return
        start = f"checkpoint {restored}" if restored else "nothing"
        raise SinkError(
            f"output of checkpoint {newer} of this job (transactional prefix {self._prefix!r}) is visible in Kafka and cannot "
            f"be taken back: starting from {start} would write it again. Restore checkpoint {newer} or newer; or set "
            "allow_repeats; or begin anew under another job name or transactional_prefix",
            retriable=False,
        )

    async def _fence(self, history: History, *, from_nothing: bool) -> None:
        """Take over every id that an earlier attempt may write with: what it had open is aborted, its writers refused."""
        attempt = self._context.attempt
        unfenced = {n: p for n, p in history.unfenced().items() if from_nothing or n < attempt}
        # A broker that is away just now lists nothing, so the ids that must exist are asked for by name as well.
        names = {
            name
            for earlier, parallelism in unfenced.items()
            for subtask in range(parallelism)
            for name in await self._names_of(earlier, subtask)
        }
        for name, state in (await self._transactions.list()).items():
            earlier_or_none = attempt_of(name, self._prefix)
            if earlier_or_none is None or (state in _HARMLESS and earlier_or_none not in unfenced):
                continue
            if from_nothing or earlier_or_none < attempt:
                names.add(name)
        limit = asyncio.Semaphore(_AT_ONCE)

        async def take_over(name: str) -> None:
            async with limit:
                await self._transactions.take_over(name, self._timeout_ms)

        await _all([take_over(name) for name in sorted(names)])
        if names:
            _LOG.info("%d transactional ids of earlier attempts of %s are fenced", len(names), self._prefix)

    async def _names_of(self, attempt: int, subtask: int) -> set[str]:
        """The ids that a subtask had. It made them in order, but an unused one may have been forgotten since."""
        names: set[str] = set()
        first = 0
        while True:
            asked = [id_name(self._prefix, attempt, subtask, first + i) for i in range(_NAMES_AT_ONCE)]
            found = await self._transactions.describe(asked)
            names |= found.keys()
            if not found:
                return names
            first += _NAMES_AT_ONCE


_HARMLESS: Final = frozenset({"Empty", "CompleteCommit", "CompleteAbort", "Dead"})
"""States of ids with nothing open. Those of attempts that the ledger knows are fenced all the same."""


def _state(described: Described | None, producer: ProducerId) -> str | None:
    """How a transaction stands; None when its id is no longer its own."""
    return described.state if described is not None and described.producer == producer else None


def _lost(lost: Sequence[Prepared], *, partly: bool) -> OutputLostError:
    first = lost[0]
    more = f" and {len(lost) - 1} more" if len(lost) > 1 else ""
    records = sum(it.records for it in lost)
    return OutputLostError(
        f"transaction {first.tid} of checkpoint {first.checkpoint}{more} ({records} records for "
        f"{', '.join(first.topics)}) was aborted by the broker before it could be committed: its transaction_timeout had "
        "passed, or another start of the job took over",
        partly=partly,
    )


async def _all(work: Sequence[Coroutine[Any, Any, Result]]) -> list[Result]:
    """The results of all; the first failure as it is."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(it) for it in work]
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None
    return [task.result() for task in tasks]
