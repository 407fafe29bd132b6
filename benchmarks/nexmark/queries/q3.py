"""Local item suggestion: who sells things of one category in three states."""

from __future__ import annotations

import msgspec
from tidegate.engine import Stream

from ..events import Auction, Event, Person


class Row(msgspec.Struct, gc=False):
    """A seller, and what is sold."""

    name: str
    city: str
    state: str
    id: int


def query(events: Stream[Event]) -> Stream[Row]:
    """The auctions of category 10 with their sellers, who registered within an hour of them."""
    auctions = events.of_type(Auction).filter(lambda a: a.category == 10).key_by("seller", name="by-seller")
    persons = events.of_type(Person).filter(lambda p: p.state in ("OR", "ID", "CA")).key_by("id", name="by-id")
    return auctions.interval_join(
        persons,
        lower="-1h",
        upper="1h",
        select=lambda auction, person: Row(person.name, person.city, person.state, auction.id),
        name="with-seller",
    )
