"""Bounded side input: each bid with what a small, fixed table says of its auction."""

from __future__ import annotations

import msgspec
from tidegate.engine import Stream

from ..events import Bid, Event

SIDE_INPUT = {key: f"value-{key}" for key in range(10_000)}


class Row(msgspec.Struct, gc=False):
    """A bid and the entry of the table."""

    auction: int
    bidder: int
    price: int
    date_time: int
    value: str


def query(events: Stream[Event]) -> Stream[Row]:
    """The bids, enriched."""
    return events.of_type(Bid).map(
        lambda bid: Row(bid.auction, bid.bidder, bid.price, bid.date_time, SIDE_INPUT[bid.auction % 10_000])
    )
