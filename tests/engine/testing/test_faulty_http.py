"""A proxy that lets requests go wrong, in front of a server that remembers what it carried out."""

from __future__ import annotations

import asyncio
import http.client
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from tidegate.engine.clock import SystemClock
from tidegate.engine.executor import ThreadExecutor
from tidegate.engine.testing.faulty_http import Chance, Fault, FaultyHttp

BODY = bytes(range(256)) * 800


class Store:
    """Keeps what is put and gives it back; answers in chunks where the path ends in `chunked`."""

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}
        self.cut = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                start, *fields = head.decode().split("\r\n")
                method, path, _ = start.split()
                length = next((int(f[15:]) for f in fields if f.lower().startswith("content-length:")), 0)
                if method == "PUT":
                    self.kept[path] = await reader.readexactly(length)
                    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
                elif path.endswith("chunked"):
                    writer.write(
                        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n"
                    )
                else:
                    body = self.kept[path]
                    head_only = method == "HEAD"
                    writer.write(
                        b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), b"" if head_only else body)
                    )
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            self.cut += bool(getattr(error, "partial", b""))
        finally:
            writer.close()


class Client:
    """Asks in a thread, one connection a request."""

    def __init__(self, proxy: FaultyHttp, executor: ThreadExecutor) -> None:
        self.proxy = proxy
        self._executor = executor

    async def ask(self, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
        """Status and body of the answer."""
        return await self._executor.run(self._ask, method, path, body)

    def _ask(self, method: str, path: str, body: bytes | None) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection(self.proxy.url.removeprefix("http://"), timeout=30)
        try:
            connection.request(method, path, body)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()


class Sleeps(SystemClock):
    """Whoever waits has waited at once; remembers how long."""

    def __init__(self) -> None:
        self.slept: list[float] = []

    async def wait(self, event: asyncio.Event, seconds: float | None) -> bool:
        self.slept.append(seconds or 0.0)
        return event.is_set()


@asynccontextmanager
async def stage(*faults: Fault, chance: Chance | None = None) -> AsyncIterator[tuple[Store, Client, Sleeps]]:
    """A store that has `/there`, behind a proxy with these faults."""
    store, clock, executor = Store(), Sleeps(), ThreadExecutor()
    store.kept["/there"] = BODY
    server = await asyncio.start_server(store.serve, "127.0.0.1", 0)
    try:
        async with FaultyHttp(server.sockets[0].getsockname(), faults, chance=chance, clock=clock) as proxy:
            yield store, Client(proxy, executor), clock
    finally:
        server.close()
        await server.wait_closed()
        executor.close()


async def test_without_faults_everything_passes() -> None:
    """Bodies both ways, chunks, heads without a body; and it is written down."""
    async with stage() as (store, client, _):
        assert await client.ask("PUT", "/new", BODY) == (200, b"")
        assert await client.ask("GET", "/there") == (200, BODY)
        assert await client.ask("HEAD", "/there") == (200, b"")
        assert await client.ask("GET", "/chunked") == (200, b"hello world")
        assert store.kept["/new"] == BODY
        seen = [(r.method, r.path, r.body_bytes, r.status, r.fault) for r in client.proxy.requests]
    assert seen == [
        ("PUT", "/new", len(BODY), 200, None),
        ("GET", "/there", 0, 200, None),
        ("HEAD", "/there", 0, 200, None),
        ("GET", "/chunked", 0, 200, None),
    ]


async def test_a_refused_request_is_not_carried_out() -> None:
    """The client is answered with the status; the connection stays good."""
    async with stage(Fault("refuse", method="PUT", status=500)) as (store, client, _):
        status, _ = await client.ask("PUT", "/new", BODY)
        assert status == 500
        assert "/new" not in store.kept
        assert await client.ask("PUT", "/new", BODY) == (200, b"")


async def test_a_request_that_is_cut_half_way_is_not_carried_out() -> None:
    """The server has half of its body, the client an error."""
    async with stage(Fault("cut_request", method="PUT")) as (store, client, _):
        with pytest.raises(OSError, match=r"reset|[Bb]roken pipe|closed"):
            await client.ask("PUT", "/new", BODY)
        assert "/new" not in store.kept


async def test_a_lost_answer_is_of_a_request_that_was_carried_out() -> None:
    """The client cannot know."""
    async with stage(Fault("lose_answer", method="PUT")) as (store, client, _):
        with pytest.raises(OSError, match=r"reset|closed"):
            await client.ask("PUT", "/new", BODY)
        assert store.kept["/new"] == BODY
        assert client.proxy.requests[0].status == 200


async def test_an_answer_is_cut_half_way() -> None:
    """The client gets its head and a part of its body."""
    async with stage(Fault("cut_answer")) as (_, client, _):
        with pytest.raises((OSError, http.client.IncompleteRead)):
            await client.ask("GET", "/there")
        assert await client.ask("GET", "/there") == (200, BODY)


async def test_slow_answers_and_late_ones() -> None:
    """A pause before each piece, or before all."""
    async with stage(Fault("slow", delay_s=0.5), Fault("delay", delay_s=7)) as (_, client, clock):
        assert await client.ask("GET", "/there") == (200, BODY)
        assert set(clock.slept) == {0.5}
        assert len(clock.slept) >= len(BODY) / 65536
        clock.slept.clear()
        assert await client.ask("GET", "/there") == (200, BODY)
        assert clock.slept == [7]


async def test_a_fault_says_which_requests_it_means() -> None:
    """By method and path, after some, and so many times."""
    fault = Fault("refuse", method="PUT", path=r"\.json$", after=1, times=2)
    async with stage(fault) as (_, client, _):
        statuses = [(await client.ask("PUT", path, b"x"))[0] for path in ["/a.json", "/b", *["/a.json"] * 4]]
        assert statuses == [200, 200, 503, 503, 200, 200]
        client.proxy.forget()
        assert (await client.ask("PUT", "/a.json", b"x"))[0] == 200
        assert (await client.ask("PUT", "/a.json", b"x"))[0] == 503


async def test_chance_is_the_same_for_the_same_seed() -> None:
    """A run that failed can be repeated."""

    async def kinds(seed: int) -> list[str | None]:
        async with stage(chance=Chance(seed, 0.5, [Fault("refuse")])) as (_, client, _):
            for _ in range(30):
                await client.ask("PUT", "/new", b"x")
            return [request.fault for request in client.proxy.requests]

    first = await kinds(1)
    assert set(first) == {None, "refuse"}
    assert await kinds(1) == first
    assert await kinds(2) != first


async def test_who_waits_when_it_is_closed_is_cut() -> None:
    """Nobody waits for the end of a long delay."""
    store, executor = Store(), ThreadExecutor()
    server = await asyncio.start_server(store.serve, "127.0.0.1", 0)
    try:
        async with asyncio.TaskGroup() as group:
            async with FaultyHttp(server.sockets[0].getsockname(), [Fault("delay", delay_s=600)]) as proxy:
                client = Client(proxy, executor)

                async def is_cut() -> None:
                    with pytest.raises(OSError, match=r"reset|closed"):
                        await client.ask("PUT", "/new", b"x")

                group.create_task(is_cut())
                await proxy.sees(lambda request: request.fault == "delay")
    finally:
        server.close()
        await server.wait_closed()
        executor.close()
    assert store.kept == {}
