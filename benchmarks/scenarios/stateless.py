"""Stateless map and filter, JSON to JSON."""

from __future__ import annotations

from tidegate.engine import Topology

from ..data import Bid
from ..loops import stateless as loop
from ..loops.stateless import Converted
from ..scenario import Setup
from .compared import OF_THE_LOOP, against_loop, bids_topology, json_lines


def topology(setup: Setup, side: str) -> Topology:
    """Bids above 1000, converted."""
    made, bids = bids_topology("stateless", setup)
    bids.filter(lambda bid: bid.price > 1000).map(converted).sink("out", json_lines(setup, side))
    return made


def converted(bid: Bid) -> Converted:
    """A bid in euros."""
    return Converted(bid.auction, bid.bidder, bid.price * 0.908, bid.date_time)


SCENARIO = against_loop(
    "stateless",
    "stateless filter and map, JSON to JSON",
    topology,
    loop.run,
    OF_THE_LOOP,
    "Two thirds of the bids pass. The engine calls a function for the filter and one for the map, the loop has both in "
    "line.",
)
