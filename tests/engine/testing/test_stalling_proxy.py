"""A network that fails when a test says so."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from tidegate.engine.testing.kafka import LocalKafka
from tidegate.engine.testing.stalling_proxy import StallingProxy


class Echo:
    """A server that says back what it hears, and remembers it."""

    def __init__(self) -> None:
        self.heard = b""
        self.changed = asyncio.Condition()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        while data := await reader.read(1000):
            writer.write(data)
            async with self.changed:
                self.heard += data
                self.changed.notify_all()
        writer.close()

    async def hears(self, text: bytes) -> None:
        """Until all that was heard is `text`."""
        async with asyncio.timeout(10), self.changed:
            await self.changed.wait_for(lambda: self.heard == text)


@asynccontextmanager
async def echo_behind_a_proxy() -> AsyncIterator[tuple[Echo, StallingProxy]]:
    """Both running."""
    echo = Echo()
    server = await asyncio.start_server(echo.serve, "127.0.0.1", 0)
    async with server, StallingProxy(server.sockets[0].getsockname()) as proxy:
        yield echo, proxy


async def test_it_forwards_both_ways():
    """Until it is told otherwise, it is not there."""
    async with echo_behind_a_proxy() as (_, proxy):
        reader, writer = await asyncio.open_connection(*proxy.address)
        writer.write(b"hello")
        assert await reader.readexactly(5) == b"hello"
        assert proxy.connections == 1
        writer.close()
        assert await reader.read() == b""


async def test_what_is_held_back_by_a_stall_comes_late_and_in_order():
    """Nobody is told that the network has gone; nothing passes; then everything does."""
    async with echo_behind_a_proxy() as (echo, proxy):
        reader, writer = await asyncio.open_connection(*proxy.address)
        writer.write(b"1")
        await reader.readexactly(1)
        proxy.stall()
        writer.write(b"2")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await reader.read(1)
        assert (echo.heard, proxy.connections) == (b"1", 1)
        writer.write(b"3")
        proxy.resume()
        assert await reader.readexactly(2) == b"23"
        writer.close()


async def test_a_connection_made_during_a_stall_waits():
    """It is accepted and hears nothing, until the network is back."""
    async with echo_behind_a_proxy() as (echo, proxy):
        proxy.stall()
        reader, writer = await asyncio.open_connection(*proxy.address)
        writer.write(b"new")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await reader.read(1)
        assert echo.heard == b""
        proxy.resume()
        assert await reader.readexactly(3) == b"new"
        writer.close()


async def test_answers_alone_can_be_held_back():
    """The server does what it is asked, and the client does not know."""
    async with echo_behind_a_proxy() as (echo, proxy):
        reader, writer = await asyncio.open_connection(*proxy.address)
        proxy.stall_answers()
        writer.write(b"commit")
        await echo.hears(b"commit")
        proxy.cut()
        with pytest.raises(ConnectionResetError):
            await reader.read(1)
        writer.close()


async def test_a_cut_resets_connections_until_it_is_resumed():
    """Those that are open and those that come."""
    async with echo_behind_a_proxy() as (echo, proxy):
        reader, writer = await asyncio.open_connection(*proxy.address)
        writer.write(b"1")
        await reader.readexactly(1)
        proxy.stall()
        writer.write(b"lost")
        proxy.cut()
        for attempt in range(2):
            with pytest.raises(ConnectionResetError):
                await reader.readexactly(1)
            writer.close()
            if attempt == 0:
                reader, writer = await asyncio.open_connection(*proxy.address)
        proxy.resume()
        reader, writer = await asyncio.open_connection(*proxy.address)
        writer.write(b"2")
        assert await reader.readexactly(1) == b"2"
        assert echo.heard == b"12"
        writer.close()


async def test_a_server_that_is_down_resets_its_clients():
    """As it would refuse them itself."""
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    address = server.sockets[0].getsockname()
    server.close()
    await server.wait_closed()
    async with StallingProxy(address) as proxy:
        reader, writer = await asyncio.open_connection(*proxy.address)
        with pytest.raises(ConnectionResetError):
            await reader.readexactly(1)
        writer.close()


async def test_a_closed_proxy_has_ended_its_connections():
    """A test leaves none behind."""
    async with echo_behind_a_proxy() as (_, proxy):
        reader, writer = await asyncio.open_connection(*proxy.address)
        writer.write(b"1")
        await reader.readexactly(1)
        proxy.stall()
    assert proxy.connections == 0
    with pytest.raises(ConnectionResetError):
        await reader.readexactly(1)
    writer.close()


async def test_it_has_no_address_before_it_is_open():
    """Which is a mistake of the test."""
    with pytest.raises(RuntimeError, match="use it inside `async with`"):
        print(StallingProxy().address)


@pytest.mark.slow
@pytest.mark.skipif(
    any(shutil.which(it) is None for it in ("java", "mvn")), reason="a local broker needs Java and Maven"
)
async def test_a_producer_goes_through_the_proxy_that_a_broker_advertises():
    """It waits while the network stalls, connects anew after a cut, and what it was promised is there once."""
    from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
    from aiokafka.admin import AIOKafkaAdminClient, NewTopic

    async with StallingProxy() as proxy:
        kafka = LocalKafka(advertised={0: proxy.address})
        proxy.target = kafka.address(0)
        await asyncio.to_thread(kafka.__enter__)
        try:
            assert kafka.servers == "{}:{}".format(*proxy.address)
            admin = AIOKafkaAdminClient(bootstrap_servers=kafka.servers)
            await admin.start()
            await admin.create_topics([NewTopic("proxied", 1, 1)])
            await admin.close()
            async with AIOKafkaProducer(bootstrap_servers=kafka.servers, enable_idempotence=True) as producer:
                await producer.send_and_wait("proxied", b"before")
                proxy.stall()
                stalled = await producer.send("proxied", b"stalled")
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.2):
                        await asyncio.shield(stalled)
                proxy.resume()
                await stalled
                proxy.stall_answers()
                unanswered = await producer.send("proxied", b"unanswered")
                proxy.cut()
                proxy.resume()
                await unanswered
            async with AIOKafkaConsumer(bootstrap_servers=kafka.servers, auto_offset_reset="earliest") as consumer:
                consumer.assign([TopicPartition("proxied", 0)])
                found = [(await consumer.getone()).value for _ in range(3)]
                assert found == [b"before", b"stalled", b"unanswered"]
        finally:
            await asyncio.to_thread(kafka.close)
