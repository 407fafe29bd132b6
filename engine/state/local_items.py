"""Local list state: lists that belong to a subtask, dealt out anew at every restore."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from ..errors import StateError
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
    snapshots: Sequence[tuple[int, Path, Mapping[str, Conversion | None]]],
    subtask: int,
    parallelism: int,
) -> None:
    """Deal out the items of all snapshots, each given as (its subtask, its folder, its conversions): item i, counted in
    order of subtask, goes to subtask i modulo `parallelism`.

    Raises:
        StateError: a file is missing or damaged; names it.
    """
    gathered: dict[str, list[Any]] = {name: [] for name in local}
    for _, folder, conversions in sorted(snapshots, key=lambda snapshot: snapshot[0]):
        wanted = [name for name in conversions if name in local]
        if not wanted:
            continue
        stored = _read(folder / FILE)
        for name in wanted:
            gathered[name] += local[name].decoded(stored.get(name, []), conversions[name])
    for name, items in gathered.items():
        local[name].items = items[subtask::parallelism]


def _read(path: Path) -> dict[str, list[bytes]]:
    try:
        return msgspec.msgpack.decode(path.read_bytes(), type=dict[str, list[bytes]])
    except (OSError, msgspec.DecodeError, msgspec.ValidationError) as error:
        raise StateError(f"{path} cannot be read: {error}; restore an older checkpoint") from error
