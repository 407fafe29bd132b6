"""Sliding windows from panes, at a cost per window that does not grow with the overlap."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

Entries: TypeAlias = dict[Any, Any]
"""key → accumulator."""


@dataclass(frozen=True)
class Merging:
    """How accumulators are put together, one by one and by the dict.

    Attributes:
        merge: `merge(acc, later)` takes the second accumulator into the first.
        copy: an independent copy of an accumulator.
        merge_all: `merge_all(totals, entries)` takes copies of those of the later dict into the first, which is changed.
        put_before: `put_before(ending, entries, without)` puts those of the earlier `entries` in front of those in
            `ending`, and what stood there into `without`, None where nothing did. No accumulator is changed.
        joined: `joined(ending, beginning)` is both in a new dict, the first being earlier. Nothing is changed.
    """

    merge: Callable[[Any, Any], None]
    copy: Callable[[Any], Any]
    merge_all: Callable[[Entries, Entries], None]
    put_before: Callable[[Entries, Entries, Entries], None]
    joined: Callable[[Entries, Entries], Entries]


class PaneMerge:
    """Merges the panes of each window, windows asked for in order of time.

    Time is cut into blocks as long as a window. A window is the end of one block and the beginning of the
    next: for each block the merged ends are made once, going backwards, and the beginning grows as windows go
    forward. So each pane is merged about three times, however many windows it belongs to. What is held beside
    the panes is as many entries as these have: of each pane what its keys had come to without it. A block of more
    than `limit` entries is merged plainly, without holding anything.

    Args:
        size_ms: length of a window.
        offset_ms: where windows are aligned.
        read: the entries of the pane that ends at a time; not changed.
        get: the accumulator of the pane that ends at a time, and a key; None when there is none.
        merging: how.
        limit: how many entries the panes of a block may have in all.
    """

    def __init__(
        self,
        size_ms: int,
        offset_ms: int,
        read: Callable[[int], Entries],
        get: Callable[[int, Any], Any],
        merging: Merging,
        *,
        limit: int = 500_000,
    ) -> None:
        self._size_ms = size_ms
        self._offset_ms = offset_ms
        self._read = read
        self._get = get
        self._how = merging
        self._limit = limit
        self._forget()

    def _forget(self) -> None:
        self._block_ms: int | None = None
        self._without: list[tuple[int, Entries]] = []  # pane → what its keys come to without it; the latest pane first
        self._ending: Entries = {}
        self._beginning: Entries = {}
        self._grown: list[int] = []
        self._changed: dict[Any, None] = {}
        self._passed_ms = 0  # no window needs panes up to here; of no meaning without a block

    def window(self, end_ms: int, panes: Sequence[int]) -> Entries:
        """The entries of the window that ends at `end_ms`, made of `panes`, which are ascending pane ends.
        Not to be changed, and valid until the next call."""
        block_ms = end_ms - (end_ms - self._offset_ms) % self._size_ms
        middle = bisect_right(panes, block_ms)
        if block_ms != self._block_ms and not self._start(block_ms, panes[:middle]):
            return self.plainly(panes)
        self._passed_ms = end_ms - self._size_ms
        self._shorten(panes[0] if middle else None)
        self._grow(panes, middle)
        self._mend()
        ending, beginning = self._ending, self._beginning
        if not beginning or not ending:
            return ending or beginning
        return self._how.joined(ending, beginning)

    def changed(self, pane: int, key: Any) -> None:
        """An accumulator has changed in a pane that may have been merged before."""
        if self._block_ms is None or pane <= self._passed_ms:
            return
        if pane <= self._block_ms:
            known = any(held == pane for held, _ in self._without)
        elif not self._grown or pane > self._grown[-1]:
            return  # it has not been merged yet
        else:
            known = _holds(self._grown, pane)
        if known:
            self._changed[key] = None
        else:
            self._forget()

    def plainly(self, panes: Sequence[int]) -> Entries:
        """The entries of `panes` merged one after the other, without holding anything for the next window."""
        merged: Entries = {}
        for pane in panes:
            self._how.merge_all(merged, self._read(pane))
        return merged

    def _start(self, block_ms: int, panes: Sequence[int]) -> bool:
        """Make the end of the block that ends at `block_ms`; False when it would be too large."""
        self._forget()
        ending = self._ending
        size = 0
        for pane in reversed(panes):
            without: Entries = {}
            self._how.put_before(ending, self._read(pane), without)
            self._without.append((pane, without))
            size += len(without)
            if size > self._limit:
                self._forget()
                return False
        self._block_ms = block_ms
        return True

    def _shorten(self, first: int | None) -> None:
        """The end of the block without the panes in front of `first`."""
        ending = self._ending
        while self._without and (first is None or self._without[-1][0] < first):
            for key, after in self._without.pop()[1].items():
                if after is None:
                    del ending[key]
                else:
                    ending[key] = after

    def _grow(self, panes: Sequence[int], middle: int) -> None:
        beginning, grown = self._beginning, self._grown
        for index in range(bisect_right(panes, grown[-1]) if grown else middle, len(panes)):
            self._how.merge_all(beginning, self._read(panes[index]))
            grown.append(panes[index])

    def _mend(self) -> None:
        """Make what is held of the changed keys anew."""
        for key in self._changed:
            after = None
            for pane, without in self._without:
                acc = self._get(pane, key)
                if acc is not None:
                    without[key] = after
                    after = acc if after is None else self._both(acc, after)
            if after is not None:
                self._ending[key] = after
            found = [acc for acc in [self._get(pane, key) for pane in self._grown] if acc is not None]
            if found:
                whole = self._beginning[key] = self._how.copy(found[0])
                for acc in found[1:]:
                    self._how.merge(whole, acc)
        self._changed.clear()

    def _both(self, acc: Any, later: Any) -> Any:
        whole = self._how.copy(acc)
        self._how.merge(whole, later)
        return whole


def merge_of_key(
    ends: Sequence[int],
    start_of: Callable[[int], int],
    pane_ms: int,
    get: Callable[[int], Any],
    merging: Merging,
) -> Iterator[tuple[int, Any]]:
    """The windows of one key as (end, accumulator); those without any are left out. An accumulator is not to be changed.

    Windows that have a pane in common are put together from what stands before and behind the end of the first of them:
    the panes of overlapping windows are merged about three times, however many windows there are.

    Args:
        ends: of the windows, ascending.
        start_of: where the window with an end starts.
        pane_ms: length of a pane.
        get: the accumulator of the pane that ends at a time, if there is one.
        merging: how.
    """

    def both(acc: Any, later: Any) -> Any:
        if acc is None or later is None:
            return later if acc is None else acc
        whole = merging.copy(acc)
        merging.merge(whole, later)
        return whole

    at = 0
    while at < len(ends):
        middle = ends[at]
        first = at
        while at < len(ends) and start_of(ends[at]) < middle:
            at += 1
        group = ends[first:at]
        behind: list[Any] = []
        grown, pane = None, middle
        for end in group:
            while pane < end:
                pane += pane_ms
                grown = both(grown, get(pane))
            behind.append(grown)
        before: list[Any] = []
        grown, pane = None, middle
        for end in reversed(group):
            while pane > start_of(end):
                grown = both(get(pane), grown)
                pane -= pane_ms
            before.append(grown)
        for end, earlier, later in zip(group, reversed(before), behind, strict=True):
            acc = both(earlier, later)
            if acc is not None:
                yield end, acc


def _holds(ascending: Sequence[int], item: int) -> bool:
    index = bisect_right(ascending, item)
    return index > 0 and ascending[index - 1] == item
