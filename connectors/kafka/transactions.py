"""Kafka's transactions without a producer: any client that knows (id, producer id, fence) may end one.

What the coordinator answers to a commit, tried against brokers in the tests:

| The transaction is               | Answer                     | Here                                   |
|----------------------------------|----------------------------|----------------------------------------|
| open, ours                       | NONE                       | asked again until it is complete       |
| being committed                  | CONCURRENT_TRANSACTIONS    | asked again                            |
| committed, ours                  | NONE                       | `Ended.DONE`: once more is no harm     |
| aborted, or was never begun      | INVALID_TXN_STATE          | `Ended.UNKNOWN`: the token decides     |
| fenced: taken over, or timed out | PRODUCER_FENCED            | `Ended.UNKNOWN`                        |
| forgotten (a week unused)        | INVALID_PRODUCER_ID_MAPPING| `Ended.UNKNOWN`                        |
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

from ...operators.time import format_ms
from ..sink import SinkError
from . import wire
from .client import Sleep
from .cluster import Cluster, UnansweredError, denied_id

_FIRST_PAUSE_S: Final = 0.002
_LONGEST_PAUSE_S: Final = 0.5
_COMPLETION_S: Final = 5.0
_NEW_TOPIC_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class ProducerId:
    """Who writes: every record batch carries it.

    Attributes:
        id: given by the broker.
        fence: Kafka's producer epoch; a takeover raises it, and lower ones are refused.
    """

    id: int
    fence: int


@dataclass(frozen=True, slots=True)
class Described:
    """How a transactional id stands with its coordinator.

    Attributes:
        state: `Empty`, `Ongoing`, `PrepareCommit`, `CompleteCommit`, `PrepareAbort`, `CompleteAbort`…
        producer: whose it is now.
    """

    state: str
    producer: ProducerId


class Ended(Enum):
    """What became of a transaction that was to be ended."""

    DONE = "done"
    UNKNOWN = "unknown"
    """It is not open and not known to have ended so."""


class FencedProducerError(Exception):
    """Somebody has taken the transactional id over, or the broker has ended its transaction."""


class ForgottenIdError(Exception):
    """The broker has forgotten the transactional id: nobody used it for a week, or whatever it is set to."""


class Transactions:
    """Asks coordinators, and asks again while that may help.

    Args:
        cluster: an open connection.
        sleep: waits by the engine's clock.
        patience_ms: how long an answer is waited for.
    """

    def __init__(self, cluster: Cluster, sleep: Sleep, patience_ms: int) -> None:
        self._cluster = cluster
        self._sleep = sleep
        self._patience_ms = patience_ms

    async def take_over(self, transactional_id: str, timeout_ms: int) -> ProducerId:
        """Make an id ours, whoever had it: what was open under it is aborted, and its holder refused from now on.

        Raises:
            SinkError: the id is denied, the timeout is more than the broker allows, or no answer came in time.
        """
        return await self._init(transactional_id, timeout_ms, ProducerId(-1, -1))

    async def renew(self, transactional_id: str, timeout_ms: int, producer: ProducerId) -> ProducerId:
        """Raise the fence of an id that is ours, so that no two transactions have the same one.

        Raises:
            FencedProducerError: it is no longer ours.
            ForgottenIdError: nobody knows it any more.
            SinkError: no answer came in time.
        """
        return await self._init(transactional_id, timeout_ms, producer)

    async def _init(self, transactional_id: str, timeout_ms: int, producer: ProducerId) -> ProducerId:
        request = wire.init_producer_id(transactional_id, timeout_ms, producer.id, producer.fence)
        answer, repeated = await self._asked(transactional_id, request)
        code = answer.error_code
        if code in wire.FENCED:
            if repeated and (renewed := await self._renewed_before(transactional_id, producer)) is not None:
                return renewed
            raise FencedProducerError(transactional_id)
        if code == wire.UNKNOWN_MAPPING:
            raise ForgottenIdError(transactional_id)
        if code == wire.INVALID_TIMEOUT:
            raise SinkError(
                f"transaction_timeout={format_ms(timeout_ms)} is more than the brokers allow: lower it, or raise their "
                "transaction.max.timeout.ms",
                retriable=False,
            )
        self._check(transactional_id, code, "could not be initialised")
        return ProducerId(answer.producer_id, answer.producer_epoch)

    async def _renewed_before(self, transactional_id: str, producer: ProducerId) -> ProducerId | None:
        """A renewal of which the answer was lost may have been made: asked again, the coordinator gives the same answer, but
        one that has taken over since only knows that the fence is higher. The id with just the next fence and nothing in it
        is what our renewal made. Should it be a takeover all the same, it has fenced the transaction being written too."""
        found = (await self.describe([transactional_id])).get(transactional_id)
        renewed = ProducerId(producer.id, producer.fence + 1)
        return renewed if found is not None and found.producer == renewed and found.state == "Empty" else None

    async def anonymous(self) -> ProducerId:
        """An id for a producer without transactions, whose repeated sends are recognised.

        Raises:
            SinkError: writing is denied, or no answer came in time.
        """
        deadline = self._deadline()
        pause = _FIRST_PAUSE_S
        while True:
            reason = "no broker is known"
            for broker in self._cluster.brokers:
                try:
                    answer = await self._cluster.ask(broker, wire.init_producer_id(None, 0x7FFFFFFF, -1, -1))
                except UnansweredError as error:
                    reason = str(error)
                    continue
                if answer.error_code == 0:
                    return ProducerId(answer.producer_id, answer.producer_epoch)
                reason = wire.code_name(answer.error_code)
                if answer.error_code == wire.CLUSTER_DENIED:
                    raise SinkError(
                        "idempotent writing is denied: allow IdempotentWrite on the cluster, or Write on the topics",
                        retriable=False,
                    )
            pause = await self._pause(pause, deadline, f"no producer id: {reason}")

    async def add(self, transactional_id: str, producer: ProducerId, partitions: Sequence[tuple[str, int]]) -> None:
        """Make partitions part of the open transaction, beginning it if it is not: before any record goes to them.

        Raises:
            FencedProducerError, ForgottenIdError: the id is no longer ours.
            SinkError: a topic is denied or gone, or no answer came in time.
        """
        topics: dict[str, list[int]] = {}
        for topic, partition in partitions:
            topics.setdefault(topic, []).append(partition)
        request = wire.add_partitions(transactional_id, producer.id, producer.fence, list(topics.items()))
        loop = asyncio.get_running_loop()
        known_by, pause = loop.time() + _NEW_TOPIC_S, _FIRST_PAUSE_S
        while True:
            answer = await self._ask(transactional_id, request)
            codes = {(t, p): code for t, partitions_codes in answer.errors for p, code in partitions_codes if code}
            # A broker learns of a new topic a little later than the one that we asked for it.
            if wire.UNKNOWN_TOPIC not in codes.values() or loop.time() > known_by:
                break
            await self._sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE_S)
        # One partition's error makes the broker leave the others alone too.
        for (topic, _), code in codes.items():
            if code == wire.TOPIC_DENIED:
                raise SinkError(f"topic {topic!r} is denied: allow Write on it to this user", retriable=False)
            if code == wire.UNKNOWN_TOPIC:
                raise SinkError(f"topic {topic!r} does not exist any more")
        for code in codes.values():
            if code in wire.FENCED:
                raise FencedProducerError(transactional_id)
            if code == wire.UNKNOWN_MAPPING:
                raise ForgottenIdError(transactional_id)
            if code != wire.OPERATION_NOT_ATTEMPTED:
                self._check(transactional_id, code, "could not begin a transaction")

    async def end(self, transactional_id: str, producer: ProducerId, *, commit: bool) -> Ended:
        """Commit or abort, and wait a little until readers see it. May be repeated, by anybody.

        Raises:
            SinkError: the id is denied, or no answer came in time: whether it has ended is not known.
        """
        request = wire.end_transaction(transactional_id, producer.id, producer.fence, commit)
        answer = await self._ask(transactional_id, request)
        if answer.error_code in wire.ENDED:
            return Ended.UNKNOWN
        self._check(transactional_id, answer.error_code, "could not be ended")
        # Decided; the markers that show it to readers are written behind the answer. A partition without a leader holds
        # them up, and need not hold up the job.
        loop = asyncio.get_running_loop()
        seen_by, pause = loop.time() + _COMPLETION_S, _FIRST_PAUSE_S
        while loop.time() < seen_by:
            try:
                again = await self._cluster.ask(
                    await self._cluster.coordinator(transactional_id), request, coordination=True
                )
            except UnansweredError:
                break
            if again.error_code != wire.CONCURRENT_TRANSACTIONS:
                break
            await self._sleep(pause)
            pause = min(pause * 2, 0.05)
        return Ended.DONE

    async def describe(self, transactional_ids: Sequence[str]) -> dict[str, Described]:
        """How ids stand; those that no broker knows are left out.

        Raises:
            SinkError: an id is denied, or no answer came in time.
        """
        deadline, pause = self._deadline(), _FIRST_PAUSE_S
        found: dict[str, Described] = {}
        waiting = list(transactional_ids)
        while True:
            waiting, reason = await self._describe(waiting, found)
            if not waiting:
                return found
            pause = await self._pause(pause, deadline, f"{waiting[0]} cannot be described: {reason}")

    async def _describe(self, transactional_ids: list[str], found: dict[str, Described]) -> tuple[list[str], str]:
        """Ask once; the ids to ask again for, and why."""
        again: list[str] = []
        reason = ""
        by_coordinator: dict[int, list[str]] = {}
        for transactional_id in transactional_ids:
            try:
                by_coordinator.setdefault(await self._cluster.coordinator(transactional_id), []).append(
                    transactional_id
                )
            except UnansweredError as error:
                again.append(transactional_id)
                reason = str(error)
        for broker, ids in by_coordinator.items():
            try:
                answer = await self._cluster.ask(broker, wire.describe_transactions(ids), coordination=True)
            except UnansweredError as error:
                for transactional_id in ids:
                    self._cluster.forget_coordinator(transactional_id)
                again += ids
                reason = str(error)
                continue
            for code, transactional_id, state, _, _, producer_id, fence, *_ in answer.states:
                if code == wire.ID_NOT_FOUND:
                    continue
                if code in wire.ASK_ANOTHER or code in wire.ASK_AGAIN:
                    self._cluster.forget_coordinator(transactional_id)
                    again.append(transactional_id)
                    reason = wire.code_name(code)
                    continue
                self._check(transactional_id, code, "cannot be described")
                found[transactional_id] = Described(state, ProducerId(producer_id, fence))
        return again, reason

    async def list(self) -> Mapping[str, str]:
        """Every transactional id that we may see, with its state, from all brokers that answer."""
        found: dict[str, str] = {}
        for broker in self._cluster.brokers:
            try:
                answer = await self._cluster.ask(broker, wire.list_transactions())
            except UnansweredError:
                continue
            if answer.error_code == 0:
                found |= {transactional_id: state for transactional_id, _, state, _ in answer.transactions}
        return found

    # ----------------------------------------------------------------------- asking

    async def _ask(self, transactional_id: str, request: Any) -> Any:
        """Ask the coordinator of an id until it gives an answer that is not 'later' or 'not here'."""
        answer, _ = await self._asked(transactional_id, request)
        return answer

    async def _asked(self, transactional_id: str, request: Any) -> tuple[Any, bool]:
        """As `_ask`; also whether it was asked more than once, so that an earlier time may have had its effect."""
        deadline, pause, repeated = self._deadline(), _FIRST_PAUSE_S, False
        while True:
            try:
                broker = await self._cluster.coordinator(transactional_id)
                answer = await self._cluster.ask(broker, request, coordination=True)
            except UnansweredError as error:
                self._cluster.forget_coordinator(transactional_id)
                reason = str(error)
                pause = max(pause, 0.05)
            else:
                codes = _codes(answer)
                if not codes & (wire.ASK_ANOTHER | wire.ASK_AGAIN):
                    return answer, repeated
                if codes & wire.ASK_ANOTHER:
                    self._cluster.forget_coordinator(transactional_id)
                reason = ", ".join(wire.code_name(code) for code in codes)
            repeated = True
            pause = await self._pause(pause, deadline, f"transactional id {transactional_id!r}: {reason}")

    async def _pause(self, pause: float, deadline: float, problem: str) -> float:
        if asyncio.get_running_loop().time() + pause > deadline:
            raise SinkError(f"Kafka at {self._cluster.servers}: {problem} (for {format_ms(self._patience_ms)})")
        await self._sleep(pause)
        return min(pause * 2, _LONGEST_PAUSE_S)

    def _deadline(self) -> float:
        return asyncio.get_running_loop().time() + self._patience_ms / 1000

    def _check(self, transactional_id: str, code: int, what: str) -> None:
        if code == wire.TRANSACTIONAL_ID_DENIED:
            raise denied_id(transactional_id)
        if code:
            raise SinkError(f"transactional id {transactional_id!r} {what}: {wire.code_name(code)}")


def _codes(answer: Any) -> set[int]:
    if hasattr(answer, "error_code"):
        return {answer.error_code}
    return {code for _, partitions in answer.errors for _, code in partitions}
