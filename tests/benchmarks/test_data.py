"""The bids that the benchmarks read."""

from __future__ import annotations

from pathlib import Path

import msgspec

from benchmarks.data import MOST_DELAY_MS, N_AUCTIONS, Bid, bids_file, write_bids


def test_the_same_bids_come_every_time(bids: Path, tmp_path: Path) -> None:
    """Byte for byte."""
    write_bids(tmp_path / "again.jsonl", 20_000)
    assert (tmp_path / "again.jsonl").read_bytes() == bids.read_bytes()


def test_the_bids_of_a_short_file_begin_a_long_one(tmp_path: Path) -> None:
    """Also where the long one takes more than one chunk to make."""
    write_bids(tmp_path / "short.jsonl", 1_000)
    write_bids(tmp_path / "long.jsonl", 100_001)
    long = (tmp_path / "long.jsonl").read_bytes()
    assert long.startswith((tmp_path / "short.jsonl").read_bytes())
    assert long.count(b"\n") == 100_001


def test_bids_are_out_of_order_by_less_than_two_seconds(bids: Path) -> None:
    """So nothing is late when the watermark waits for two."""
    newest = 0
    out_of_order = 0
    found = msgspec.json.Decoder(Bid).decode_lines(bids.read_bytes())
    for bid in found:
        assert newest - bid.date_time < MOST_DELAY_MS
        out_of_order += bid.date_time < newest
        newest = max(newest, bid.date_time)
    assert 0.15 < out_of_order / len(found) < 0.25


def test_a_few_auctions_have_most_of_the_bids(bids: Path) -> None:
    """As in the world: half of the bids for less than a tenth of the auctions."""
    counts: dict[int, int] = {}
    for bid in msgspec.json.Decoder(Bid).decode_lines(bids.read_bytes()):
        counts[bid.auction] = counts.get(bid.auction, 0) + 1
    popular = sorted(counts.values(), reverse=True)[: N_AUCTIONS // 10]
    assert sum(popular) > 20_000 / 2


def test_a_file_of_bids_is_made_once(tmp_path: Path) -> None:
    """It is found the next time, and nothing half made is left beside it."""
    path = bids_file(tmp_path / "made", 10)
    path.write_bytes(b"marked")
    assert bids_file(tmp_path / "made", 10) == path
    assert path.read_bytes() == b"marked"
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]
