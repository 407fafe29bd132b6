"""What happens in the auction house. One stream carries all three; `type` tells them apart."""

from __future__ import annotations

from typing import TypeAlias

import msgspec


class Person(msgspec.Struct, tag="person", tag_field="type", gc=False, frozen=True):
    """Somebody who may sell and bid. `date_time`: milliseconds since 1970 UTC, as in all events."""

    id: int
    name: str
    email_address: str
    credit_card: str
    city: str
    state: str
    date_time: int
    extra: str


class Auction(msgspec.Struct, tag="auction", tag_field="type", gc=False, frozen=True):
    """Something is for sale until `expires`."""

    id: int
    item_name: str
    description: str
    initial_bid: int
    reserve: int
    date_time: int
    expires: int
    seller: int
    category: int
    extra: str


class Bid(msgspec.Struct, tag="bid", tag_field="type", gc=False, frozen=True):
    """Somebody offers a price, in cents, for what an auction sells."""

    auction: int
    bidder: int
    price: int
    channel: str
    url: str
    date_time: int
    extra: str


Event: TypeAlias = Person | Auction | Bid
