"""The auctions with the most bids per sliding window, over JSON bids."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tidegate.engine import Topology
from tidegate.operators import agg, windows
from tidegate.operators.windows import Window

from ..loops import sliding_window as loop
from ..loops.sliding_window import Hottest
from ..scenario import Setup
from .compared import OF_THE_LOOP, against_loop, bids_topology, json_lines


def hottest(end_ms: int, _window: Window, counts: list[Any]) -> Iterator[Hottest]:
    """All with the highest count of a window."""
    highest = max(count.n for count in counts)
    return (Hottest(count.key, count.n, end_ms) for count in counts if count.n == highest)


def topology(setup: Setup, side: str) -> Topology:
    """Counts per auction and window, and of each window those that no other exceeds."""
    made, bids = bids_topology("sliding-window", setup)
    counts = bids.key_by("auction").window(windows.sliding("10s", "2s")).aggregate(n=agg.count(), name="counts")
    results = counts.key_by("end_ms").window(windows.tumbling("2s")).process(hottest, name="hottest")
    results.sink("out", json_lines(setup, side))
    return made


SCENARIO = against_loop(
    "sliding-window",
    "10 s by 2 s sliding windows, the auctions with the most JSON bids of each",
    topology,
    loop.run,
    OF_THE_LOOP,
)
