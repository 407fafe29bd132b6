"""Filter bids by price and convert them, JSON to JSON."""

from __future__ import annotations

from pathlib import Path

import msgspec

from ..data import Bid


class Converted(msgspec.Struct, gc=False):
    """A bid in euros."""

    auction: int
    bidder: int
    price: float
    date_time: int


def run(bids: Path, output: Path) -> None:
    """Read `bids` and write the converted ones to `output`."""
    decode = msgspec.json.Decoder(Bid).decode
    encode = msgspec.json.Encoder().encode
    with bids.open("rb", buffering=1 << 20) as lines, output.open("wb", buffering=1 << 20) as out:
        write = out.write
        for line in lines:
            bid = decode(line)
            if bid.price > 1000:
                write(encode(Converted(bid.auction, bid.bidder, bid.price * 0.908, bid.date_time)))
                write(b"\n")
