"""Hot items: the auctions with the most bids of the last ten seconds, every two seconds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
from tidegate.engine import Stream
from tidegate.operators import agg, windows
from tidegate.operators.windows import Window

from ..events import Bid, Event


class Row(msgspec.Struct, gc=False):
    """An auction that nobody bids for more than for this one."""

    auction: int
    num: int
    end_ms: int


def hottest(end_ms: int, _window: Window, counts: list[Any]) -> Iterator[Row]:
    """All with the highest count."""
    highest = max(count.num for count in counts)
    return (Row(count.key, count.num, end_ms) for count in counts if count.num == highest)


def query(events: Stream[Event]) -> Stream[Row]:
    """The hottest auctions of each window."""
    counts = (
        events.of_type(Bid)
        .key_by("auction", name="by-auction")
        .window(windows.sliding("10s", "2s"))
        .aggregate(num=agg.count(), name="counts")
    )
    return counts.key_by("end_ms", name="by-window").window(windows.tumbling("2s")).process(hottest, name="hottest")
