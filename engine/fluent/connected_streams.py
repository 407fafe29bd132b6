"""The fluent face of streams that a function takes together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

from ...operators.connect import ConnectedFunction, ConnectedProcess
from ...operators.errors import LastResort
from .stream import Stream

Out = TypeVar("Out")


class ConnectedStreams:
    """Several streams for one function. Made by `Stream.connect`."""

    def __init__(self, streams: Sequence[Stream[Any]]) -> None:
        self._streams = streams

    def process(
        self, function: ConnectedFunction[Out], *, name: str | None = None, on_error: LastResort = "fail"
    ) -> Stream[Out]:
        """A function of your own with a method for each stream; when all are keyed with state and timers: see
        `ConnectedFunction`."""
        first, *others = self._streams
        keyed = all(stream._keyed for stream in self._streams)
        # Records of streams without keys have none to keep.
        head = first if keyed else Stream(first._topology, first._edges)
        return head._then(ConnectedProcess(function, keyed=keyed, on_error=on_error), name, *others)
