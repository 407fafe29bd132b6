"""A connection to a Kafka cluster as the sink needs it: aiokafka's client, with its own way of waiting and failing."""

from __future__ import annotations

import asyncio
import logging
from typing import Any, Final

from aiokafka import errors
from aiokafka.client import ConnectionGroup, CoordinationType
from aiokafka.protocol.admin import CreateTopicsRequest
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.protocol.metadata import MetadataRequest
from aiokafka.protocol.offset import OffsetRequest
from aiokafka.protocol.produce import ProduceRequest
from aiokafka.structs import TopicPartition

from ..sink import SinkError
from . import wire
from .client import UNANSWERED, Sleep, connect
from .connection import Connection

_LOG: Final = logging.getLogger("tidegate.connectors.kafka")

_REQUEST_TIMEOUT_MS: Final = 30_000
_TOPIC_TRIES: Final = 6


class UnansweredError(Exception):
    """A broker did not answer. Whether it did what it was asked is not known; asking again, elsewhere perhaps, may help."""


class Cluster:
    """One client of a cluster. Opened once, closed once, used by one event loop.

    Args:
        connection: where to, and who we are.
        sleep: waits by the engine's clock.
    """

    def __init__(self, connection: Connection, sleep: Sleep) -> None:
        self._connection = connection
        self._sleep = sleep
        self._client: Any = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._coordinators: dict[str, int] = {}

    @property
    def servers(self) -> str:
        return str(self._connection.servers)

    @property
    def usable(self) -> bool:
        """Whether it is open, on the loop that runs now."""
        return self._client is not None and self._loop is asyncio.get_running_loop()

    @property
    def _open_client(self) -> Any:
        """The client. Whoever borrows a connection may find it closed behind any wait.

        Raises:
            SinkError: it is closed.
        """
        if self._client is None:
            raise SinkError("the connection to Kafka is closed")
        return self._client

    @property
    def brokers(self) -> list[int]:
        """The ids of the brokers that are known."""
        return [broker.nodeId for broker in self._open_client.cluster.brokers()]

    async def open(self) -> None:
        """Connect, waiting for a cluster that is away.

        Raises:
            SinkError: it cannot be reached within the connection's `connect_timeout`, or does not take us.
        """
        self._client = await connect(self._connection, self._sleep, SinkError, _REQUEST_TIMEOUT_MS)
        self._loop = asyncio.get_running_loop()

    async def close(self) -> None:
        """Give back the connections. Does nothing the second time."""
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    # ------------------------------------------------------------------- requests

    async def ask(self, broker: int, request: Any, *, coordination: bool = False) -> Any:
        """Send a request to a broker and wait for its answer.

        Raises:
            UnansweredError: no answer came.
            SinkError: the broker is too old for the request.
        """
        client = self._open_client
        group = ConnectionGroup.COORDINATION if coordination else ConnectionGroup.DEFAULT
        try:
            return await client.send(broker, request, group=group)
        except errors.IncompatibleBrokerVersion as error:
            raise self._too_old(error) from error
        except UNANSWERED as error:
            raise UnansweredError(f"broker {broker}: {error or type(error).__name__}") from error
        except RuntimeError as error:  # the library's word for a broker that knows no version of the request
            raise self._too_old(error) from error

    def _too_old(self, error: Exception) -> SinkError:
        return SinkError(
            f"Kafka at {self.servers} is too old for this sink ({error}): it needs Kafka 3.0 or newer", retriable=False
        )

    async def coordinator(self, transactional_id: str) -> int:
        """The broker that keeps a transactional id.

        Raises:
            UnansweredError: there is none now.
            SinkError: the id may not be used.
        """
        found = self._coordinators.get(transactional_id)
        if found is None:
            try:
                found = await self._open_client.coordinator_lookup(CoordinationType.TRANSACTION, transactional_id)
            except (TimeoutError, errors.KafkaError, OSError) as error:
                if getattr(error, "errno", None) == wire.TRANSACTIONAL_ID_DENIED:
                    raise denied_id(transactional_id) from error
                raise UnansweredError(
                    f"no coordinator for {transactional_id}: {error or type(error).__name__}"
                ) from error
            if self._open_client.cluster.broker_metadata(found) is None:
                await self.refresh()
            self._coordinators[transactional_id] = found
        return found

    def forget_coordinator(self, transactional_id: str) -> None:
        """It may have moved."""
        self._coordinators.pop(transactional_id, None)

    async def fetch(self, topic: str, partition: int, offset: int, limit_bytes: int) -> tuple[int, bytes]:
        """Raw record batches from an offset on, uncommitted ones among them: error code and bytes.

        Raises:
            UnansweredError: as in `ask`, or there is no leader now.
        """
        request = FetchRequest(0, 0, limit_bytes, 0, [(topic, [(partition, offset, limit_bytes)])])
        answer = await self.ask(self._leader(topic, partition), request)
        found = answer.topics[0][1][0]
        return found[1], found[-1] or b""

    async def append(self, topic: str, partition: int, data: bytes | bytearray) -> int:
        """Write a record batch that belongs to no producer; the error code.

        Raises:
            UnansweredError: as in `ask`, or there is no leader now.
        """
        request = ProduceRequest(None, -1, _REQUEST_TIMEOUT_MS, [(topic, [(partition, data)])])
        answer = await self.ask(self._leader(topic, partition), request)
        return int(answer.topics[0][1][0][1])

    async def first_offset(self, topic: str, partition: int) -> int:
        """The oldest offset there is.

        Raises:
            UnansweredError: as in `ask`, or there is no leader now.
        """
        return await self._offset(topic, partition, -2)

    async def last_offset(self, topic: str, partition: int) -> int:
        """The offset behind all that was acknowledged, whether committed or not.

        Raises:
            UnansweredError: as in `ask`, or there is no leader now.
        """
        return await self._offset(topic, partition, -1)

    async def _offset(self, topic: str, partition: int, which: int) -> int:
        answer = await self.ask(self._leader(topic, partition), OffsetRequest(-1, 0, [(topic, [(partition, which)])]))
        _, code, *found = answer.topics[0][1][0]
        if code:
            raise UnansweredError(f"the offsets of {topic}: {wire.code_name(code)}")
        return int(found[-1])

    def _leader(self, topic: str, partition: int) -> int:
        found = self.leader(topic, partition)
        if found is None:
            self._open_client.add_topic(topic)  # so that a refresh asks for it
            raise UnansweredError(f"{topic} has no leader for partition {partition}")
        return found

    # ------------------------------------------------------------------- metadata

    def leader(self, topic: str, partition: int) -> int | None:
        """The broker that a partition's records are sent to; None when there is none now."""
        found = self._open_client.cluster.leader_for_partition(TopicPartition(topic, partition))
        return None if found is None or found < 0 else int(found)

    def known_partitions(self, topic: str) -> int | None:
        """How many partitions a topic has by what is known now, without asking."""
        found = self._open_client.cluster.partitions_for_topic(topic)
        return len(found) if found else None

    async def refresh(self) -> None:
        """Ask who leads what, unless somebody is asking already."""
        if self._client is None:
            return
        try:
            # Not `wait_for`, which loses a cancellation that comes together with the answer.
            async with asyncio.timeout(_REQUEST_TIMEOUT_MS / 1000):
                await self._client.force_metadata_update()
        except TimeoutError:
            _LOG.warning("Kafka at %s does not say who leads what", self.servers)

    async def partitions(self, topic: str) -> int | None:
        """How many partitions a topic has; None when there is no such topic, also after waiting for it a little.

        Raises:
            SinkError: it may not be seen.
        """
        pause = 0.05
        for _ in range(_TOPIC_TRIES):
            found = self.known_partitions(topic)
            if found is not None:
                self._open_client.add_topic(topic)
                return found
            if await self.exists(topic):
                self._open_client.add_topic(topic)
                await self.refresh()
                continue
            await self._sleep(pause)
            pause = min(pause * 2, 0.4)
        return None

    async def exists(self, topic: str) -> bool:
        """Whether a topic is there. Asked apart, for the client keeps asking for every topic that it was told of.

        Raises:
            SinkError: it may not be seen.
        """
        for broker in self.brokers:
            try:
                answer = await self.ask(broker, MetadataRequest([topic], False))
            except UnansweredError:
                continue
            code = answer.topics[0][0]
            if code == wire.TOPIC_DENIED:
                raise denied_topic(topic)
            if code == 17:
                raise SinkError(f"{topic!r} cannot be the name of a topic", retriable=False)
            return bool(code == 0)
        await self.refresh()
        return False

    async def create_topic(self, topic: str, config: dict[str, str]) -> int:
        """Make a topic of one partition; the error code, 0 when it is there now.

        Raises:
            UnansweredError: as in `ask`.
        """
        replicas = min(3, len(self.brokers))
        if replicas == 3:
            config = {"min.insync.replicas": "2"} | config
        no_assignment: list[Any] = []
        wanted = (topic, 1, replicas, no_assignment, list(config.items()))
        code = wire.NOT_CONTROLLER
        for broker in self._controller_first():
            answer = await self.ask(broker, CreateTopicsRequest([wanted], _REQUEST_TIMEOUT_MS, False))
            code = int(answer.topic_errors[0][1])
            if code == wire.TOPIC_EXISTS:
                return 0
            if code != wire.NOT_CONTROLLER:
                break
        return code

    def _controller_first(self) -> list[int]:
        controller = self._open_client.cluster.controller
        first = [] if controller is None else [controller.nodeId]
        return first + [broker for broker in self.brokers if broker not in first]


def denied_id(transactional_id: str) -> SinkError:
    """The ACLs do not let us use a transactional id."""
    return SinkError(
        f"transactional id {transactional_id!r} is denied: allow Write and Describe on TransactionalId "
        f"(a prefixed ACL covers all ids of the sink), or set transactional_prefix to one that is allowed",
        retriable=False,
    )


def denied_topic(topic: str) -> SinkError:
    """The ACLs do not let us write to a topic."""
    return SinkError(f"topic {topic!r} is denied: allow Write and Describe on it to this user", retriable=False)


def missing_topic(topic: str) -> SinkError:
    """There is no such topic, and writing does not make it."""
    return SinkError(
        f"topic {topic!r} does not exist: create it (kafka-topics.sh --create --topic {topic} --partitions …) "
        "or correct the name",
        retriable=False,
    )
