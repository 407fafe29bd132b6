"""Calculation: bids of some size, with the time of day and a count of letters."""

from __future__ import annotations

import msgspec
from tidegate.engine import Stream

from ..events import Bid, Event

HOUR_MS = 3_600_000


class Row(msgspec.Struct, gc=False):
    """A bid, and what was worked out of it."""

    auction: int
    bidder: int
    price: float
    bid_time_type: str
    date_time: int
    extra: str
    c_counts: int


def time_type(date_time: int) -> str:
    """Day, night, or what is between."""
    hour = date_time // HOUR_MS % 24
    if 8 <= hour <= 18:
        return "dayTime"
    return "nightTime" if hour <= 6 or hour >= 20 else "otherTime"


def row(bid: Bid) -> Row:
    """The row of a bid."""
    return Row(
        bid.auction,
        bid.bidder,
        0.908 * bid.price,
        time_type(bid.date_time),
        bid.date_time,
        bid.extra,
        bid.extra.count("c"),
    )


def query(events: Stream[Event]) -> Stream[Row]:
    """The bids of more than a million and less than fifty."""
    return events.of_type(Bid).filter(lambda bid: 1_000_000 < 0.908 * bid.price < 50_000_000).map(row)
