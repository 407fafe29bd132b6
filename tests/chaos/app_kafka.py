"""The job under test: a topic to a copy of it and to windows per key, each into a topic, in transactions."""

from __future__ import annotations

import os

import jumping_clock
import msgspec
from tidegate.connectors import formats, kafka
from tidegate.engine import Topology
from tidegate.operators import Watermarks, agg, windows

assert jumping_clock


class Event(msgspec.Struct):
    """What is produced."""

    id: int
    key: str
    at: int
    value: int


servers = os.environ["CHAOS_SERVERS"]
topology = Topology("chaos-kafka")
events = topology.source(
    "events",
    kafka.source(servers, "in", format=formats.json(Event)),
    event_time="at",
    watermarks=Watermarks(out_of_orderness="500ms", idle_timeout="2m"),
)
by_key = events.key_by("key", name="by-key")
running = by_key.aggregate(name="running", n=agg.count(), total=agg.sum("value"))
running.sink("counts", kafka.sink(servers, "counts", format=formats.json(), key=lambda row: row.key))
windowed = by_key.window(windows.tumbling("5s")).aggregate(name="window", n=agg.count(), total=agg.sum("value"))
windowed.sink("windows", kafka.sink(servers, "windows", format=formats.json(), key=lambda row: row.key))
