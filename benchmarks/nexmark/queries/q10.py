"""Archive: the bids with the day and the minute under which they are filed."""

from __future__ import annotations

import msgspec
from tidegate.engine import Stream

from ..events import Bid, Event
from .days import day_of, minute_of


class Row(msgspec.Struct, gc=False):
    """A bid and its partition."""

    auction: int
    bidder: int
    price: int
    date_time: int
    extra: str
    dt: str
    hm: str


def filed(bid: Bid) -> Row:
    """Under the day and the minute of its time."""
    return Row(bid.auction, bid.bidder, bid.price, bid.date_time, bid.extra, day_of(bid), minute_of(bid))


def query(events: Stream[Event]) -> Stream[Row]:
    """The bids, filed."""
    return events.of_type(Bid).map(filed)
