"""Bidding statistics: counts of bids, bidders and auctions per day, as they grow."""

from __future__ import annotations

from typing import Any

from tidegate.engine import Stream

from ..events import Bid, Event
from .days import day_of
from .prices import COUNTS, DISTINCT


def query(events: Stream[Event]) -> Stream[Any]:
    """One updated row per bid; `key` is the day."""
    return events.of_type(Bid).key_by(day_of, name="by-day").aggregate(**COUNTS, **DISTINCT, name="statistics")
