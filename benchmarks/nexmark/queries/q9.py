"""Winning bids: each auction with its best bid, as better ones come."""

from __future__ import annotations

import msgspec
from tidegate.engine import Stream

from ..events import Event
from .winning import Offer, winning


class Row(msgspec.Struct, gc=False):
    """An auction and a bid."""

    id: int
    item_name: str
    description: str
    initial_bid: int
    reserve: int
    date_time: int
    expires: int
    seller: int
    category: int
    extra: str
    auction: int
    bidder: int
    price: int
    bid_date_time: int
    bid_extra: str


def row(offer: Offer) -> Row:
    """The row of an offer."""
    a, b = offer.auction, offer.bid
    return Row(
        a.id, a.item_name, a.description, a.initial_bid, a.reserve, a.date_time, a.expires, a.seller, a.category, a.extra,
        b.auction, b.bidder, b.price, b.date_time, b.extra,
    )  # fmt: skip


def query(events: Stream[Event]) -> Stream[Row]:
    """The best bid so far, after each bid."""
    return winning(events).map(row)
