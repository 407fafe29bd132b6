"""What the tests of the Faust bridge share: apps that are never started, and their channels from inside."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tidegate.connectors.faust import ChannelSource
from tidegate.connectors.faust.channel_source import ChannelReader
from tidegate.engine.testing.contexts import ManualSourceContext

faust = pytest.importorskip("faust")


class Total(msgspec.Struct):
    key: str
    total: int


def new_app(folder: Path, **settings: Any) -> Any:
    """An app that is never started and has no broker. Its own channels let events pass."""
    app = faust.App("bridge", broker="kafka://127.0.0.1:1", store="memory://", datadir=str(folder), **settings)
    app.flow_control.resume()
    return app


def close_consumer(app: Any) -> None:
    """A consumer that was never started has a loop for its thread that nobody closes."""
    if app._consumer is not None:
        app._consumer._thread.thread_loop.close()


def waiting(stream: Any) -> list[Any]:
    """The values in the queue of something that iterates over a channel."""
    values = []
    while not stream.queue.empty():
        values.append(stream.queue.get_nowait().value)
    return values


async def opened(source: ChannelSource, offset: Any = None) -> tuple[ChannelReader, ManualSourceContext]:
    context = ManualSourceContext(time_ms=7)
    (split,) = await source.discover(context, frozenset())
    reader = source.reader(context)
    await reader.open(split, offset)
    return reader, context


async def turns(n: int = 5) -> None:
    for _ in range(n):
        await asyncio.sleep(0)


async def send_all(channel: Any, values: Any) -> None:
    for value in values:
        await channel.send(value=value)
