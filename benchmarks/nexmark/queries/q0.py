"""Pass through: what reading and writing costs."""

from __future__ import annotations

import msgspec
from tidegate.engine import Stream

from ..events import Bid, Event


class Row(msgspec.Struct, gc=False):
    """A bid without channel and URL."""

    auction: int
    bidder: int
    price: int
    date_time: int
    extra: str


def query(events: Stream[Event]) -> Stream[Row]:
    """The bids."""
    return events.of_type(Bid).map(lambda bid: Row(bid.auction, bid.bidder, bid.price, bid.date_time, bid.extra))
