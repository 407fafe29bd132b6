"""The generator as a source: events in the job that reads them, as fast as they can be made or by the clock."""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import replace
from typing import Any, Final

import msgspec
from tidegate.connectors import Fetch, Lag, Offset, SourceContext, Split

from . import generator
from .events import Event
from .generator import Settings

_SPLIT: Final = "0"
_decode_lines: Final = msgspec.json.Decoder(Event).decode_lines


class NexmarkSource:
    """The events of `generator`, read like any other source; the same again from every offset.

    Without `by_clock` they come as fast as they are asked for, and event time is what the settings say. By the clock, event
    `n` comes `n / rate` seconds after the first, and its time is that moment: event time follows the clock. The first moment
    is part of the offset, so a restart goes on where it was, and catches up.

    Making events takes about as long as decoding them, and happens in the job: to measure queries alone, read a file.

    Args:
        count: how many events; None for no end.
        settings: what events; `start_ms` has no meaning by the clock.
        by_clock: whether they come by the clock.

    Raises:
        ValueError: `count` is negative.
    """

    finds_splits = False
    replayable = True
    has_timestamps = False
    poll_interval_ms = 5
    type: Any = Event

    def __init__(self, count: int | None = None, *, settings: Settings | None = None, by_clock: bool = False) -> None:
        if count is not None and count < 0:
            raise ValueError(f"NexmarkSource(count={count}): not negative, or None for no end")
        self.bounded = count is not None
        self.count = count
        self.settings = settings or Settings()
        self.by_clock = by_clock

    async def discover(self, context: SourceContext, known: frozenset[str]) -> list[Split]:
        return [] if _SPLIT in known else [Split(_SPLIT)]

    def reader(self, context: SourceContext) -> NexmarkReader:
        return NexmarkReader(self, context)

    def describe(self) -> str:
        count = "without end" if self.count is None else f"{self.count} events"
        pace = f"{self.settings.rate} a second" if self.by_clock else "unpaced"
        return f"NexmarkSource({count}, {pace}, seed={self.settings.seed})"


class NexmarkReader:
    """Makes events chunk by chunk, the next one while this one is read. An offset is [events so far, time of the first]."""

    def __init__(self, source: NexmarkSource, context: SourceContext) -> None:
        self._source = source
        self._context = context
        self._settings = source.settings
        self._next = 0
        self._lines: list[str] = []
        self._chunk = -1
        self._ahead: Awaitable[list[str]] | None = None

    async def open(self, split: Split, offset: Offset | None) -> None:
        start_ms = self._context.now_ms() if self._source.by_clock else self._settings.start_ms
        self._next, start_ms = (0, start_ms) if offset is None else offset
        self._settings = replace(self._settings, start_ms=start_ms)

    async def read(self, split_id: str, limit: int) -> Fetch[Event]:
        start, size = self._next, generator.CHUNK
        chunk, inside = divmod(start, size)
        stop = min(start + limit, (chunk + 1) * size, *self._bounds())
        values: list[Event] = []
        if stop > start:
            if chunk != self._chunk:
                self._lines = await self._made(chunk)
                self._chunk = chunk
            values = _decode_lines("".join(self._lines[inside : inside + stop - start]))
        self._next = max(start, stop)
        offset = [self._next, self._settings.start_ms]
        return Fetch(values, offset, positions=range(start, self._next), end=self._next == self._source.count)

    def lag(self, split_id: str) -> Lag | None:
        bounds = self._bounds()
        return Lag(records=max(0, min(bounds) - self._next)) if bounds else None

    async def close(self) -> None:
        if self._ahead is not None:
            ahead, self._ahead = self._ahead, None
            await ahead

    def _bounds(self) -> list[int]:
        """How many events there are, and how many there are by now, where these are known."""
        bounds = [] if self._source.count is None else [self._source.count]
        if self._source.by_clock:
            elapsed_ms = self._context.now_ms() - self._settings.start_ms
            bounds.append(elapsed_ms * self._settings.rate // 1000 + 1)
        return bounds

    async def _made(self, chunk: int) -> list[str]:
        """The lines of a chunk. They are read in order, so the next one is begun at once."""
        if self._ahead is None:
            self._ahead = self._begin(chunk)
        lines, self._ahead = await self._ahead, None
        following = (chunk + 1) * generator.CHUNK
        if self._source.count is None or following < self._source.count:
            self._ahead = self._begin(chunk + 1)
        return lines

    def _begin(self, chunk: int) -> Awaitable[list[str]]:
        return self._context.blocking(_lines_of, self._settings, chunk)


def _lines_of(settings: Settings, chunk: int) -> list[str]:
    return generator.line_maker(settings).lines(chunk * generator.CHUNK)
