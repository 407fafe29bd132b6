"""Ten-second tumbling window with a Python function per bid."""

from __future__ import annotations

import msgspec
from tidegate.engine import Topology
from tidegate.operators import agg, windows

from ..data import Bid
from ..loops import window_with_function as loop
from ..scenario import Setup
from .compared import against_loop, bids_topology, json_lines


class Sale(msgspec.Struct, gc=False):
    """What the function makes of a bid."""

    auction: int
    bucket: str
    price: int


def sale(bid: Bid) -> Sale:
    """The price in euros, and its bucket."""
    price, bucket = loop.converted(bid.price)
    return Sale(bid.auction, bucket, price)


def topology(setup: Setup, side: str) -> Topology:
    """Count and sum per auction, bucket and ten seconds."""
    made, bids = bids_topology("window-with-function", setup)
    results = (
        bids.map(sale)
        .key_by(("auction", "bucket"))
        .window(windows.tumbling("10s"))
        .aggregate(n=agg.count(), total=agg.sum("price"), name="totals")
    )
    results.sink("out", json_lines(setup, side))
    return made


SCENARIO = against_loop(
    "window-with-function",
    "the same window with a Python function per record and a key of two fields",
    topology,
    loop.run,
    note="The engine's function makes an object for each bid, the loop's gives two values.",
)
