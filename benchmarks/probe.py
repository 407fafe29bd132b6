"""A sink that looks at what comes, the moment it is written."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, BinaryIO

import msgspec
from tidegate.connectors.sink import AtLeastOnce, Committable, SinkContext
from tidegate.operators.batch import Batch

Look = Callable[[list[Any]], None]


class ProbeSink(AtLeastOnce):
    """Writes JSON lines into an open file without buffering, if there is one, and then shows the values to `look`.

    At least once: what is written is written.
    """

    def __init__(self, look: Look, file: BinaryIO | None = None) -> None:
        self.look = look
        self.file = file

    def writer(self, context: SinkContext) -> ProbeWriter:
        return ProbeWriter(self)

    def describe(self) -> str:
        return "probe"


class ProbeWriter:
    """Writes and shows each batch as it comes."""

    def __init__(self, sink: ProbeSink) -> None:
        self._look = sink.look
        self._file = sink.file
        self._encode_lines = msgspec.json.Encoder().encode_lines

    async def open(self) -> None:
        pass

    async def write(self, batch: Batch[Any]) -> None:
        if self._file is not None:
            self._file.write(self._encode_lines(batch.values))
        self._look(batch.values)

    async def prepare_commit(self, checkpoint_id: int) -> list[Committable]:
        return []

    async def close(self) -> None:
        pass
