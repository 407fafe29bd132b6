"""Cumulative windows per key: the day so far at every hour."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

from .pane_merge import Entries
from .window import WindowOperator


class CumulativeWindowOperator(WindowOperator):
    """Aggregates per key and cumulative window.

    Everything that `WindowOperator` says of sliding windows holds; a window ends after every step of the longest and
    begins where that does. A late record within the allowed lateness fires all windows of its key again that it falls
    into and that have fired.

    A record costs one update, in the pane of its step. Firing a window merges the pane of its last step into what has
    grown so far. State: one accumulator per key and step that has records, until the longest window is over.

    Arguments and errors as `WindowOperator`, with `windows.cumulative(…)`.
    """

    _slides = False

    def _start(self, end: int) -> int:
        return end - 1 - (end - 1 - self.assigner.offset_ms) % self.assigner.size_ms

    def _closed(self, watermark_ms: int) -> int:
        return watermark_ms + 1 - (watermark_ms + 1 - self.assigner.offset_ms) % self.assigner.slide_ms

    def _spent(self, watermark_ms: int) -> int:
        passed = watermark_ms + 1 - self.allowed_lateness_ms
        return passed - (passed - self.assigner.offset_ms) % self.assigner.size_ms

    def _ends(self, panes: Sequence[int], after: int, until: int) -> list[int]:
        step_ms = self.assigner.slide_ms
        ends: list[int] = []
        coming = after + 1
        for pane in panes:
            if coming > until:
                break
            last = self._start(pane) + self.assigner.size_ms
            lowest = max(pane, coming)
            first = lowest + (pane - lowest) % step_ms
            ends += range(first, min(last, until) + 1, step_ms)
            coming = max(coming, min(last, until) + 1)
        return ends

    def _window(self, end: int, panes: Sequence[int]) -> Entries:
        own = panes[bisect_right(panes, self._start(end)) : bisect_right(panes, end)]
        # One moment earlier also the longest window belongs to the block that it ends.
        return self._merged.window(end - 1, own)
