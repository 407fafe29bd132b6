"""Last bid: the newest of each bidder for each auction."""

from __future__ import annotations

from tidegate.engine import Stream

from ..events import Bid, Event


def newer(so_far: Bid, bid: Bid) -> Bid:
    """Of two of the same time the one that came later."""
    return bid if bid.date_time >= so_far.date_time else so_far


def query(events: Stream[Event]) -> Stream[Bid]:
    """One updated row per bid."""
    return (
        events.of_type(Bid)
        .key_by(("bidder", "auction"), name="by-bidder-and-auction")
        .reduce(newer, name="newest", type=Bid)
    )
