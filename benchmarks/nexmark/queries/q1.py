"""Currency conversion: dollars to euros."""

from __future__ import annotations

import msgspec
from tidegate.engine import Stream

from ..events import Bid, Event


class Row(msgspec.Struct, gc=False):
    """A bid in euro cents."""

    auction: int
    bidder: int
    price: float
    date_time: int
    extra: str


def query(events: Stream[Event]) -> Stream[Row]:
    """The bids, each with another price."""
    return events.of_type(Bid).map(
        lambda bid: Row(bid.auction, bid.bidder, 0.908 * bid.price, bid.date_time, bid.extra)
    )
