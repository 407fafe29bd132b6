"""Channel ids: known channels by name, the others by what their URL says."""

from __future__ import annotations

import re
from collections.abc import Iterator

import msgspec
from tidegate.engine import Stream

from ..events import Bid, Event

IDS = {"apple": "0", "google": "1", "facebook": "2", "baidu": "3"}
CHANNEL_ID = re.compile(r"(?:&|^)channel_id=([^&]*)")


class Row(msgspec.Struct, gc=False):
    """A bid and the id of its channel."""

    auction: int
    bidder: int
    price: int
    channel: str
    channel_id: str


def rows(bid: Bid) -> Iterator[Row]:
    """None where no id is found."""
    channel_id = IDS.get(bid.channel.lower())
    if channel_id is None:
        found = CHANNEL_ID.search(bid.url)
        if found is None or not found[1]:
            return
        channel_id = found[1]
    yield Row(bid.auction, bid.bidder, bid.price, bid.channel, channel_id)


def query(events: Stream[Event]) -> Stream[Row]:
    """The bids whose channel has an id."""
    return events.of_type(Bid).flat_map(rows)
