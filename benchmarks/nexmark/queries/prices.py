"""How q15 to q17 group bids by price, and by day."""

from __future__ import annotations

from typing import Any

from tidegate.operators import agg
from tidegate.operators.aggregate import Aggregate

from ..events import Bid


def is_low(bid: Bid) -> bool:
    """Below a hundred dollars."""
    return bid.price < 10_000


def is_middle(bid: Bid) -> bool:
    """Below ten thousand."""
    return 10_000 <= bid.price < 1_000_000


def is_high(bid: Bid) -> bool:
    """What remains."""
    return bid.price >= 1_000_000


RANKS = {"rank1": is_low, "rank2": is_middle, "rank3": is_high}

COUNTS: dict[str, Aggregate[Bid, Any]] = {
    "total_bids": agg.count(),
    **{f"{rank}_bids": agg.count().where(holds) for rank, holds in RANKS.items()},
}
"""How many bids of each rank."""

DISTINCT: dict[str, Aggregate[Bid, Any]] = {
    f"{name}_{field}s": made
    for field in ("bidder", "auction")
    for name, made in [
        ("total", agg.count_distinct(field)),
        *[(rank, agg.count_distinct(field).where(holds)) for rank, holds in RANKS.items()],
    ]
}
"""How many different bidders, and auctions, of each rank."""
