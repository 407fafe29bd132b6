"""Expand bids: those for auctions of one category, with all that is known of the auction."""

from __future__ import annotations

import msgspec
from tidegate.engine import Stream

from ..events import Auction, Bid, Event


class Row(msgspec.Struct, gc=False):
    """A bid and its auction."""

    auction: int
    bidder: int
    price: int
    channel: str
    url: str
    bid_date_time: int
    bid_extra: str
    item_name: str
    description: str
    initial_bid: int
    reserve: int
    auction_date_time: int
    expires: int
    seller: int
    category: int
    auction_extra: str


def row(b: Bid, a: Auction) -> Row:
    """The row of a pair."""
    return Row(
        b.auction, b.bidder, b.price, b.channel, b.url, b.date_time, b.extra, a.item_name, a.description, a.initial_bid,
        a.reserve, a.date_time, a.expires, a.seller, a.category, a.extra,
    )  # fmt: skip


def query(events: Stream[Event]) -> Stream[Row]:
    """The bids within an hour of their auction's begin, before it too: some come early."""
    bids = events.of_type(Bid).key_by("auction", name="by-auction")
    auctions = events.of_type(Auction).filter(lambda a: a.category == 10).key_by("id", name="by-id")
    return bids.interval_join(auctions, lower="-1h", upper="1h", select=row, name="expanded")
