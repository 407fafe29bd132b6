"""Average selling price by seller: of the last ten auctions that have closed."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
from tidegate.engine import Stream
from tidegate.operators import ProcessContext, ProcessFunction, ValueState, agg

from ..events import Event
from .winning import Offer, winning


class Sold(msgspec.Struct, gc=False):
    """An auction that has closed with a bid."""

    seller: int
    closed: tuple[int, int]
    price: int


class Row(msgspec.Struct, gc=False):
    """A seller's average."""

    seller: int
    avg_price: float


class Closing(ProcessFunction[Offer, Sold]):
    """Keeps the best offer for an auction until that closes."""

    BEST = ValueState("best", Offer)

    def states(self) -> list[ValueState[Offer]]:
        """The best offer so far."""
        return [self.BEST]

    def open(self, context: ProcessContext) -> None:
        """Take the handle."""
        self.best = context.state(self.BEST)

    def process(self, value: Offer, context: ProcessContext) -> None:
        """Better ones come later."""
        self.best.set(value)
        context.timers.set_event(value.auction.expires)

    def on_timer(self, timestamp_ms: int, context: ProcessContext) -> Iterator[Sold]:
        """It closes."""
        best = self.best.get()
        self.best.clear()
        if best is not None:
            yield Sold(best.auction.seller, (best.auction.expires, best.auction.id), best.bid.price)


def average(sold: list[Sold]) -> float:
    """Their average price."""
    return sum(one.price for one in sold) / len(sold)


def query(events: Stream[Event]) -> Stream[Row]:
    """A seller's average, whenever an auction has closed."""
    sold = winning(events).process(Closing(), name="closing")
    last = sold.key_by("seller", name="by-seller").aggregate(sold=agg.top_n(10, "closed", type=Sold), name="last-ten")
    return last.map(lambda result: Row(result.key, average(result.sold)))
