"""The winning bids, which q4 and q9 ask for: of each auction the highest while it is open, and of these the first."""

from __future__ import annotations

import msgspec
from tidegate.engine import Stream

from ..events import Auction, Bid, Event


class Offer(msgspec.Struct, gc=False):
    """A bid for an auction that is open."""

    auction: Auction
    bid: Bid


def better(so_far: Offer, offer: Offer) -> Offer:
    """The higher of two; of equal ones the earlier."""
    best, bid = so_far.bid, offer.bid
    if bid.price > best.price or (bid.price == best.price and bid.date_time < best.date_time):
        return offer
    return so_far


def winning(events: Stream[Event]) -> Stream[Offer]:
    """The best offer so far, after each; an auction is open for less than an hour."""
    auctions = events.of_type(Auction).key_by("id", name="by-id")
    bids = events.of_type(Bid).key_by("auction", name="by-auction")
    offers = auctions.interval_join(bids, lower="0s", upper="1h", select=Offer, name="offers")
    return offers.filter(lambda o: o.bid.date_time <= o.auction.expires, name="in-time").reduce(
        better, name="best", type=Offer
    )
