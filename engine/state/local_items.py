"""State that belongs to subtasks, not to keys: lists that are dealt out anew at a rescale, and maps that every subtask has
whole."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from ...operators.state import frozen, thawed
from .backend import StoreSnapshot, StoreSpec
from .codec import Conversion, ValueCodec
from .key_groups import key_group_range

FILE = "local.msgpack"
"""The file of a snapshot that holds the local lists: state name → encoded items."""


class LocalItems:
    """The items of one local list. Implements `LocalList`."""

    dealt_out = True
    """Whether each item goes to one subtask at a rescale; else all go to all."""

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


class BroadcastItems(LocalItems):
    """The entries of one broadcast map, as (key, value). Implements `BroadcastMap`.

    Args:
        codec: of the entries.
        plain_keys: whether keys are stored by no type, so that tuples in them come back as lists.
    """

    dealt_out = False

    def __init__(self, codec: ValueCodec, *, plain_keys: bool) -> None:
        self.entries: dict[Any, Any] = {}
        self._plain_keys = plain_keys
        super().__init__(codec)

    @property
    def items(self) -> list[Any]:
        """The entries as they are stored."""
        if not self._plain_keys:
            return list(self.entries.items())
        return [(thawed(key), value) for key, value in self.entries.items()]

    @items.setter
    def items(self, items: list[Any]) -> None:
        self.entries = {frozen(key) if self._plain_keys else key: value for key, value in items}


def encode_local(local: Mapping[str, LocalItems]) -> bytes:
    """The content of the file, for the items as they are now."""
    return msgspec.msgpack.encode({name: items.encoded() for name, items in local.items()})


def restore_local(
    local: Mapping[str, LocalItems],
    snapshots: Sequence[tuple[StoreSnapshot, Callable[[str], list[bytes]], Mapping[str, Conversion | None]]],
    spec: StoreSpec,
) -> None:
    """Give a store its items of all snapshots of an operator, each given as (the snapshot, what reads the items of a list, its
    conversions). Where parallelism and key groups are what they were, each subtask gets its own list back. Otherwise items
    are dealt out: item i of a list, counted in order of subtask, goes to subtask i modulo the parallelism. Of a map every
    subtask gets a copy: its own, or after a rescale that of the first. In an unaligned checkpoint copies differ by what was in
    flight, but then there is no rescale.

    Raises:
        StateError: a file is missing or damaged; names it.
    """
    in_order = sorted(snapshots, key=lambda found: found[0].subtask)
    unchanged = [found[0].key_groups for found in in_order] == _all_key_groups(spec)
    for name, found in local.items():
        holding = [(read, conversions[name]) for _, read, conversions in in_order if name in conversions]
        own = unchanged and len(holding) == spec.parallelism
        if found.dealt_out and not own:
            items = [item for read, convert in holding for item in found.decoded(read(name), convert)]
            found.items = items[spec.subtask :: spec.parallelism]
        elif holding:
            read, convert = holding[spec.subtask if own else 0]
            found.items = found.decoded(read(name), convert)


def _all_key_groups(spec: StoreSpec) -> list[tuple[int, int]]:
    """The first and last+1 key group of each subtask of the operator."""
    ranges = [key_group_range(subtask, spec.parallelism, spec.max_parallelism) for subtask in range(spec.parallelism)]
    return [(owned.start, owned.stop) for owned in ranges]
