"""NEXMark-like bids, the same in every run and on every machine.

Ten bids per millisecond of event time; a fifth of them comes up to two seconds late. 10,000 auctions by Zipf's law, and
every five seconds other auctions are the popular ones. The first N bids of a longer file are those of a shorter one.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec

VERSION: Final = 1
"""Part of the file's name: raise it whenever the same call would make other bids."""

N_AUCTIONS: Final = 10_000
FIRST_AUCTION: Final = 1000
START_MS: Final = 1_700_000_002_000
BIDS_PER_MS: Final = 10
MOST_DELAY_MS: Final = 2000

_SEED: Final = 42
_CHUNK: Final = 100_000
_SHIFT_EVERY: Final = 50_000
_CHANNELS: Final = ("Google", "Facebook", "Baidu", "Apple", "channel-1234", "channel-77", "channel-9041", "channel-313")
_LETTERS: Final = "abcdefghijklmnopqrstuvwxyz_/"
_LINE: Final = '{"auction":%d,"bidder":%d,"price":%d,"channel":"%s","url":"%s","date_time":%d}\n'


class Bid(msgspec.Struct, gc=False):
    """The fields of a bid that the scenarios use; the lines have `channel` and `url` as well.

    Attributes:
        auction: what is bid for, the key of the keyed scenarios.
        bidder: who bids.
        price: in cents, from 100 to 100,000, evenly spread over the magnitudes.
        date_time: event time, milliseconds since 1970 UTC.
    """

    auction: int
    bidder: int
    price: int
    date_time: int


def bids_file(folder: Path, n: int) -> Path:
    """The file of the first `n` bids as JSON lines, made if it is not there yet. It is whole or not there."""
    path = folder / f"bids-v{VERSION}-{n}.jsonl"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        write_bids(partial, n)
        partial.replace(path)
    return path


def write_bids(path: Path, n: int) -> None:
    """Write the first `n` bids as JSON lines."""
    import numpy as np

    random = np.random.default_rng(_SEED)
    share = 1.0 / np.arange(1, N_AUCTIONS + 1)
    cumulated = np.cumsum(share / share.sum())
    auction_of_rank = random.permutation(N_AUCTIONS)
    channel_ids = random.integers(0, 10_000, 512).tolist()
    urls = [_url(channel_id, random.integers(0, len(_LETTERS), 14).tolist()) for channel_id in channel_ids]
    with path.open("w", buffering=1 << 22) as file:
        # A chunk is always drawn whole, so that what is drawn does not depend on `n`.
        for first in range(0, n, _CHUNK):
            index = np.arange(first, first + _CHUNK)
            rank = np.searchsorted(cumulated, random.random(_CHUNK)).clip(0, N_AUCTIONS - 1)
            auction = FIRST_AUCTION + (auction_of_rank[rank] + index // _SHIFT_EVERY * 7) % N_AUCTIONS
            bidder = random.integers(1000, 200_000, _CHUNK)
            price = (100 * 10 ** (random.random(_CHUNK) * 3)).astype(np.int64)
            channel = random.integers(0, len(_CHANNELS), _CHUNK)
            url = random.integers(0, len(urls), _CHUNK)
            is_delayed = random.random(_CHUNK) < 0.2
            delay_ms = np.where(is_delayed, random.integers(0, MOST_DELAY_MS, _CHUNK), 0)
            date_time = START_MS + index // BIDS_PER_MS - delay_ms
            columns = zip(
                auction.tolist(),
                bidder.tolist(),
                price.tolist(),
                [_CHANNELS[i] for i in channel.tolist()],
                [urls[i] for i in url.tolist()],
                date_time.tolist(),
                strict=True,
            )
            kept = min(_CHUNK, n - first)
            file.write("".join([_LINE % bid for _, bid in zip(range(kept), columns, strict=False)]))


def _url(channel_id: int, letters: list[int]) -> str:
    name = "".join([_LETTERS[i] for i in letters])
    return f"https://www.nexmark.com/{name}/item.htm?query=1&channel_id={channel_id}"
