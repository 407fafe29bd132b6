"""The client that source and sink share, on the loop that jobs run on."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from aiokafka.client import ConnectionGroup
from aiokafka.errors import KafkaConnectionError, RequestTimedOutError
from aiokafka.protocol.metadata import MetadataRequest
from tidegate.connectors.kafka import client as under_test
from tidegate.connectors.kafka.client import Client
from tidegate.connectors.kafka.connection import Connection
from tidegate.engine.testing.kafka import LocalKafka
from tidegate.engine.testing.stalling_proxy import StallingProxy

_needs_a_broker = pytest.mark.skipif(
    any(shutil.which(program) is None for program in ("java", "mvn")), reason="a local broker needs Java and Maven"
)

Work = Callable[[Client, StallingProxy], Coroutine[Any, Any, None]]


def _beside_a_network(work: Work) -> None:
    """A client on uvloop, its broker behind a network that can be cut."""
    uvloop = pytest.importorskip("uvloop")

    async def run() -> None:
        async with StallingProxy() as proxy:
            cluster = LocalKafka(advertised={0: proxy.address})
            proxy.target = cluster.address(0)
            await asyncio.to_thread(cluster.__enter__)
            try:
                client = Client(Connection(cluster.servers).aiokafka_settings())
                await client.bootstrap()
                try:
                    await work(client, proxy)
                finally:
                    await client.close()
            finally:
                await asyncio.to_thread(cluster.close)

    with ThreadPoolExecutor(1) as executor, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        executor.submit(runner.run, run()).result()


async def _cut(client: Client, proxy: StallingProxy) -> None:
    """The connections have just been reset: the loop knows, and has told nobody yet."""
    (connection,) = client._conns.values()
    reader = connection._reader
    proxy.cut()
    while reader.exception() is None:  # noqa: ASYNC110  # the very turn of the loop is meant
        await asyncio.sleep(0)
    assert connection.connected()
    proxy.resume()


@pytest.mark.slow
@_needs_a_broker
def test_a_connection_that_was_just_closed_is_no_answer():
    """What uvloop raises for it is as good as a connection that breaks; the next request has a new connection."""

    async def work(client: Client, proxy: StallingProxy) -> None:
        request = MetadataRequest([], False)
        assert (await client.send(0, request)).brokers
        await _cut(client, proxy)
        with pytest.raises(KafkaConnectionError):
            await client.send(0, request)
        assert (await client.send(0, request)).brokers

    _beside_a_network(work)


@pytest.mark.slow
@_needs_a_broker
def test_leaders_are_looked_for_again_after_a_connection_was_closed():
    """The task that looks for them does not die of it: nobody would ever learn of a new leader."""

    async def work(client: Client, proxy: StallingProxy) -> None:
        assert await client.force_metadata_update()
        await _cut(client, proxy)
        # What that task does, in the turn of the loop that matters.
        assert await client._metadata_update(client.cluster, [])

    _beside_a_network(work)


class _Connection:
    """One that is open, and answers nothing.

    Args:
        given_up: called when a request has been waited for in vain.
    """

    def __init__(self, given_up: Callable[[], None] = lambda: None) -> None:
        self._given_up = given_up
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.told_to_close = False

    def connected(self) -> bool:
        return True

    async def send(self, request: Any, expect_response: bool) -> Any:
        self._given_up()
        raise TimeoutError

    def close(self, reason: Any = None, exc: Any = None) -> asyncio.Future[None]:
        self.told_to_close = True
        return self.closed


def _client() -> Client:
    """One that has learned which brokers there are; there is none to be asked."""
    client = Client(Connection("127.0.0.1:1").aiokafka_settings())
    client._sync_task = asyncio.get_running_loop().create_task(client._md_synchronizer())
    return client


@pytest.mark.parametrize("turns", range(4))
async def test_whoever_is_cancelled_while_the_client_is_being_closed_ends_cancelled(turns, monkeypatch):
    """In whichever turn of the loop: a job that has failed would wait for ever for who overhears it. All is given back."""
    monkeypatch.setattr(under_test, "_CLOSING_S", 0.01)
    client, connection = _client(), _Connection()
    client._conns[0, ConnectionGroup.DEFAULT] = connection
    synchronizing = client._sync_task
    await asyncio.sleep(0)
    async with asyncio.TaskGroup() as group:
        closing = group.create_task(client.close())
        for _ in range(1 + turns):
            await asyncio.sleep(0)
        closing.cancel()
    assert closing.cancelled()
    assert synchronizing.cancelled()
    assert connection.told_to_close


async def test_a_client_is_closed_though_its_broker_does_not_take_what_was_sent(monkeypatch):
    """The connection ends when the rest has gone out, or the system gives it up: nobody waits for that."""
    monkeypatch.setattr(under_test, "_CLOSING_S", 0.01)
    client, connection = _client(), _Connection()
    client._conns[0, ConnectionGroup.DEFAULT] = connection
    async with asyncio.timeout(30):
        await client.close()
    assert connection.told_to_close


async def test_requests_that_are_given_up_together_are_all_unanswered():
    """The first one may have closed and forgotten their connection when the others come to it."""
    client = _client()
    client._conns[0, ConnectionGroup.DEFAULT] = _Connection(given_up=client._conns.clear)
    with pytest.raises(RequestTimedOutError):
        await client.send(0, MetadataRequest([], False))
    await client.close()
