"""Keyed running aggregate: one result per bid."""

from __future__ import annotations

from tidegate.engine import Topology
from tidegate.operators import agg

from ..loops import keyed_aggregate as loop
from ..scenario import Setup
from .compared import against_loop, bids_topology, json_lines


def topology(setup: Setup, side: str) -> Topology:
    """Count and highest price per auction so far."""
    made, bids = bids_topology("keyed-aggregate", setup)
    totals = bids.key_by("auction").aggregate(n=agg.count(), highest=agg.max("price"), name="totals")
    totals.sink("out", json_lines(setup, side))
    return made


SCENARIO = against_loop(
    "keyed-aggregate",
    "running count and maximum per key, one result per record",
    topology,
    loop.run,
)
