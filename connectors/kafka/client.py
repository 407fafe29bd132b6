"""The client library's client, as we need it: it never makes topics, and says why it cannot connect."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Final

from aiokafka import errors
from aiokafka.client import AIOKafkaClient, ConnectionGroup
from aiokafka.conn import CloseReason, create_conn
from aiokafka.protocol.metadata import MetadataRequest
from aiokafka.util import create_task

from ..sink import SinkError
from ..source import ConnectorError, SourceError
from .connection import Connection

_LOG: Final = logging.getLogger("tidegate.connectors.kafka")

# A fetch is answered within half a second, so that a broker that says nothing for this long is away.
_REQUEST_TIMEOUT_MS: Final = 15_000
_FIRST_PAUSE_S: Final = 0.1
_LONGEST_PAUSE_S: Final = 2.0
_CLOSING_S: Final = 2.0

Sleep = Callable[[float], Awaitable[None]]

UNANSWERED: Final = (errors.KafkaError, OSError, asyncio.TimeoutError)
"""What a request raises when no answer came. Asking again, elsewhere perhaps, may help."""


class Client(AIOKafkaClient):  # type: ignore[misc]  # the library has no types
    """A client for one event loop. Asking it for a topic does not make the topic, and when none of the brokers that it
    knows answers, it goes back to the servers it was given. A connection that has just been closed is no answer: uvloop
    raises a RuntimeError then, of which the library's asyncio task for metadata would die.

    Args:
        settings: of `Connection.aiokafka_settings`.
        request_timeout_ms: how long an answer is waited for.
    """

    def __init__(self, settings: dict[str, Any], request_timeout_ms: int = _REQUEST_TIMEOUT_MS) -> None:
        super().__init__(request_timeout_ms=request_timeout_ms, **settings)
        self._sync_task: Any = None
        self._turn = 0
        self._options = {name: value for name, value in settings.items() if name != "bootstrap_servers"}

    async def bootstrap(self) -> None:
        """Learn from one of the servers which brokers there are. Unlike the library's own it says why it could not, and
        leaves no connection behind when it is cancelled.

        Raises:
            KafkaError, OSError, asyncio.TimeoutError, ValueError: of the last server that was tried.
        """
        last: BaseException = errors.NoBrokersAvailable()
        for host, port, _ in self.hosts:
            try:
                tried = await create_conn(host, port, request_timeout_ms=_REQUEST_TIMEOUT_MS, **self._options)
                try:
                    answer = await tried.send(MetadataRequest([], False))
                finally:
                    tried.close()
            except (*UNANSWERED, ValueError) as error:
                last = error
                continue
            except RuntimeError as error:
                last = _closed(error)
                continue
            if answer.brokers:
                self.cluster.update_metadata(answer)
                # The library's own asyncio task, begun as the library does; `close` ends it.
                if self._sync_task is None:
                    self._sync_task = create_task(self._md_synchronizer())
                return
        raise last

    async def _metadata_update(self, cluster_metadata: Any, topics: Any) -> bool:
        request = MetadataRequest(None if topics is None else list(topics), False)
        for known in (True, False):
            if not known:
                try:
                    await self.bootstrap()
                except (*UNANSWERED, ValueError) as error:
                    _LOG.debug("no answer from any server: %s", error)
                    return False
            # Not always the same one first: it may be the one that says nothing.
            self._turn += 1
            brokers = deque(self.cluster.brokers())
            brokers.rotate(self._turn)
            for broker in brokers:
                try:
                    answer = await self.send(broker.nodeId, request)
                except UNANSWERED as error:
                    _LOG.debug("no metadata from broker %s: %s", broker.nodeId, error)
                    continue
                if answer.brokers:
                    cluster_metadata.update_metadata(answer)
                    return True
        return False

    async def send(self, node_id: int, request: Any, *, group: ConnectionGroup = ConnectionGroup.DEFAULT) -> Any:
        """The answer of a broker.

        Raises:
            KafkaError, OSError, asyncio.TimeoutError: none came.
            IncompatibleBrokerVersion, RuntimeError: the broker is too old, or too new, for the request.
        """
        try:
            return await super().send(node_id, request, group=group)
        except KeyError as error:
            if error.args != ((node_id, group),):
                raise
            # The library wants to close what it has waited on in vain, which another request has done and forgotten.
            raise errors.RequestTimedOutError from error
        except RuntimeError as error:
            if type(error) is not RuntimeError:  # the library's own are all of kinds of their own
                raise
            connection = self._conns.get((node_id, group))
            if connection is not None:
                connection.close(CloseReason.CONNECTION_BROKEN)
            raise _closed(error) from error

    async def close(self) -> None:
        """Give back the connections, also when it is cancelled. The library's own takes a cancellation of whoever calls it for
        the end of its asyncio task, and goes on as if nobody had been cancelled; and for a broker that does not take what was
        still sent to it, it waits for ever."""
        synchronizing, self._sync_task = self._sync_task, None
        try:
            if synchronizing is not None:
                synchronizing.cancel()
                await asyncio.wait([synchronizing])
        finally:
            with suppress(TimeoutError):
                async with asyncio.timeout(_CLOSING_S):
                    await super().close()

    async def ask_any(self, request: Any) -> Any:
        """The answer of any broker.

        Raises:
            KafkaError: none answers.
        """
        last: BaseException = errors.NoBrokersAvailable()
        for broker in self.cluster.brokers():
            try:
                return await self.send(broker.nodeId, request)
            except UNANSWERED as error:
                last = error
        raise last


async def connect(
    connection: Connection,
    sleep: Sleep,
    failure: type[SourceError | SinkError],
    request_timeout_ms: int = _REQUEST_TIMEOUT_MS,
) -> Client:
    """A connected client; waits for a cluster that is away. It must be closed.

    Args:
        connection: where to, and who we are.
        sleep: waits by the engine's clock.
        failure: what is raised.
        request_timeout_ms: how long the client waits for an answer.

    Raises:
        SourceError, SinkError: the cluster cannot be reached within `connect_timeout`, or does not take us.
    """
    try:
        settings = connection.aiokafka_settings()
    except ConnectorError as error:
        raise failure(f"Kafka at {connection.servers}: {error}", retriable=error.retriable) from error
    where = f"Kafka at {connection.servers}"
    waited_s, pause, told = 0.0, _FIRST_PAUSE_S, False
    loop = asyncio.get_running_loop()
    began = loop.time()
    while True:
        client = Client(settings, request_timeout_ms)
        try:
            await client.bootstrap()
        except (*UNANSWERED, ValueError) as error:
            await client.close()
            _refuse(where, error, failure)
            reason = str(error) or type(error).__name__
            waited_s = max(waited_s, loop.time() - began)
            if waited_s + pause > connection.connect_timeout_ms / 1000:
                raise failure(
                    f"{where} cannot be reached within {connection.connect_timeout}: {reason}; "
                    "check that it runs, the servers and the network"
                ) from error
        except BaseException:
            await client.close()
            raise
        else:
            return client
        if not told:
            _LOG.warning("waiting for %s: %s", where, reason)
            told = True
        await sleep(pause)
        waited_s += pause
        pause = min(pause * 2, _LONGEST_PAUSE_S)


def _closed(error: RuntimeError) -> errors.KafkaConnectionError:
    return errors.KafkaConnectionError(f"the connection was closed: {error}")


def _refuse(where: str, error: BaseException, failure: type[SourceError | SinkError]) -> None:
    """Tell apart what waiting cannot help.

    Raises:
        SourceError, SinkError: this is such an error.
    """
    if isinstance(error, errors.AuthenticationFailedError | errors.SaslAuthenticationFailed):
        raise failure(f"{where} refuses the credentials: {error}", retriable=False) from error
    if isinstance(error, errors.UnsupportedSaslMechanismError | errors.IllegalSaslStateError):
        raise failure(f"{where}: {error}; check the sasl setting", retriable=False) from error
    if isinstance(error, ssl.SSLError):
        raise failure(f"{where}: TLS fails: {error.reason or error}; check the tls setting", retriable=False) from error
