"""Processing-time windows: how often somebody bids in ten seconds of the clock on the wall."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
from tidegate.engine import Stream
from tidegate.operators import ProcessContext, ProcessFunction, ValueState

from ..events import Bid, Event

WINDOW_MS = 10_000


class Row(msgspec.Struct, gc=False):
    """A bidder's bids in one window."""

    bidder: int
    bid_count: int
    start_ms: int
    end_ms: int


class Counting(ProcessFunction[Bid, Row]):
    """Counts until the window's end."""

    COUNT = ValueState("count", int)

    def states(self) -> list[ValueState[int]]:
        """How many have come in this window."""
        return [self.COUNT]

    def open(self, context: ProcessContext) -> None:
        """Take the handle."""
        self.count = context.state(self.COUNT)

    def process(self, value: Bid, context: ProcessContext) -> None:
        """One more; the first of a window sets its timer."""
        count = self.count.get()
        if count is None:
            count = 0
            now_ms = context.now_ms()
            context.timers.set_processing(now_ms - now_ms % WINDOW_MS + WINDOW_MS)
        self.count.set(count + 1)

    def on_timer(self, timestamp_ms: int, context: ProcessContext) -> Iterable[Row]:
        """The window has ended."""
        count = self.count.get() or 0
        self.count.clear()
        yield Row(context.key, count, timestamp_ms - WINDOW_MS, timestamp_ms)


def query(events: Stream[Event]) -> Stream[Row]:
    """The counts of each window."""
    return events.of_type(Bid).key_by("bidder", name="by-bidder").process(Counting(), name="counts")
