"""The client that source and sink share, on the loop that jobs run on."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from aiokafka.errors import KafkaConnectionError
from aiokafka.protocol.metadata import MetadataRequest
from tidegate.connectors.kafka.client import Client
from tidegate.connectors.kafka.connection import Connection
from tidegate.engine.testing.kafka import LocalKafka
from tidegate.engine.testing.stalling_proxy import StallingProxy

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        any(shutil.which(program) is None for program in ("java", "mvn")), reason="a local broker needs Java and Maven"
    ),
]

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


def test_leaders_are_looked_for_again_after_a_connection_was_closed():
    """The task that looks for them does not die of it: nobody would ever learn of a new leader."""

    async def work(client: Client, proxy: StallingProxy) -> None:
        assert await client.force_metadata_update()
        await _cut(client, proxy)
        # What that task does, in the turn of the loop that matters.
        assert await client._metadata_update(client.cluster, [])

    _beside_a_network(work)
