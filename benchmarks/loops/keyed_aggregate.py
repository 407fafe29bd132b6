"""Count and highest price per auction so far: one result per bid."""

from __future__ import annotations

from pathlib import Path

import msgspec

from ..data import Bid


class Totals(msgspec.Struct, gc=False):
    """An auction so far."""

    key: int
    n: int
    highest: int


def run(bids: Path, output: Path) -> None:
    """Read `bids` and write to `output`."""
    decode = msgspec.json.Decoder(Bid).decode
    encode = msgspec.json.Encoder().encode
    totals: dict[int, Totals] = {}
    with bids.open("rb", buffering=1 << 20) as lines, output.open("wb", buffering=1 << 20) as out:
        write = out.write
        for line in lines:
            bid = decode(line)
            so_far = totals.get(bid.auction)
            if so_far is None:
                so_far = totals[bid.auction] = Totals(bid.auction, 0, bid.price)
            so_far.n += 1
            if bid.price > so_far.highest:  # noqa: PLR1730 - a call of max costs more
                so_far.highest = bid.price
            write(encode(so_far))
            write(b"\n")
