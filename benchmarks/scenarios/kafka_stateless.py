"""Stateless filter and map, from topic to topic."""

from __future__ import annotations

from tidegate.engine import Topology

from ..scenario import Setup
from .kafka_compared import Guarantee, against_peers, bids_source, json_sink
from .stateless import converted


def topology(setup: Setup, topic: str, guarantee: Guarantee) -> Topology:
    """Bids above 1000, converted."""
    made = Topology("kafka-stateless")
    bids = made.source("bids", bids_source(setup))
    expensive = bids.filter(lambda bid: bid.price > 1000)
    expensive.map(converted).sink("out", json_sink(setup, topic, "auction", guarantee))
    return made


SCENARIO = against_peers(
    "stateless",
    "stateless filter and map, JSON topic to JSON topic, against Quix Streams and Faust",
    "stateless",
    topology,
    "Two thirds of the bids pass. Faust writes results without keys.",
)
