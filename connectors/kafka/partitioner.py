"""To which partition a key belongs: the same as for every other client of Kafka."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import Final, Literal

Partitioner = Literal["murmur2"] | Callable[[bytes | None, int], int]
"""`"murmur2"`, or (key, number of partitions) -> partition."""

_MOST_KEPT: Final = 65_536
_M: Final = 0x5BD1E995
_MASK: Final = 0xFFFFFFFF


def murmur2(data: bytes) -> int:
    """The hash that Kafka's Java client gives a key, as an unsigned number.

    >>> murmur2(b"21") & 0x7FFFFFFF
    1173551340
    """
    length = len(data)
    h = 0x9747B28C ^ length
    for k in struct.unpack_from(f"<{length >> 2}I", data):
        k = (k * _M) & _MASK
        h = ((h * _M) & _MASK) ^ (((k ^ (k >> 24)) * _M) & _MASK)
    rest = length & 3
    if rest:
        h = ((h ^ int.from_bytes(data[-rest:], "little")) * _M) & _MASK
    h = ((h ^ (h >> 13)) * _M) & _MASK
    return h ^ (h >> 15)


class KeyedPartitions:
    """The partitions of keys. Keys come again: what was computed is kept, up to a number of keys.

    Args:
        partitioner: as the user gave it.
    """

    def __init__(self, partitioner: Partitioner) -> None:
        self._choose = _by_murmur2 if partitioner == "murmur2" else partitioner
        self.takes_missing_keys = partitioner != "murmur2"
        self._known: dict[int, dict[bytes | None, int]] = {}

    def of(self, keys: Sequence[bytes | None], count: int) -> list[int]:
        """The partition of each key among `count`.

        Raises:
            ValueError: the user's partitioner names one that there is not.
        """
        known = self._known.get(count)
        if known is None or len(known) > _MOST_KEPT:
            self._known.clear()
            known = self._known[count] = {}
        try:
            return [known[key] for key in keys]
        except KeyError:
            for key in set(keys).difference(known):
                known[key] = self._checked(key, count)
            return [known[key] for key in keys]

    def _checked(self, key: bytes | None, count: int) -> int:
        partition = self._choose(key, count)
        if not isinstance(partition, int) or not 0 <= partition < count:
            raise ValueError(
                f"the partitioner gives {partition!r} for key {key!r}: there are partitions 0 to {count - 1}"
            )
        return partition


def _by_murmur2(key: bytes | None, count: int) -> int:
    assert key is not None
    return (murmur2(key) & 0x7FFFFFFF) % count
