"""Count and sum per auction, price bucket and ten seconds, with a Python function that is called for each bid."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

import msgspec

from ..data import Bid
from .tumbling_window import DISORDER_MS, SIZE_MS


class Window(msgspec.Struct, gc=False):
    """An auction and bucket in a window."""

    key: tuple[int, str]
    start_ms: int
    end_ms: int
    n: int
    total: int


def converted(price: int) -> tuple[int, str]:
    """The function: the price in euros, and its bucket."""
    return price * 908 // 1000, "high" if price > 10_000 else "low"


def run(bids: Path, output: Path) -> None:
    """Read `bids` and write to `output`."""
    decode = msgspec.json.Decoder(Bid).decode
    windows: dict[int, dict[tuple[int, str], list[int]]] = {}
    newest_ms = next_end_ms = 0
    with bids.open("rb", buffering=1 << 20) as lines, output.open("wb", buffering=1 << 20) as out:
        for line in lines:
            bid = decode(line)
            time_ms = bid.date_time
            start_ms = time_ms - time_ms % SIZE_MS
            window = windows.get(start_ms)
            if window is None:
                window = windows[start_ms] = {}
            price, bucket = converted(bid.price)
            key = (bid.auction, bucket)
            totals = window.get(key)
            if totals is None:
                window[key] = [1, price]
            else:
                totals[0] += 1
                totals[1] += price
            if time_ms > newest_ms:
                newest_ms = time_ms
                passed_ms = time_ms - DISORDER_MS
                if passed_ms >= next_end_ms:
                    for complete_ms in sorted(start for start in windows if start + SIZE_MS <= passed_ms):
                        write_window(out, complete_ms, windows.pop(complete_ms))
                    next_end_ms = min(windows) + SIZE_MS
        for start_ms in sorted(windows):
            write_window(out, start_ms, windows[start_ms])


def write_window(out: BinaryIO, start_ms: int, window: dict[tuple[int, str], list[int]]) -> None:
    """Write a complete window, a line per key."""
    encode = msgspec.json.Encoder().encode
    for key, (n, total) in window.items():
        out.write(encode(Window(key, start_ms, start_ms + SIZE_MS, n, total)))
        out.write(b"\n")
