"""How records are grouped into windows, and when a window says what it holds.

An assigner says which windows a record belongs to; a trigger says when a window fires. Both are descriptions:
the window operators carry them out. Windows are half-open, `[start_ms, end_ms)`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import gcd
from typing import Any, Generic, TypeAlias, TypeVar

import msgspec

from .time import Duration, duration_ms, format_ms

T = TypeVar("T")
S = TypeVar("S")


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

    def closed_by(self, watermark_ms: int) -> int:
        """The end of the newest window that `watermark_ms` has closed. Panes up to it are in windows that have
        fired."""
        ends_from = self.offset_ms + self.size_ms
        return watermark_ms + 1 - (watermark_ms + 1 - ends_from) % self.slide_ms

    def spent_by(self, watermark_ms: int, allowed_lateness_ms: int) -> int:
        """The end of the newest pane that no window needs any more."""
        start = watermark_ms + 1 - allowed_lateness_ms - self.size_ms
        return start - (start - self.offset_ms) % self.slide_ms + self.slide_ms

    def ends_of(self, panes: Sequence[int], after: int, until: int) -> list[int]:
        """The ends of the windows with one of `panes` in them, ascending, from behind `after` up to `until`."""
        size_ms, slide_ms = self.size_ms, self.slide_ms
        ends: list[int] = []
        coming = after + 1
        for pane in panes:
            if coming > until:
                break
            start = pane - self.pane_ms
            last = start - (start - self.offset_ms) % slide_ms + size_ms
            lowest = max(pane, coming)
            # Window ends lie on the grid of starts, moved by the size.
            first = lowest + (self.offset_ms + size_ms - lowest) % slide_ms
            ends += range(first, min(last, until) + 1, slide_ms)
            coming = max(coming, min(last, until) + 1)
        return ends

    def __str__(self) -> str:
        if self.size_ms == self.slide_ms:
            return f"tumbling({format_ms(self.size_ms)})"
        return f"sliding({format_ms(self.size_ms)} every {format_ms(self.slide_ms)})"


@dataclass(frozen=True)
class CumulativeWindows(TimeWindows):
    """Windows that begin together and end one step apart: `size_ms` is the longest, `slide_ms` the step."""

    @property
    def pane_ms(self) -> int:
        """The length of the pieces, called panes, of which every window is made."""
        return self.slide_ms

    def __str__(self) -> str:
        return f"cumulative({format_ms(self.size_ms)} by {format_ms(self.slide_ms)})"


@dataclass(frozen=True)
class SessionWindows:
    """Windows that last as long as no gap of `gap_ms` opens between the records of a key.

    Attributes:
        gap_ms: the gap; 0 where each record has its own.
        gap_of: the gap after a record, where each has its own.
    """

    gap_ms: int
    gap_of: Callable[[Any], Duration] | None = None

    def __str__(self) -> str:
        return f"session({format_ms(self.gap_ms)})" if self.gap_of is None else "session(gap of each record)"


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
        every: after how many records a window fires; equal to `n` for windows side by side.
    """

    n: int
    partial: bool = False
    every: int | None = None

    def __str__(self) -> str:
        return f"count({self.n})" if self.every is None else f"count({self.n} every {self.every})"


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


def cumulative(max: Duration, step: Duration, *, offset: Duration = "0ms") -> CumulativeWindows:
    """Windows that grow: `cumulative(max="1d", step="1h")` gives the day so far at every hour. Each begins where the
    longest does; one ends after every `step`, and after `max` all begin anew.

    Each fires for all keys that have records in it, also those without one in its last step. A record costs one update,
    in the pane of its step.

    Raises:
        ValueError: a duration is wrong, `max` is not a multiple of `step`, or `offset` is not less than `max`.
    """
    max_ms = _positive_ms(max, "a cumulative window's longest size")
    step_ms = _positive_ms(step, "a cumulative window's step")
    if max_ms % step_ms:
        raise ValueError(
            f"windows up to {format_ms(max_ms)} cannot grow by {format_ms(step_ms)}: max must be a multiple"
        )
    return CumulativeWindows(max_ms, step_ms, _offset_ms(offset, max_ms))


def session(gap: Duration | Callable[[Any], Duration]) -> SessionWindows:
    """Windows of activity: a session ends when a key is silent for `gap`. A record exactly `gap` after the
    last starts anew. With a function of the record each has a gap of its own: the session ends when the longest that a
    record of it has opened is over.

    Raises:
        ValueError: `gap` is not a positive duration.
    """
    return SessionWindows(0, gap) if callable(gap) else SessionWindows(_positive_ms(gap, "a session's gap"))


@lru_cache(maxsize=1024)
def gap_ms(gap: Duration) -> int:
    """The gap of a record, in milliseconds.

    Raises:
        ValueError: it is not a positive duration.
    """
    return _positive_ms(gap, "a session's gap")


def global_() -> GlobalWindows:
    """One window per key that fires at the end of the stream, or as its trigger says."""
    return GlobalWindows()


def count(n: int, *, every: int | None = None, partial: bool = False) -> CountWindows:
    """Windows of `n` records per key, side by side; with `every` one over the last `n` after every so many records.
    `partial=True` also gives out those that are not full: with `every` those of the first records, and in both cases
    what is left at the end of the stream.

    Raises:
        ValueError: `n` or `every` is less than 1, or `every` is more than `n`.
    """
    if every is None or every == n:
        return CountWindows(_positive_count(n), partial)
    if _positive_count(every) > _positive_count(n):
        raise ValueError(f"windows of {n} records every {every} would leave gaps: every must not exceed n")
    return CountWindows(n, partial, every)


class CustomTrigger(Generic[T, S]):
    """What a user subclasses to have windows fire by a rule of their own: see `custom`.

    The object describes: what changes is the state that `on_record` is given and gives back. It is kept per key and
    window, is part of every checkpoint, and goes with its window.

    >>> class Jump(CustomTrigger[float, float]):
    ...     '''Fires when a value differs from the key's last one by more than 10.'''
    ...     state_type = float
    ...     def on_record(self, state, value, timestamp_ms):
    ...         return value, state is not None and abs(value - state) > 10
    >>> custom(Jump(), purging=True).purging
    True
    """

    state_type: Any = Any
    """The type of the state, for storing it: anything msgspec can encode."""

    def on_record(self, state: S | None, value: T, timestamp_ms: int) -> tuple[S | None, bool]:
        """A record has gone into a window: the new state, and whether the window fires for its key now.

        Args:
            state: what the last call gave; None for the window's first record.
            value: the record.
            timestamp_ms: its timestamp; 0 in a topology without event time.
        """
        raise TypeError(f"{type(self).__name__} does not say when windows fire: define on_record()")


@dataclass(frozen=True)
class Trigger:
    """When a window fires.

    Attributes:
        final: whether it fires when the watermark reaches its end, and again per late record after that.
        every_ms: also so long after a record changed it, by processing time; None: not.
        every_count: also after so many records of a key; None: not.
        custom: also when a rule of the user's says so; None: not.
        purging: whether a window forgets what it has given out. Otherwise each result holds everything so
            far.
    """

    final: bool = True
    every_ms: int | None = None
    every_count: int | None = None
    purging: bool = False
    custom: CustomTrigger[Any, Any] | None = None


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


def custom(trigger: CustomTrigger[Any, Any], *, final: bool = True, purging: bool = False) -> Trigger:
    """Fire when `trigger` says so, for the key of the record that it was asked about. For tumbling and global windows.

    Args:
        trigger: an object of a subclass of `CustomTrigger`.
        final: whether a window also fires when it is complete, and per late record after that.
        purging: whether a window forgets what it has given out.

    Raises:
        TypeError: `trigger` is not such an object.
    """
    if not isinstance(trigger, CustomTrigger):
        raise TypeError(f"custom takes an object of a subclass of CustomTrigger, not {trigger!r}")
    return Trigger(final=final, purging=purging, custom=trigger)


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
