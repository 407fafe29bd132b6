"""The lowest and highest of many times, looked at once and kept by blocks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

_BLOCK: Final = 128


class Bounds:
    """The lowest and the highest of times, of all and of each block of so many.

    >>> bounds = Bounds([3, 1, 2])
    >>> bounds.lowest, bounds.highest
    (1, 3)

    Args:
        times: at least one.

    Attributes:
        block: how many times a block has; the last may have fewer.
        lows: the lowest of each block.
        highs: the highest of each block.
        lowest: of them all.
        highest: of them all.
    """

    __slots__ = ("block", "highest", "highs", "lowest", "lows")

    def __init__(self, times: Sequence[int], block: int = _BLOCK) -> None:
        blocks = [times[start : start + block] for start in range(0, len(times), block)]
        self.block = block
        self.lows = list(map(min, blocks))
        self.highs = list(map(max, blocks))
        self.lowest = min(self.lows)
        self.highest = max(self.highs)
