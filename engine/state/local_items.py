"""Local list state: lists that belong to a subtask, dealt out anew at every restore."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from .codec import Conversion, ValueCodec

FILE = "local.msgpack"
"""The file of a snapshot that holds the local lists: state name → encoded items."""


class LocalItems:
    """The items of one local list. Implements `LocalList`."""

    def __init__(self, codec: ValueCodec) -> None:
        self.items: list[Any] = []
        self._codec = codec

    def encoded(self) -> list[bytes]:
        """The items as bytes, in order."""
        return [self._codec.encode(item) for item in self.items]

    def decoded(self, items: Sequence[bytes], convert: Conversion | None) -> list[Any]:
        """Stored items as values, upgraded where their type has changed."""
        if convert is None:
            return [self._codec.decode(item) for item in items]
        return [convert(item) for item in items]


def encode_local(local: Mapping[str, LocalItems]) -> bytes:
    """The content of the file, for the items as they are now."""
    return msgspec.msgpack.encode({name: items.encoded() for name, items in local.items()})


def restore_local(
    local: Mapping[str, LocalItems],
    snapshots: Sequence[tuple[int, Callable[[str], list[bytes]], Mapping[str, Conversion | None]]],
    subtask: int,
    parallelism: int,
) -> None:
    """Deal out the items of all snapshots, each given as (its subtask, what reads the items of a list, its conversions):
    item i, counted in order of subtask, goes to subtask i modulo `parallelism`.

    Raises:
        StateError: a file is missing or damaged; names it.
    """
    gathered: dict[str, list[Any]] = {name: [] for name in local}
    for _, read, conversions in sorted(snapshots, key=lambda snapshot: snapshot[0]):
        for name in conversions:
            if name in local:
                gathered[name] += local[name].decoded(read(name), conversions[name])
    for name, items in gathered.items():
        local[name].items = items[subtask::parallelism]
