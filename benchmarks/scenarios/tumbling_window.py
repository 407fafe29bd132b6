"""Ten-second tumbling window over JSON bids."""

from __future__ import annotations

from tidegate.engine import Topology
from tidegate.operators import agg, windows

from ..loops import tumbling_window as loop
from ..scenario import Setup
from .compared import OF_THE_LOOP, against_loop, bids_topology, json_lines


def topology(setup: Setup, side: str) -> Topology:
    """Count and sum of prices per auction and ten seconds."""
    made, bids = bids_topology("tumbling-window", setup)
    results = (
        bids.key_by("auction")
        .window(windows.tumbling("10s"))
        .aggregate(n=agg.count(), total=agg.sum("price"), name="totals")
    )
    results.sink("out", json_lines(setup, side))
    return made


SCENARIO = against_loop(
    "tumbling-window",
    "10 s tumbling window per key, count and sum of JSON bids",
    topology,
    loop.run,
    OF_THE_LOOP,
)
