"""Ten-second tumbling window, from topic to topic."""

from __future__ import annotations

from tidegate.engine import Topology
from tidegate.operators import Watermarks, agg, windows

from ..scenario import Setup
from .kafka_compared import Guarantee, against_peers, bids_source, json_sink


def topology(setup: Setup, topic: str, guarantee: Guarantee) -> Topology:
    """Count and sum of prices per auction and ten seconds."""
    made = Topology("kafka-window")
    bids = made.source("bids", bids_source(setup), event_time="date_time", watermarks=Watermarks(out_of_orderness="2s"))
    results = (
        bids.key_by("auction")
        .window(windows.tumbling("10s"))
        .aggregate(n=agg.count(), total=agg.sum("price"), name="totals")
    )
    results.sink("out", json_sink(setup, topic, "key", guarantee))
    return made


SCENARIO = against_peers(
    "window",
    "10 s tumbling window per key, JSON topic to JSON topic, against Quix Streams and Faust",
    "tumbling-window",
    topology,
    "Quix ends a window when its own key is seen again: its topic has one more bid for each auction, and they count as "
    "records for it. Faust writes a result for each record, of which the last one of each window is compared.",
)
