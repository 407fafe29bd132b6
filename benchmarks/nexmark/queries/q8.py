"""Monitor new users: who registers and sells within the same ten seconds."""

from __future__ import annotations

import msgspec
from tidegate.engine import Stream
from tidegate.operators import agg, windows

from ..events import Auction, Event, Person

WINDOW_MS = 10_000


class Row(msgspec.Struct, gc=False):
    """A new seller."""

    id: int
    name: str
    start_ms: int


def query(events: Stream[Event]) -> Stream[Row]:
    """The new sellers of each window, each once."""
    persons = events.of_type(Person).key_by("id", name="by-id")
    auctions = events.of_type(Auction).key_by("seller", name="by-seller")
    sellers = auctions.window(windows.tumbling("10s")).aggregate(n=agg.count(), name="sellers")
    return persons.join(
        sellers,
        windows.tumbling("10s"),
        select=lambda person, _: Row(person.id, person.name, person.date_time // WINDOW_MS * WINDOW_MS),
        name="new-sellers",
    )
