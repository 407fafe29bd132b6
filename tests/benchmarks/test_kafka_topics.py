"""What goes into the topics, and what comes back."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.kafka_results import only_last
from benchmarks.kafka_topics import bids_topic, records
from benchmarks.scenario import BenchmarkError


def test_the_key_is_the_auction(bids: Path) -> None:
    """The values are the lines of the file, the first ones of them."""
    found = list(records(bids, 100, closing=False))
    lines = bids.read_bytes().splitlines()[:100]
    assert [value for _, value in found] == lines
    assert [key for key, _ in found] == [line.split(b",")[0].removeprefix(b'{"auction":') for line in lines]


def test_closing_bids_follow_once_for_each_auction(bids: Path) -> None:
    """Behind all others, in the order in which the auctions came, and after the end of every window that holds bids."""
    import msgspec

    found = list(records(bids, 1000, closing=True))
    keys = list(dict.fromkeys(key for key, _ in found[:1000]))
    closing = [msgspec.json.decode(value) for _, value in found[1000:]]
    newest_ms = max(msgspec.json.decode(value)["date_time"] for _, value in found[:1000])
    assert [key for key, _ in found[1000:]] == keys
    assert [bid["auction"] for bid in closing] == [int(key) for key in keys]
    assert all(bid["date_time"] - newest_ms > 2_000 + 10_000 for bid in closing)


def test_topics_of_other_bids_have_other_names(tmp_path: Path) -> None:
    """Another file, another number, or with closing bids."""
    one, other = tmp_path / "one", tmp_path / "other"
    assert len({bids_topic(one, 1), bids_topic(other, 1), bids_topic(one, 2), bids_topic(one, 1, closing=True)}) == 4
    assert bids_topic(one, 1) == bids_topic(one, 1)


def update(key: int, n: int, total: int) -> bytes:
    """A window's result so far."""
    return b'{"key":%d,"start_ms":0,"end_ms":10000,"n":%d,"total":%d}\n' % (key, n, total)


def test_the_last_update_of_a_window_is_its_result() -> None:
    """For each key and window."""
    lines = update(1, 1, 5) + update(2, 1, 7) + update(1, 2, 9)
    assert only_last(lines) == update(1, 2, 9) + update(2, 1, 7)


@pytest.mark.parametrize("lines", [update(1, 1, 5) + update(1, 3, 9), update(1, 1, 5) + update(1, 1, 5)])
def test_an_update_that_is_missing_or_doubled_is_refused(lines: bytes) -> None:
    """Although the last one is there."""
    with pytest.raises(BenchmarkError, match="an update is missing or doubled"):
        only_last(lines)
