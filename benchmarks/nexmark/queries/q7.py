"""Highest bid: of every ten seconds."""

from __future__ import annotations

import msgspec
from tidegate.engine import Stream
from tidegate.operators import windows

from ..events import Bid, Event


class Row(msgspec.Struct, gc=False):
    """A bid that nobody outbid in its ten seconds."""

    auction: int
    price: int
    bidder: int
    date_time: int
    extra: str


def highest(so_far: list[Bid], bid: Bid) -> list[Bid]:
    """The bids of the highest price."""
    if not so_far or bid.price > so_far[0].price:
        return [bid]
    return [*so_far, bid] if bid.price == so_far[0].price else so_far


def query(events: Stream[Event]) -> Stream[Row]:
    """The highest bids of each window."""
    found = (
        events.of_type(Bid)
        .key_by(lambda bid: 0, name="together")
        .window(windows.tumbling("10s"))
        .fold(list, highest, type=list[Bid], name="highest")
    )
    return found.flat_map(lambda w: [Row(b.auction, b.price, b.bidder, b.date_time, b.extra) for b in w.value])
