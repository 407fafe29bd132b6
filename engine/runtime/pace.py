"""How much to read at once, and how fast. Pure."""

from __future__ import annotations

from collections.abc import Callable

_SMALLEST = 64
_QUICK_S = 0.002
_SLOW_S = 0.015
_SHORTEST_S = 0.002
_LONGEST_S = 0.005
_FEW, _MOST = 64, 20_000


class BatchSize:
    """How many records to ask for: as many as the chain takes a few milliseconds for, so that throughput comes from
    batches and latency from their shortness, without a knob.

    >>> size = BatchSize(1024)
    >>> size.observe(size.limit, 0.0001); size.limit
    512
    """

    def __init__(self, largest: int) -> None:
        self._largest = max(1, largest)
        self.limit = min(256, self._largest)
        self.small = min(32, self._largest)

    def observe(self, records: int, seconds: float) -> None:
        """A batch of so many records took the chain so long."""
        if seconds > _SLOW_S:
            self.limit = max(min(_SMALLEST, self._largest), self.limit // 2)
        elif records >= self.limit // 2 and seconds < _QUICK_S:
            self.limit = min(self._largest, self.limit * 2)


class SnapshotPace:
    """How many entries of a snapshot to write before the subtask goes on: about two milliseconds' worth, and when the
    subtask is busy half as long as it has taken for itself, up to five; so the snapshot gets done under any load.

    >>> pace = SnapshotPace()
    >>> pace.observe(500, 0.001); pace.limit(0.0)
    1000
    """

    def __init__(self) -> None:
        self._entry_s = 4e-6
        self._asked = _FEW

    def limit(self, others_s: float) -> int:
        """How many, after so many seconds of other work."""
        seconds = min(_LONGEST_S, max(_SHORTEST_S, others_s / 2))
        self._asked = max(1, min(_MOST, int(seconds / self._entry_s)))
        return self._asked

    def observe(self, entries: int, seconds: float) -> None:
        """So many entries took so long. Few say little, but where no more were asked for, as after the machine stood still
        for a moment, they are all that can be had. What is cheaper than before is believed by halves."""
        if entries >= min(_FEW, self._asked):
            self._entry_s = max(seconds / entries, self._entry_s / 2)


class Pace:
    """A rate limit: at most so many records per second, smoothed over a hundredth of a second."""

    def __init__(self, records_per_second: float | None) -> None:
        self._rate = records_per_second
        self._next = 0.0

    def limit(self, wanted: int) -> int:
        """How many records to ask for."""
        return wanted if self._rate is None else max(1, min(wanted, int(self._rate / 100)))

    def delay(self, records: int, now: float) -> float:
        """Seconds to wait after having read so many records at `now`."""
        if self._rate is None:
            return 0.0
        self._next = max(self._next, now - 0.05) + records / self._rate
        return max(0.0, self._next - now)


class RecordBudget:
    """How many records all sources of a job may still read together.

    Args:
        records: how many; None for no limit.
        on_spent: called once, when all have been read.

    >>> budget = RecordBudget(10, lambda: print("spent"))
    >>> budget.take(8), budget.take(8), budget.take(8)
    (8, 2, 0)
    >>> budget.settle(8, 5); budget.take(8)
    3
    >>> budget.settle(2, 2); budget.settle(3, 3)
    spent
    """

    def __init__(self, records: int | None, on_spent: Callable[[], None]) -> None:
        self._free = records
        self._taken = 0
        self._on_spent = on_spent

    def take(self, wanted: int) -> int:
        """How many of `wanted` records may be asked for; 0 while others have asked for all that is left."""
        if self._free is None:
            return wanted
        granted = max(0, min(wanted, self._free))
        self._free -= granted
        self._taken += granted
        return granted

    def settle(self, granted: int, read: int) -> None:
        """So many of the granted records were there."""
        if self._free is None:
            return
        self._taken -= granted
        self._free += granted - read
        if self._free <= 0 and not self._taken:
            self._on_spent()
