"""Getting hold of what a sink writes, or wrote."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from ...connectors.sink import Committable, Guarantee, SinkContext, SinkWriter
from ...connectors.source import Source, SourceContext
from ...operators.batch import Batch
from ..errors import ConfigError

Take = Callable[[Sequence[Any]], None]
"""Takes records, blocking; called with one batch at a time."""

_BATCH: Final = 2048


class CapturingSink:
    """Hands every record to a function instead of writing it. For runs that never restart: there is no second phase."""

    guarantee: Guarantee = "exactly_once"

    def __init__(self, take: Take) -> None:
        self._take = take
        self._lock = asyncio.Lock()

    def writer(self, context: SinkContext) -> SinkWriter[Any]:
        return _CapturingWriter(self, context)

    async def take(self, context: SinkContext, values: Sequence[Any]) -> None:
        """Hand a batch over; those of several writers one after the other."""
        async with self._lock:
            await context.blocking(self._take, values)

    async def commit(self, context: SinkContext, committables: Sequence[Committable]) -> None:
        """Everything has been handed over."""

    async def recover(
        self, context: SinkContext, checkpoint_id: int | None, committables: Sequence[Committable]
    ) -> None:
        """There is nothing to clear away."""

    def describe(self) -> str:
        return "capture"


class _CapturingWriter:
    def __init__(self, sink: CapturingSink, context: SinkContext) -> None:
        self._sink = sink
        self._context = context

    async def open(self) -> None: ...
    async def write(self, batch: Batch[Any]) -> None:
        await self._sink.take(self._context, batch.values)

    async def prepare_commit(self, checkpoint_id: int) -> list[Committable]:
        return []

    async def close(self) -> None: ...


async def read_all(source: Source[Any], context: SourceContext, take: Take) -> None:
    """Hand every record of a bounded source to a function, split by split.

    Raises:
        ConfigError: a record cannot be decoded; says where.
        SourceError: the source cannot be read.
    """
    splits = await source.discover(context, frozenset())
    reader = source.reader(context)
    try:
        for split in splits:
            await reader.open(split, None)
            end = False
            while not end:
                fetch = await reader.read(split.id, _BATCH)
                if fetch.rejected:
                    bad = fetch.rejected[0]
                    raise ConfigError(
                        f"{source.describe()}: {split.id}, {bad.position}: not readable: {bad.reason}; what is compared "
                        "must be records as the sink writes them"
                    )
                if fetch.values:
                    await context.blocking(take, fetch.values)
                end = fetch.end
    finally:
        await reader.close()


def read_json_lines(path: Path, take: Take) -> None:
    """Hand every record of a file of JSON lines to a function. Blocking.

    Raises:
        ConfigError: the file cannot be read; says which line.
    """
    decode = msgspec.json.Decoder().decode
    batch: list[Any] = []
    number = 0
    try:
        with path.open("rb") as file:
            for line in file:
                number += 1
                if line.strip():
                    batch.append(decode(line))
                if len(batch) == _BATCH:
                    take(batch)
                    batch = []
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror or error}") from None
    except msgspec.DecodeError as error:
        raise ConfigError(f"{path}: line {number}: is not JSON: {error}") from None
    take(batch)
