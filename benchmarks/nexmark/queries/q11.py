"""User sessions: how often somebody bids before a break of ten seconds."""

from __future__ import annotations

from typing import Any

import msgspec
from tidegate.engine import Stream
from tidegate.operators import agg, windows

from ..events import Bid, Event


class Row(msgspec.Struct, gc=False):
    """A session."""

    bidder: int
    bid_count: int
    start_ms: int
    end_ms: int


def query(events: Stream[Event]) -> Stream[Row]:
    """The sessions of each bidder."""
    sessions: Stream[Any] = (
        events.of_type(Bid)
        .key_by("bidder", name="by-bidder")
        .window(windows.session("10s"))
        .aggregate(bid_count=agg.count(), name="sessions")
    )
    return sessions.map(lambda s: Row(s.key, s.bid_count, s.start_ms, s.end_ms))
