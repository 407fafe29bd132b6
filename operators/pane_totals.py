"""Sliding windows of what can be taken away again: one window's totals become the next one's."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence

from .pane_merge import Entries
from .time import MIN_WATERMARK


class PaneTotals:
    """Totals of the window asked for last. The next one's are these with the panes that have come and without those that
    have gone: each pane is gone through twice, however many windows it belongs to.

    Totals of more than `limit` keys are not held: each window is then put together from all its panes.

    Args:
        size_ms: length of a window.
        read: the entries of the pane that ends at a time; not changed.
        merge_all: takes the accumulators of the second dict into those of the first.
        subtract_all: takes them out again; keys of which nothing is left go.
        limit: how many keys may be held.
    """

    def __init__(
        self,
        size_ms: int,
        read: Callable[[int], Entries],
        merge_all: Callable[[Entries, Entries], None],
        subtract_all: Callable[[Entries, Entries], None],
        *,
        limit: int = 500_000,
    ) -> None:
        self._size_ms = size_ms
        self._read = read
        self._merge_all = merge_all
        self._subtract_all = subtract_all
        self._limit = limit
        self._totals: Entries = {}
        self._start_ms = self._end_ms = MIN_WATERMARK  # what the totals span; nothing where both are equal

    def window(self, end_ms: int, panes: Sequence[int]) -> Entries:
        """The entries of the window that ends at `end_ms`; windows are asked for in order of time.

        Args:
            end_ms: where it ends.
            panes: the ends of all panes that have entries, ascending; those of other windows too.

        Returns:
            Not to be changed, and valid until the next call.
        """
        self.leave(end_ms - self._size_ms, panes)
        for pane in panes[bisect_right(panes, self._end_ms) : bisect_right(panes, end_ms)]:
            self._merge_all(self._totals, self._read(pane))
        self._end_ms = end_ms
        return self._totals

    def leave(self, until_ms: int, panes: Sequence[int]) -> None:
        """Take out the panes that end by `until_ms`; they may be dropped then.

        Args:
            until_ms: where the next window starts, or earlier.
            panes: as for `window`.
        """
        if until_ms >= self._end_ms or len(self._totals) > self._limit:
            self._totals = {}
            self._start_ms = self._end_ms = until_ms
        elif until_ms > self._start_ms:
            for pane in panes[bisect_right(panes, self._start_ms) : bisect_right(panes, until_ms)]:
                self._subtract_all(self._totals, self._read(pane))
            self._start_ms = until_ms

    def totals_of(self, pane: int) -> Entries | None:
        """The totals, if they have that pane in them: whoever changes its entries changes these in the same way."""
        return self._totals if self._start_ms < pane <= self._end_ms else None
