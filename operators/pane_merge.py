"""Sliding windows from panes, at a cost per window that does not grow with the overlap."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

Entries: TypeAlias = dict[Any, Any]
"""key → accumulator."""


class PaneMerge:
    """Merges the panes of each window, windows asked for in order of time.

    Time is cut into blocks as long as a window. A window is the end of one block and the beginning of the
    next: for each block the merged ends are made once, going backwards, and the beginning grows as windows go
    forward. So each pane is merged about three times, however many windows it belongs to. What is held beside
    the panes is dropped by `forget` and made anew when it is needed; a block of more than `limit` entries is
    merged plainly, without holding anything.

    Args:
        size_ms: length of a window.
        offset_ms: where windows are aligned.
        read: the entries of the pane that ends at a time; not changed.
        merge: `merge(acc, later)` takes the second accumulator into the first.
        copy: an independent copy of an accumulator.
        limit: how many entries the ends of a block may have in all.
    """

    def __init__(
        self,
        size_ms: int,
        offset_ms: int,
        read: Callable[[int], Entries],
        merge: Callable[[Any, Any], None],
        copy: Callable[[Any], Any],
        *,
        limit: int = 500_000,
    ) -> None:
        self._size_ms = size_ms
        self._offset_ms = offset_ms
        self._read = read
        self._merge = merge
        self._copy = copy
        self._limit = limit
        self.forget()

    def forget(self) -> None:
        """A pane that was merged before has changed."""
        self._block_ms: int | None = None
        self._ends: dict[int, Entries] = {}
        self._beginning: Entries = {}
        self._grown_to_ms: int | None = None

    def window(self, end_ms: int, panes: Sequence[int]) -> Entries:
        """The entries of the window that ends at `end_ms`, made of `panes`, which are ascending pane ends.
        Not to be changed, and valid until the next call."""
        block_ms = end_ms - (end_ms - self._offset_ms) % self._size_ms
        first = [pane for pane in panes if pane <= block_ms]
        second = [pane for pane in panes if pane > block_ms]
        if block_ms != self._block_ms and not self._start(block_ms, first):
            return self.plainly(panes)
        ending = self._ending(first)
        beginning = self._grow(second)
        if not beginning or not ending:
            return ending or beginning
        merged = dict(ending)
        for key, acc in beginning.items():
            before = ending.get(key)
            if before is None:
                merged[key] = acc
            else:
                whole = merged[key] = self._copy(before)
                self._merge(whole, acc)
        return merged

    def _start(self, block_ms: int, panes: Sequence[int]) -> bool:
        """Make the ends of the block that ends at `block_ms`; False when they would be too large."""
        self.forget()
        ending: Entries = {}
        size = 0
        for pane in reversed(panes):
            entries = self._read(pane)
            longer = dict(ending)
            for key, acc in entries.items():
                after = ending.get(key)
                if after is None:
                    longer[key] = acc
                else:
                    whole = longer[key] = self._copy(acc)
                    self._merge(whole, after)
            ending = self._ends[pane] = longer
            size += len(longer)
            if size > self._limit:
                self.forget()
                return False
        self._block_ms = block_ms
        return True

    def _ending(self, panes: Sequence[int]) -> Entries:
        if not panes:
            self._ends.clear()
            return {}
        for pane in [pane for pane in self._ends if pane < panes[0]]:
            del self._ends[pane]
        return self._ends[panes[0]]

    def _grow(self, panes: Sequence[int]) -> Entries:
        beginning = self._beginning
        for pane in panes:
            if self._grown_to_ms is not None and pane <= self._grown_to_ms:
                continue
            for key, acc in self._read(pane).items():
                before = beginning.get(key)
                if before is None:
                    beginning[key] = self._copy(acc)
                else:
                    self._merge(before, acc)
            self._grown_to_ms = pane
        return beginning

    def plainly(self, panes: Sequence[int]) -> Entries:
        """The entries of `panes` merged one after the other, without holding anything for the next window."""
        merged: Entries = {}
        for pane in panes:
            for key, acc in self._read(pane).items():
                before = merged.get(key)
                if before is None:
                    merged[key] = self._copy(acc)
                else:
                    self._merge(before, acc)
        return merged
