"""Count and sum of prices per auction and ten seconds; a window is written when bids two seconds past it have come."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO, Final

import msgspec

from ..data import Bid

SIZE_MS: Final = 10_000
DISORDER_MS: Final = 2_000


class Window(msgspec.Struct, gc=False):
    """An auction in a window."""

    key: int
    start_ms: int
    end_ms: int
    n: int
    total: int


def run(bids: Path, output: Path) -> None:
    """Read `bids` and write to `output`."""
    decode = msgspec.json.Decoder(Bid).decode
    windows: dict[int, dict[int, list[int]]] = {}
    newest_ms = next_end_ms = 0
    with bids.open("rb", buffering=1 << 20) as lines, output.open("wb", buffering=1 << 20) as out:
        for line in lines:
            bid = decode(line)
            time_ms = bid.date_time
            start_ms = time_ms - time_ms % SIZE_MS
            window = windows.get(start_ms)
            if window is None:
                window = windows[start_ms] = {}
            totals = window.get(bid.auction)
            if totals is None:
                window[bid.auction] = [1, bid.price]
            else:
                totals[0] += 1
                totals[1] += bid.price
            if time_ms > newest_ms:
                newest_ms = time_ms
                passed_ms = time_ms - DISORDER_MS
                if passed_ms >= next_end_ms:
                    for complete_ms in sorted(start for start in windows if start + SIZE_MS <= passed_ms):
                        write_window(out, complete_ms, windows.pop(complete_ms))
                    next_end_ms = min(windows) + SIZE_MS
        for start_ms in sorted(windows):
            write_window(out, start_ms, windows[start_ms])


def write_window(out: BinaryIO, start_ms: int, window: dict[int, list[int]]) -> None:
    """Write a complete window, a line per auction."""
    encode = msgspec.json.Encoder().encode
    for auction, (n, total) in window.items():
        out.write(encode(Window(auction, start_ms, start_ms + SIZE_MS, n, total)))
        out.write(b"\n")
