"""Directories of URLs."""

from __future__ import annotations

import msgspec
from tidegate.engine import Stream

from ..events import Bid, Event


class Row(msgspec.Struct, gc=False):
    """A bid and the first three folders of its URL."""

    auction: int
    bidder: int
    price: int
    channel: str
    dir1: str
    dir2: str
    dir3: str


def row(bid: Bid) -> Row:
    """The row of a bid."""
    _, _, _, dir1, dir2, dir3, *_ = bid.url.split("/")
    return Row(bid.auction, bid.bidder, bid.price, bid.channel, dir1, dir2, dir3)


def query(events: Stream[Event]) -> Stream[Row]:
    """The bids, with their folders."""
    return events.of_type(Bid).map(row)
