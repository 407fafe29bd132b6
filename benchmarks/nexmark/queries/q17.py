"""Auction statistics: counts and prices per auction and day, as they grow."""

from __future__ import annotations

from typing import Any

from tidegate.engine import Stream
from tidegate.operators import agg

from ..events import Bid, Event
from .days import day_of
from .prices import COUNTS


def query(events: Stream[Event]) -> Stream[Any]:
    """One updated row per bid; `key` is auction and day."""
    return (
        events.of_type(Bid)
        .key_by(lambda bid: (bid.auction, day_of(bid)), name="by-auction")
        .aggregate(
            **COUNTS,
            min_price=agg.min("price"),
            max_price=agg.max("price"),
            avg_price=agg.mean("price"),
            sum_price=agg.sum("price"),
            name="statistics",
        )
    )
