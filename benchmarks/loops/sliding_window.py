"""The auctions with the most bids of the last ten seconds, every two seconds, from counts per two seconds; a window is
counted when bids two seconds past it have come."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import BinaryIO, Final

import msgspec

from ..data import Bid

SIZE_MS: Final = 10_000
SLIDE_MS: Final = 2_000
DISORDER_MS: Final = 2_000


class Hottest(msgspec.Struct, gc=False):
    """An auction that has as many bids as any in its window."""

    auction: int
    n: int
    end_ms: int


def run(bids: Path, output: Path) -> None:
    """Read `bids` and write to `output`."""
    decode = msgspec.json.Decoder(Bid).decode
    panes: dict[int, dict[int, int]] = {}
    newest_ms = next_end_ms = 0
    with bids.open("rb", buffering=1 << 20) as lines, output.open("wb", buffering=1 << 20) as out:
        for line in lines:
            bid = decode(line)
            time_ms = bid.date_time
            start_ms = time_ms - time_ms % SLIDE_MS
            pane = panes.get(start_ms)
            if pane is None:
                pane = panes[start_ms] = defaultdict(int)
            pane[bid.auction] += 1
            if time_ms > newest_ms:
                newest_ms = time_ms
                passed_ms = time_ms - DISORDER_MS
                if not next_end_ms:
                    # Nothing is older than the first bid by more than the disorder.
                    next_end_ms = (time_ms - DISORDER_MS) // SLIDE_MS * SLIDE_MS + SLIDE_MS
                while passed_ms >= next_end_ms:
                    write_window(out, next_end_ms, panes)
                    next_end_ms += SLIDE_MS
        while panes:
            write_window(out, next_end_ms, panes)
            next_end_ms += SLIDE_MS


def write_window(out: BinaryIO, end_ms: int, panes: dict[int, dict[int, int]]) -> None:
    """Write the first of a complete window, and forget the pane that no other window needs."""
    totals: dict[int, int] = {}
    for start_ms in range(end_ms - SIZE_MS, end_ms, SLIDE_MS):
        pane = panes.get(start_ms)
        if pane is None:
            continue
        if not totals:
            totals = dict(pane)
            continue
        get = totals.get
        for auction, n in pane.items():
            totals[auction] = get(auction, 0) + n
    if totals:
        encode = msgspec.json.Encoder().encode
        highest = max(totals.values())
        for auction, n in totals.items():
            if n == highest:
                out.write(encode(Hottest(auction, n, end_ms)))
                out.write(b"\n")
    panes.pop(end_ms - SIZE_MS, None)
