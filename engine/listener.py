"""A small server on the job's event loop that leaves nothing behind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, Final, TypeAlias

Handler: TypeAlias = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
"""Talks with one client until it returns; the connection is closed after it."""

_TURNS_TO_ACCEPT: Final = 4


@asynccontextmanager
async def serving(
    handle: Handler, listen: Callable[[Handler], Awaitable[asyncio.Server]], grace_s: float = 0.0
) -> AsyncIterator[asyncio.Server]:
    """Answer every connection with `handle` until the block ends.

    `listen` makes the server from a handler (`asyncio.start_server`). When the block ends nobody is accepted
    any more; what is being answered has `grace_s` seconds to end and is then cancelled. A client that goes
    away, or a line that is too long, ends its own connection only.
    """
    talking: set[asyncio.Task[Any]] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        this = asyncio.current_task()
        assert this is not None
        talking.add(this)
        try:
            # This is the outermost frame of its asyncio task: a cancellation has nowhere else to go.
            with suppress(ConnectionError, ValueError, EOFError, asyncio.CancelledError):
                await handle(reader, writer)
        finally:
            talking.discard(this)
            writer.close()
            with suppress(ConnectionError, asyncio.CancelledError):
                await writer.wait_closed()

    server = await listen(connected)
    try:
        yield server
    finally:
        server.close()
        # A connection accepted in this very moment begins within the next turns of the loop.
        for _ in range(_TURNS_TO_ACCEPT):
            await asyncio.sleep(0)
        if talking and grace_s:
            await asyncio.wait(talking, timeout=grace_s)
        left = list(talking)
        for one in left:
            one.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        await server.wait_closed()
