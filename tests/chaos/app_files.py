"""The job under test: files to a running count and to windows per key, each into files, exactly once."""

from __future__ import annotations

import jumping_clock
import msgspec
from tidegate.connectors import files, formats
from tidegate.engine import Topology
from tidegate.operators import Watermarks, agg, windows

assert jumping_clock


class Event(msgspec.Struct):
    """What is written."""

    id: int
    key: str
    at: int
    value: int


topology = Topology("chaos-files")
events = topology.source(
    "events",
    files.lines("in/*.jsonl", formats.json(Event), follow=True),
    event_time="at",
    watermarks=Watermarks(out_of_orderness="500ms", idle_timeout="2m"),
)
by_key = events.key_by("key", name="by-key")
running = by_key.aggregate(name="running", n=agg.count(), total=agg.sum("value"))
running.sink("counts", files.lines("out/counts", formats.json()))
windowed = by_key.window(windows.tumbling("5s")).aggregate(name="window", n=agg.count(), total=agg.sum("value"))
windowed.sink("windows", files.lines("out/windows", formats.json()))
