"""How many bytes the native objects of a table take: estimated from samples, cheap enough to ask after every batch.

What containers take is asked of themselves, which costs the same however full they are. What they hold is estimated.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sized
from enum import Enum
from itertools import islice
from sys import getsizeof
from typing import Any

import msgspec

SLOT_BYTES = 48
"""What an entry costs in a dict besides its key and value, at a usual fill."""
TABLE_BYTES = 240
"""What a dict of up to five entries costs in itself, their slots included."""
KEY_BYTES = 48
"""What a short key takes that nothing else holds."""
_SAMPLED_ITEMS = 16
_FEWEST_SAMPLED = 2
_FREE = frozenset({type(None), bool})
_SHARED_INTS = range(-5, 257)
_SMALL = 512
_HEADER = 8


def deep_bytes(value: Any) -> int:
    """The memory of an object with what it holds, as it is allocated. Of a long container a few items stand for all. What
    the interpreter has once, such as small integers, costs nothing."""
    kind = type(value)
    if kind in _FREE or isinstance(value, Enum):
        return 0
    if kind is int:
        return 0 if value in _SHARED_INTS else _allocated(getsizeof(value))
    if kind in (str, bytes):
        return _allocated(getsizeof(value)) if len(value) > 1 else 0
    size = _own_bytes(value)
    if kind is dict:
        return size + _of_many(list(value)) + _of_many(list(value.values()))
    if kind in (list, tuple, set, frozenset):
        return size + _of_many(value)
    if isinstance(value, msgspec.Struct):
        return size + sum([deep_bytes(getattr(value, name)) for name in value.__struct_fields__])
    if dataclasses.is_dataclass(value):
        return size + sum([deep_bytes(getattr(value, field.name)) for field in dataclasses.fields(value)])
    return size


def container_bytes(container: Sized) -> int:
    """What a dict or set takes for itself, without what it holds; 0 when it is empty."""
    return getsizeof(container) if container else 0


def _own_bytes(value: Any) -> int:
    """What an object takes without what it holds."""
    size = getsizeof(value)
    empty = _EMPTY_BYTES.get(type(value))
    if empty is None or size == empty:
        return _allocated(size)
    # Two allocations: the object, and the table of what it holds.
    return _allocated(empty) + _allocated(size - empty)


_EMPTY_BYTES: dict[type, int] = {list: getsizeof([]), dict: getsizeof({}), set: getsizeof(set())}


def _allocated(size: int) -> int:
    """What the allocator takes for so many bytes: multiples of sixteen, and a header where it asks the system for them."""
    return -(-size // 16) * 16 if size <= _SMALL else -(-(size + _HEADER) // 16) * 16


def _of_many(items: Any) -> int:
    if len(items) <= _SAMPLED_ITEMS:
        return sum(map(deep_bytes, items))
    if not isinstance(items, (list, tuple)):
        items = list(items)
    step = len(items) // _SAMPLED_ITEMS
    sampled = items[::step]
    return sum(map(deep_bytes, sampled)) * len(items) // len(sampled)


class EntrySize:
    """The mean size of the keys and values of a table's entries, in bytes: one at least, also where the interpreter has all
    of them anyway, for so many entries are dropped as make up a number of bytes.

    Samples taken between flushes move it gently. At a flush all changed values are encoded anyway, so that their mean
    encoded size is known exactly: that notices the one value among thousands that has grown out of all proportion.
    """

    def __init__(self) -> None:
        self.mean = 100.0

    def sample(self, entries: Iterable[tuple[Any, Any]]) -> bool:
        """Move the mean towards that of a few entries; whether it was about right."""
        sizes = [deep_bytes(key) + deep_bytes(value) for key, value in entries]
        if not sizes:
            return True
        off = max(1.0, sum(sizes) / len(sizes)) - self.mean
        self.mean += off / 2
        return abs(off) <= self.mean / 8

    def measure(self, entries: Iterable[tuple[Any, Any]], encoded: list[bytes], weight: float = 1.0) -> None:
        """Set the mean from all changed entries with their encoded values, in the same order.

        A few of them are looked at; how far these are from the others is seen from the encoded sizes. `weight` is
        their share of all that were measured since the last barrier, where they come in portions: the smaller it is, the
        fewer are looked at.
        """
        if not encoded:
            return
        step = max(1, len(encoded) // max(_FEWEST_SAMPLED, round(_SAMPLED_ITEMS * weight)))
        chosen = list(islice(entries, 0, None, step))
        keys = sum([deep_bytes(key) for key, _ in chosen]) / len(chosen)
        values = sum([deep_bytes(value) for _, value in chosen]) / len(chosen)
        of_chosen = sum(map(len, encoded[::step])) / len(chosen)
        of_all = sum(map(len, encoded)) / len(encoded)
        seen = keys + max(0.0, values * (1 + (of_all - of_chosen) / max(1.0, of_chosen)))
        self.mean += (max(1.0, seen) - self.mean) * weight
