"""How records are grouped into windows, and when a window says what it holds.

An assigner says which windows a record belongs to; a trigger says when a window fires. Both are descriptions:
the window operators carry them out. Windows are half-open, `[start_ms, end_ms)`.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import gcd
from typing import TypeAlias

import msgspec

from .time import Duration, duration_ms, format_ms


class Window(msgspec.Struct, frozen=True):
    """The bounds of a window, in milliseconds since 1970 UTC, the end excluded.

    A count or global window has no bounds of its own: it spans the records it holds, `end_ms` being the
    newest one's timestamp + 1. Both are 0 when its records carry no timestamps.
    """

    start_ms: int
    end_ms: int


@dataclass(frozen=True)
class TimeWindows:
    """Tumbling or sliding windows: one of `size_ms` every `slide_ms`, aligned to `offset_ms` after 1970 UTC.

    Attributes:
        size_ms: length of a window.
        slide_ms: distance between the starts of two windows; equal to `size_ms` for tumbling windows.
        offset_ms: shift of all windows, less than `slide_ms`.
    """

    size_ms: int
    slide_ms: int
    offset_ms: int = 0

    @property
    def pane_ms(self) -> int:
        """The length of the pieces, called panes, of which every window is made."""
        return gcd(self.size_ms, self.slide_ms)

    def __str__(self) -> str:
        if self.size_ms == self.slide_ms:
            return f"tumbling({format_ms(self.size_ms)})"
        return f"sliding({format_ms(self.size_ms)} every {format_ms(self.slide_ms)})"


@dataclass(frozen=True)
class SessionWindows:
    """Windows that last as long as no gap of `gap_ms` opens between the records of a key."""

    gap_ms: int

    def __str__(self) -> str:
        return f"session({format_ms(self.gap_ms)})"


@dataclass(frozen=True)
class GlobalWindows:
    """One window per key, for ever."""

    def __str__(self) -> str:
        return "global"


@dataclass(frozen=True)
class CountWindows:
    """Windows of `n` records per key, in the order in which they come.

    Attributes:
        n: how many records make a window.
        partial: whether windows that are not full fire at the end of the stream.
    """

    n: int
    partial: bool = False

    def __str__(self) -> str:
        return f"count({self.n})"


Assigner: TypeAlias = TimeWindows | SessionWindows | GlobalWindows | CountWindows


def tumbling(size: Duration, *, offset: Duration = "0ms") -> TimeWindows:
    """Windows side by side: `tumbling("1h")`; `offset` shifts them (`tumbling("1d", offset="6h")` starts at
    six).

    Raises:
        ValueError: a duration is wrong, or `offset` is not less than `size`.
    """
    size_ms = _positive_ms(size, "a tumbling window's size")
    return TimeWindows(size_ms, size_ms, _offset_ms(offset, size_ms))


def sliding(size: Duration, slide: Duration, *, offset: Duration = "0ms") -> TimeWindows:
    """Windows that overlap: one of `size` starts every `slide`.

    A record costs the same however many windows it belongs to: it is counted in one pane, and panes are
    merged when a window fires. Panes are as long as the greatest common divisor of both: `sliding("1h",
    "7m")` has panes of one minute.

    Raises:
        ValueError: a duration is wrong, `slide` exceeds `size`, or `offset` is not less than `slide`.
    """
    size_ms = _positive_ms(size, "a sliding window's size")
    slide_ms = _positive_ms(slide, "a sliding window's slide")
    if slide_ms > size_ms:
        raise ValueError(
            f"windows of {format_ms(size_ms)} every {format_ms(slide_ms)} would leave gaps: slide must not exceed size"
        )
    return TimeWindows(size_ms, slide_ms, _offset_ms(offset, slide_ms))


def session(gap: Duration) -> SessionWindows:
    """Windows of activity: a session ends when a key is silent for `gap`. A record exactly `gap` after the
    last starts anew.

    Raises:
        ValueError: `gap` is not a positive duration.
    """
    return SessionWindows(_positive_ms(gap, "a session's gap"))


def global_() -> GlobalWindows:
    """One window per key that fires at the end of the stream, or as its trigger says."""
    return GlobalWindows()


def count(n: int, *, partial: bool = False) -> CountWindows:
    """Windows of `n` records per key; `partial=True` gives out those that are not full at the end of the
    stream.

    Raises:
        ValueError: `n` is less than 1.
    """
    return CountWindows(_positive_count(n), partial)


@dataclass(frozen=True)
class Trigger:
    """When a window fires.

    Attributes:
        final: whether it fires when the watermark reaches its end, and again per late record after that.
        every_ms: also so long after a record changed it, by processing time; None: not.
        every_count: also after so many records of a key; None: not.
        purging: whether a window forgets what it has given out. Otherwise each result holds everything so
            far.
    """

    final: bool = True
    every_ms: int | None = None
    every_count: int | None = None
    purging: bool = False


def on_watermark() -> Trigger:
    """Fire when the window is complete: when the watermark reaches its end. The usual trigger."""
    return Trigger()


def early(every: Duration | None = None, *, every_count: int | None = None, purging: bool = False) -> Trigger:
    """Fire before the window is complete too: every `every` of processing time, at full multiples, for keys
    whose window has changed; or after each `every_count` records of a key. The complete window fires in the
    end.

    Raises:
        ValueError: neither or both are given, or one is not positive.
    """
    if (every is None) == (every_count is None):
        raise ValueError('early takes either a duration, early(every="10s"), or a count, early(every_count=100)')
    if every is not None:
        return Trigger(every_ms=_positive_ms(every, "the interval of early"), purging=purging)
    assert every_count is not None
    return Trigger(every_count=_positive_count(every_count), purging=purging)


def on_count(n: int, *, purging: bool = False) -> Trigger:
    """Fire after each `n` records of a key, and only then: what is left over when the window ends is not
    given out.

    Raises:
        ValueError: `n` is less than 1.
    """
    return Trigger(final=False, every_count=_positive_count(n), purging=purging)


def _positive_ms(duration: Duration, what: str) -> int:
    milliseconds = duration_ms(duration)
    if milliseconds == 0:
        raise ValueError(f"{what} must be longer than 0ms")
    return milliseconds


def _offset_ms(offset: Duration, below_ms: int) -> int:
    milliseconds = duration_ms(offset)
    if milliseconds >= below_ms:
        raise ValueError(f"offset {format_ms(milliseconds)} must be less than {format_ms(below_ms)}")
    return milliseconds


def _positive_count(n: int) -> int:
    if n < 1:
        raise ValueError(f"a count of records must be at least 1, not {n}")
    return n
