"""Channel statistics: counts of bids, bidders and auctions per channel and day, as they grow."""

from __future__ import annotations

from typing import Any

from tidegate.engine import Stream
from tidegate.operators import agg

from ..events import Bid, Event
from .days import day_of, minute_of
from .prices import COUNTS, DISTINCT


def query(events: Stream[Event]) -> Stream[Any]:
    """One updated row per bid; `key` is channel and day."""
    return (
        events.of_type(Bid)
        .key_by(lambda bid: (bid.channel, day_of(bid)), name="by-channel")
        .aggregate(minute=agg.max(minute_of), **COUNTS, **DISTINCT, name="statistics")
    )
