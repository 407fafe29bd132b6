"""Selection: the bids for some auctions."""

from __future__ import annotations

import msgspec
from tidegate.engine import Stream

from ..events import Bid, Event


class Row(msgspec.Struct, gc=False):
    """What was offered."""

    auction: int
    price: int


def query(events: Stream[Event]) -> Stream[Row]:
    """One bid in 123, or so."""
    return events.of_type(Bid).filter(lambda bid: bid.auction % 123 == 0).map(lambda bid: Row(bid.auction, bid.price))
