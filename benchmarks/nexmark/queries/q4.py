"""Average price for a category: of the winning bids, as they change."""

from __future__ import annotations

from typing import Any

from tidegate.engine import Stream
from tidegate.operators import Change, agg

from ..events import Event
from .winning import winning


def query(events: Stream[Event]) -> Stream[Change[Any]]:
    """The changes of each category's average; `key` is the category."""
    return (
        winning(events)
        .to_changes(name="changes")
        .key_by(lambda change: change.value.auction.category, name="by-category")
        .aggregate(final=agg.mean(lambda offer: offer.bid.price), name="average")
    )
