"""Auction top ten: the highest bids of each auction, as they come and go."""

from __future__ import annotations

from tidegate.engine import Stream
from tidegate.operators import Change

from ..events import Bid, Event


def query(events: Stream[Event]) -> Stream[Change[Bid]]:
    """What comes among the ten highest, and what it drives out."""
    return events.of_type(Bid).key_by("auction", name="by-auction").top_n(10, "price", name="highest")
