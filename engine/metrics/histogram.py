"""A histogram of durations with fixed buckets."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from typing import Any, Final

BUCKETS_PER_DOUBLING: Final = 4

BOUNDS: Final = tuple(0.001 * 2 ** (i / BUCKETS_PER_DOUBLING) for i in range(78))
"""Upper bounds of the buckets in seconds, from 1 ms to about 10 minutes; a last bucket without bound
follows. Each is 19 % above the one before, so a quantile is never further off than that."""


class Histogram:
    """How durations are spread, in seconds. Adding costs a binary search and three additions.

    Attributes:
        counts: durations per bucket: above the bound before, up to and with `BOUNDS[i]`.
        sum_s: the sum of all durations.
        least_s: the shortest duration; infinity while there are none.
        most_s: the longest duration; 0.0 while there are none.
    """

    __slots__ = ("counts", "least_s", "most_s", "sum_s")

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS) + 1)
        self.sum_s = 0.0
        self.least_s = math.inf
        self.most_s = 0.0

    def __len__(self) -> int:
        return sum(self.counts)

    def add(self, seconds: float, n: int = 1) -> None:
        """Count `n` durations of `seconds` each. One below zero, from clocks that differ, counts as zero."""
        seconds = max(seconds, 0.0)
        self.most_s = max(self.most_s, seconds)
        self.least_s = min(self.least_s, seconds)
        self.counts[bisect_left(BOUNDS, seconds)] += n
        self.sum_s += seconds * n

    def quantile(self, q: float) -> float | None:
        """The duration in seconds that the share `q` (0 to 1) of all does not exceed; None while there are
        none.
        """
        return quantile(self.counts, q, self.least_s, self.most_s)

    def snapshot(self) -> dict[str, Any]:
        """The histogram as JSON values. `counts` of two snapshots may be subtracted, bucket by bucket."""
        return {
            "count": len(self),
            "sum_s": self.sum_s,
            "least_s": None if math.isinf(self.least_s) else self.least_s,
            "most_s": self.most_s,
            "p50_s": self.quantile(0.5),
            "p95_s": self.quantile(0.95),
            "p99_s": self.quantile(0.99),
            "counts": list(self.counts),
        }


def quantile(counts: Sequence[int], q: float, least_s: float, most_s: float) -> float | None:
    """The quantile of bucket counts, in seconds; None when all are zero. Straight between the bounds of a
    bucket, and never outside of `least_s` and `most_s`."""
    total = sum(counts)
    if not total:
        return None
    rank = q * total
    below = 0
    for i, count in enumerate(counts):
        if count and below + count >= rank:
            lower = BOUNDS[i - 1] if i else 0.0
            upper = BOUNDS[i] if i < len(BOUNDS) else most_s
            value = lower + (upper - lower) * max(rank - below, 0.0) / count
            return min(max(value, least_s), most_s)
        below += count
    return most_s
