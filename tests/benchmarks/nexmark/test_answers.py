"""Results that are wrong have no speed."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from benchmarks.nexmark.answers import ANSWERS, check
from benchmarks.nexmark.events import Bid
from benchmarks.nexmark.generator import events, events_file
from benchmarks.nexmark.queries import NAMES
from benchmarks.scenario import BenchmarkError

N = 5_000


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """5,000 events."""
    return events_file(tmp_path_factory.mktemp("events"), N)


@pytest.fixture
def rows() -> list[dict[str, Any]]:
    """What q2 gives for them."""
    bids = [event for event in events(N) if isinstance(event, Bid)]
    return [{"auction": bid.auction, "price": bid.price} for bid in bids if bid.auction % 123 == 0]


def test_every_query_has_an_answer() -> None:
    """From q0 to q22."""
    assert tuple(ANSWERS) == NAMES


def test_the_right_rows_pass_in_any_order(file: Path, tmp_path: Path, rows: list[dict[str, Any]]) -> None:
    """As often as each is there."""
    assert _checked("q2", file, tmp_path, reversed(rows)) == len(rows) > 3


def test_a_row_too_few_or_too_many_is_shown(file: Path, tmp_path: Path, rows: list[dict[str, Any]]) -> None:
    """Also one that is there twice."""
    with pytest.raises(BenchmarkError, match=rf"q2: the results are wrong: 1 rows of {len(rows)} are missing and 0"):
        _checked("q2", file, tmp_path, rows[1:])
    with pytest.raises(BenchmarkError, match=r"0 rows of .* are missing and 1 are not in the answer"):
        _checked("q2", file, tmp_path, [*rows, rows[0]])
    with pytest.raises(BenchmarkError, match="are missing and 0"):
        _checked("q2", file, tmp_path, [])


def test_of_updates_the_last_of_each_key_counts(file: Path, tmp_path: Path) -> None:
    """Earlier ones may be whatever they were."""
    last: dict[tuple[int, int], dict[str, Any]] = {}
    told = []
    for event in events(N):
        if isinstance(event, Bid):
            row = _row(event)
            last[event.auction, event.bidder] = row
            told.append(row)
    assert _checked("q18", file, tmp_path, told) == len(last) < len(told)
    with pytest.raises(BenchmarkError):
        _checked("q18", file, tmp_path, reversed(told))


def test_counts_of_windows_are_added_up_for_each_bidder(file: Path, tmp_path: Path) -> None:
    """Wherever the windows of processing time happened to end."""
    told = [{"bidder": event.bidder, "bid_count": 1} for event in events(N) if isinstance(event, Bid)]
    assert _checked("q12", file, tmp_path, told) > 100
    with pytest.raises(BenchmarkError):
        _checked("q12", file, tmp_path, told[1:])


def test_changes_are_made_before_rows_are_compared(file: Path, tmp_path: Path) -> None:
    """What was added and taken away again does not count, in whatever order it comes."""
    best: dict[int, list[Bid]] = {}
    told: list[dict[str, Any]] = []
    for event in events(N):
        if isinstance(event, Bid):
            found = best.setdefault(event.auction, [])
            found.append(event)
            found.sort(key=lambda bid: -bid.price)
            told += [{"kind": "+I", "value": _row(event)}, *[{"kind": "-D", "value": _row(out)} for out in found[10:]]]
            del found[10:]
    assert _checked("q19", file, tmp_path, reversed(told)) == sum(map(len, best.values())) < len(told)
    lowest = min((bids[-1] for bids in best.values()), key=lambda bid: bid.price)
    with pytest.raises(BenchmarkError):
        _checked("q19", file, tmp_path, [change for change in told if change != {"kind": "+I", "value": _row(lowest)}])


def _row(bid: Bid) -> dict[str, Any]:
    return {name: getattr(bid, name) for name in Bid.__struct_fields__}


def _checked(query: str, file: Path, folder: Path, rows: Iterable[dict[str, Any]]) -> int:
    output = folder / str(len(list(folder.iterdir())))
    output.mkdir()
    (output / "part-1.jsonl").write_bytes(b"".join(msgspec.json.encode(row) + b"\n" for row in rows))
    return check(query, file, output)
