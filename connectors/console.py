"""Records printed to the terminal."""

from __future__ import annotations

import sys
from typing import Any, TextIO

from ..operators.batch import Batch
from .formats.format import LineFormat
from .sink import AtLeastOnce, Committable, SinkContext, SinkError


class ConsoleSink(AtLeastOnce):
    """See `sink`."""

    def __init__(self, format: LineFormat[Any] | None = None, prefix: str = "", stream: TextIO | None = None) -> None:
        self.format = format
        self.prefix = prefix
        self.stream = stream

    def writer(self, context: SinkContext) -> ConsoleWriter:
        return ConsoleWriter(self, context)

    def describe(self) -> str:
        return f"console.sink({'' if self.format is None else self.format.describe()})"


class ConsoleWriter:
    """Prints each batch as it comes."""

    def __init__(self, sink: ConsoleSink, context: SinkContext) -> None:
        self._sink = sink
        self._context = context
        self._format = sink.format

    async def open(self) -> None:
        pass

    async def write(self, batch: Batch[Any]) -> None:
        lines = []
        if self._format is not None:
            if self._format.has_header and self._format is self._sink.format:
                header = self._format.header(batch.values)
                self._format = self._format.with_header(header)
                lines.append(header.decode().removesuffix("\n"))
            lines += self._format.encode_lines(batch.values).decode().removesuffix("\n").split("\n")
        else:
            lines += map(repr, batch.values)
        prefix = self._sink.prefix
        text = "".join([f"{prefix}{line}\n" for line in lines])
        await self._context.blocking(self._print, text)
        self._context.count("bytes", len(text))

    def _print(self, text: str) -> None:
        stream = sys.stdout if self._sink.stream is None else self._sink.stream
        try:
            stream.write(text)
            stream.flush()
        except OSError as error:
            raise SinkError(f"the console cannot be written: {error.strerror}", retriable=False) from error

    async def prepare_commit(self, checkpoint_id: int) -> list[Committable]:
        return []

    async def close(self) -> None:
        pass


def sink(format: LineFormat[Any] | None = None, prefix: str = "", stream: TextIO | None = None) -> ConsoleSink:
    """A sink that prints. At least once: after a restart, records since the last checkpoint are printed again.

    Args:
        format: how a record becomes a line; None prints its `repr`.
        prefix: put before each line.
        stream: where to; None means what `sys.stdout` is at that moment.
    """
    return ConsoleSink(format, prefix, stream)
