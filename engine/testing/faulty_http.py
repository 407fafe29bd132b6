"""An HTTP proxy that lets requests go wrong: refused, slow, cut half way, carried out with the answer lost.

async with FaultyHttp(("127.0.0.1", port), [Fault("lose_answer", method="PUT", path=r"manifest\\.json$")]) as proxy:
    ...  # clients connect to proxy.url
"""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Literal
from urllib.parse import unquote

from ..clock import Clock, SystemClock
from .ports import HOST
from .stalling_proxy import reset

Kind = Literal["refuse", "delay", "slow", "cut_request", "cut_answer", "lose_answer"]

_CHUNK_BYTES = 65536
_NO_BODY = frozenset({204, 304})


@dataclass(frozen=True)
class Fault:
    """What goes wrong with some requests.

    Attributes:
        kind: `refuse`: answered with `status`, and not carried out. `delay`: carried out after `delay_s`. `slow`: the
            answer comes in pieces of 64 KiB, `delay_s` before each. `cut_request`: half of the body is sent on, then both
            ends are reset. `cut_answer`: carried out, and reset after half of the answer's body. `lose_answer`: carried
            out, and reset in place of an answer.
        method: of the requests; None for any.
        path: a regular expression that is searched for in path and query; None for any.
        after: how many such requests pass before.
        times: how many it hits; None for all that follow.
        status: of the answer of `refuse`.
        delay_s: seconds.
    """

    kind: Kind
    method: str | None = None
    path: str | None = None
    after: int = 0
    times: int | None = 1
    status: int = 503
    delay_s: float = 0.0


@dataclass(frozen=True)
class Chance:
    """Faults at random: each request has one with the probability `share`, of a kind drawn evenly from `faults`."""

    seed: int
    share: float
    faults: Sequence[Fault] = (
        Fault("refuse", status=500),
        Fault("refuse", status=503),
        Fault("cut_request"),
        Fault("cut_answer"),
        Fault("lose_answer"),
    )


@dataclass
class Request:
    """A request that has been seen.

    Attributes:
        method, path: as sent, the path decoded, without the query.
        query: undecoded, empty for none.
        body_bytes: of its body, as far as it was read.
        status: of the server's answer; None when there was none.
        fault: what was done to it; None when it passed.
    """

    method: str
    path: str
    query: str
    body_bytes: int = 0
    status: int | None = None
    fault: Kind | None = None


@dataclass
class _Message:
    """The head of a request or an answer, and how its body ends."""

    start: str
    head: bytes
    length: int | None
    chunked: bool

    @property
    def words(self) -> list[str]:
        return self.start.split(" ", 2)


class _Hung(Exception):
    """A connection that is not to be used any more."""


class FaultyHttp:
    """Forwards HTTP/1.1 to one server, with the faults that it is told. An asynchronous context manager.

    Heads are passed on as they are, so signatures over the `Host` header hold. Runs on the loop that opened it and needs that
    loop to forward anything: clients that block belong in another thread or process.

    Args:
        target: host and port of the server.
        faults: the first that matches a request is done to it.
        chance: faults for requests that no other one matches.
        clock: for delays.

    Attributes:
        faults: may be changed while it runs; call `forget` to count anew.
        requests: all that were seen, in the order in which they came.
    """

    def __init__(
        self,
        target: tuple[str, int],
        faults: Sequence[Fault] = (),
        *,
        chance: Chance | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.faults = list(faults)
        self.requests: list[Request] = []
        self.chance = chance
        self._target = target
        self._random = random.Random(None if chance is None else chance.seed)
        self._clock = clock or SystemClock()
        self._seen: dict[Fault, int] = {}
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()
        self._serving = 0
        self._came = asyncio.Event()
        self._closing = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def url(self) -> str:
        """What clients connect to.

        Raises:
            RuntimeError: it has not been opened.
        """
        if self._server is None:
            raise RuntimeError("the proxy has an address when it is open: use it inside `async with`")
        host, port = self._server.sockets[0].getsockname()
        return f"http://{host}:{port}"

    def forget(self) -> None:
        """Forget the requests seen, also for `after` and `times`."""
        self.requests.clear()
        self._seen.clear()

    async def sees(self, wanted: Callable[[Request], bool]) -> Request:
        """The first request seen that is wanted; waits for it."""
        while True:
            for request in self.requests:
                if wanted(request):
                    return request
            self._came.clear()
            await self._came.wait()

    async def __aenter__(self) -> FaultyHttp:
        self._server = await asyncio.start_server(self._serve, HOST, 0)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        self._closing.set()
        for writer in list(self._open):
            reset(writer)
        await self._server.wait_closed()
        await self._idle.wait()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection of a client, from the first request to the last."""
        self._serving += 1
        self._idle.clear()
        ends = {writer}
        self._open.add(writer)
        try:
            server_reader, server_writer = await asyncio.open_connection(*self._target)
            ends.add(server_writer)
            self._open.add(server_writer)
            while await self._exchange(reader, writer, server_reader, server_writer):
                pass
        except (OSError, _Hung, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            for end in ends:
                reset(end)
        finally:
            for end in ends:
                self._open.discard(end)
                end.close()
            self._serving -= 1
            if not self._serving:
                self._idle.set()

    async def _exchange(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        server_reader: asyncio.StreamReader,
        server_writer: asyncio.StreamWriter,
    ) -> bool:
        """One request and its answer; whether there can be another one.

        Raises:
            _Hung: both ends are to be reset.
        """
        message = await _read_head(reader)
        if message is None:
            return False
        method, target, _ = message.words
        path, _, query = target.partition("?")
        request = Request(method, unquote(path), query)
        self.requests.append(request)
        fault = self._fault(request)
        request.fault = None if fault is None else fault.kind
        self._came.set()
        if fault is not None and fault.kind == "refuse":
            async for data in _body(reader, message):
                request.body_bytes += len(data)
            body = (
                b"" if method == "HEAD" else b"<Error><Code>SlowDown</Code><Message>Refused by a test</Message></Error>"
            )
            head = f"HTTP/1.1 {fault.status} Refused\r\nContent-Length: {len(body)}\r\nContent-Type: application/xml\r\n\r\n"
            writer.write(head.encode() + body)
            await writer.drain()
            return True
        if fault is not None and fault.kind == "delay":
            await self._pause(fault.delay_s)
        server_writer.write(message.head)
        half = (message.length or 0) // 2
        async for data in _body(reader, message):
            if fault is not None and fault.kind == "cut_request" and request.body_bytes + len(data) > half:
                server_writer.write(data[: half - request.body_bytes])
                await server_writer.drain()
                raise _Hung
            request.body_bytes += len(data)
            server_writer.write(data)
            await server_writer.drain()
        if fault is not None and fault.kind == "cut_request":
            raise _Hung  # it has no body to be cut in
        await server_writer.drain()
        return await self._answer(request, fault, writer, server_reader)

    async def _answer(
        self,
        request: Request,
        fault: Fault | None,
        writer: asyncio.StreamWriter,
        server_reader: asyncio.StreamReader,
    ) -> bool:
        while True:
            answer = await _read_head(server_reader)
            if answer is None:
                raise _Hung
            status = int(answer.words[1])
            if status >= 200:
                break
            writer.write(answer.head)  # "100 Continue": the real one follows
        request.status = status
        has_body = request.method != "HEAD" and status not in _NO_BODY
        lost = fault is not None and fault.kind == "lose_answer"
        if not lost:
            writer.write(answer.head)
            await writer.drain()
        if has_body:
            passed, half = 0, (answer.length or 0) // 2
            async for data in _body(server_reader, answer, until_closed=True):
                if fault is not None and fault.kind == "cut_answer" and passed + len(data) > half:
                    writer.write(data[: half - passed])
                    await writer.drain()
                    raise _Hung
                if fault is not None and fault.kind == "slow":
                    await self._pause(fault.delay_s)
                passed += len(data)
                if not lost:
                    writer.write(data)
                    await writer.drain()
        if lost or (fault is not None and fault.kind == "cut_answer"):
            raise _Hung
        ends = has_body and answer.length is None and not answer.chunked
        return not ends and b"connection: close" not in answer.head.lower()

    async def _pause(self, seconds: float) -> None:
        if await self._clock.wait(self._closing, seconds):
            raise _Hung

    def _fault(self, request: Request) -> Fault | None:
        """What is to be done to a request."""
        where = f"{request.path}?{request.query}" if request.query else request.path
        for fault in self.faults:
            if fault.method not in (None, request.method):
                continue
            if fault.path is not None and re.search(fault.path, where) is None:
                continue
            number = self._seen.get(fault, 0)
            self._seen[fault] = number + 1
            if number >= fault.after and (fault.times is None or number < fault.after + fault.times):
                return fault
        if self.chance is not None and self._random.random() < self.chance.share:
            return self._random.choice(list(self.chance.faults))
        return None


async def _read_head(reader: asyncio.StreamReader) -> _Message | None:
    """The head of the next message; None when there is none any more."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as error:
        if error.partial:
            raise
        return None
    start, *lines = head.decode("latin-1").split("\r\n")
    fields = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    length = fields.get("content-length")
    chunked = "chunked" in fields.get("transfer-encoding", "").lower()
    return _Message(start, head, None if length is None else int(length), chunked)


async def _body(reader: asyncio.StreamReader, message: _Message, *, until_closed: bool = False) -> AsyncIterator[bytes]:
    """The pieces of a body as they are to be passed on. A body whose end is not told goes on until the end of the
    connection, or is empty."""
    if message.chunked:
        while True:
            line = await reader.readuntil(b"\r\n")
            size = int(line.split(b";")[0], 16)
            yield line
            if not size:
                while (trailer := await reader.readuntil(b"\r\n")) != b"\r\n":
                    yield trailer
                yield b"\r\n"
                return
            left = size + 2
            while left:
                data = await reader.read(min(left, _CHUNK_BYTES))
                if not data:
                    raise asyncio.IncompleteReadError(b"", left)
                left -= len(data)
                yield data
    elif message.length is not None:
        left = message.length
        while left:
            data = await reader.read(min(left, _CHUNK_BYTES))
            if not data:
                raise asyncio.IncompleteReadError(b"", left)
            left -= len(data)
            yield data
    elif until_closed:
        while data := await reader.read(_CHUNK_BYTES):
            yield data
