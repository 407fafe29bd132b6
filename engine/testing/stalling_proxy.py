"""A TCP proxy that can stall and cut: a network that fails at the moment a test chooses."""

from __future__ import annotations

import asyncio
import socket
import struct
from types import TracebackType

from .ports import HOST

_CHUNK_BYTES = 65536


class StallingProxy:
    """Forwards connections to one server, until it is told to stop. An asynchronous context manager.

    Kafka clients go on to the addresses that brokers advertise, so a broker behind a proxy has to advertise the proxy:

        async with StallingProxy() as proxy:
            kafka = LocalKafka(advertised={0: proxy.address})
            proxy.target = kafka.address(0)

    What is held back by a stall is delivered late and in order, as a network does that comes back. While cut, connections
    are accepted and reset at once. Runs on the loop that opened it and needs that loop to forward anything.

    Args:
        target: host and port of the server; it may be set later, before the first connection.
    """

    def __init__(self, target: tuple[str, int] | None = None) -> None:
        self.target = target
        self._requests_flow = asyncio.Event()
        self._answers_flow = asyncio.Event()
        self._is_cut = False
        self._open: set[asyncio.StreamWriter] = set()
        self._serving = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._server: asyncio.Server | None = None
        self.resume()

    @property
    def address(self) -> tuple[str, int]:
        """Host and port where the proxy listens.

        Raises:
            RuntimeError: it has not been opened.
        """
        if self._server is None:
            raise RuntimeError("the proxy has an address when it is open: use it inside `async with`")
        host, port = self._server.sockets[0].getsockname()
        return host, port

    @property
    def connections(self) -> int:
        """How many connections are open now."""
        return len(self._open) // 2

    async def __aenter__(self) -> StallingProxy:
        self._server = await asyncio.start_server(self._serve, HOST, 0)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        self.cut()
        await self._server.wait_closed()
        await self._idle.wait()

    def stall(self) -> None:
        """Hold everything back, both ways. Connections stay open and new ones are accepted: nobody is told."""
        self._requests_flow.clear()
        self._answers_flow.clear()

    def stall_answers(self) -> None:
        """Hold back what the server says. Requests still reach it: it does what it is asked and nobody hears of it."""
        self._answers_flow.clear()

    def cut(self) -> None:
        """Reset all connections, and new ones as they come, until `resume`. What was held back is lost."""
        self._is_cut = True
        for writer in list(self._open):
            reset(writer)
        self._requests_flow.set()
        self._answers_flow.set()

    def resume(self) -> None:
        """Forward again, first what was held back."""
        self._is_cut = False
        self._requests_flow.set()
        self._answers_flow.set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection of a client, from the first byte to the last."""
        self._serving += 1
        self._idle.clear()
        both = {writer}
        try:
            if self.target is None:
                raise RuntimeError("the proxy has no target: set it before anybody connects")
            try:
                server_reader, server_writer = await asyncio.open_connection(*self.target)
            except OSError:
                reset(writer)  # a server that is down would have refused
                return
            both.add(server_writer)
            if self._is_cut:
                reset(writer)
                return
            self._open |= both
            async with asyncio.TaskGroup() as group:
                group.create_task(self._forward(reader, server_writer, self._requests_flow))
                group.create_task(self._forward(server_reader, writer, self._answers_flow))
        finally:
            self._open -= both
            for end in both:
                end.close()
            self._serving -= 1
            if not self._serving:
                self._idle.set()

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, flow: asyncio.Event) -> None:
        """One direction of a connection, until either end closes."""
        try:
            while data := await reader.read(_CHUNK_BYTES):
                await flow.wait()
                writer.write(data)
                await writer.drain()
        except OSError:
            pass  # reset by one end: the other is told by the close
        finally:
            writer.close()


def reset(writer: asyncio.StreamWriter) -> None:
    """Close at once and tell the other end that data may be lost, as it is."""
    if not writer.transport.is_closing():
        connection = writer.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
