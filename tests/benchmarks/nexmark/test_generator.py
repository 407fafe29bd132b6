"""The events of the auction house."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import msgspec
import pytest

from benchmarks.nexmark.events import Auction, Bid, Event, Person
from benchmarks.nexmark.generator import START_MS, Settings, events, events_file, json_chunks


@pytest.fixture(scope="module")
def made() -> list[Event]:
    """The first 50,000."""
    return list(events(50_000))


def test_the_first_events_of_many_are_those_of_few() -> None:
    """Also where many take more than one chunk to make."""
    few, many = b"".join(json_chunks(1_000)), b"".join(json_chunks(100_001))
    assert many.startswith(few)
    assert many.count(b"\n") == 100_001


def test_another_seed_makes_other_events() -> None:
    """Of the same kinds in the same order."""
    one, other = list(events(500)), list(events(500, Settings(seed=1)))
    assert one != other
    assert [type(event) for event in one] == [type(event) for event in other]


def test_of_fifty_events_one_is_a_person_three_are_auctions_and_the_others_bids(made: list[Event]) -> None:
    """In that order."""
    assert Counter(type(event) for event in made) == {Person: 1_000, Auction: 3_000, Bid: 46_000}
    assert [type(event) for event in made[50:55]] == [Person, Auction, Auction, Auction, Bid]


def test_ids_run_on_and_events_speak_of_what_is_near(made: list[Event]) -> None:
    """Of what is on sale, or will be in a moment."""
    assert [event.id for event in made if isinstance(event, Person)] == list(range(1000, 2000))
    assert [event.id for event in made if isinstance(event, Auction)] == list(range(1000, 4000))
    newest = 0
    for event in made:
        if isinstance(event, Auction):
            newest = event.id
            assert event.date_time < event.expires
            assert event.initial_bid < event.reserve
        elif isinstance(event, Bid):
            assert newest - 200 <= event.auction <= newest + 10


def test_half_of_the_bids_are_for_hot_auctions_and_most_come_from_hot_bidders(made: list[Event]) -> None:
    """As in the reference: the first of a hundred auctions, the second of a hundred persons."""
    bids = [event for event in made if isinstance(event, Bid)]
    assert 0.49 < sum(bid.auction % 100 == 0 for bid in bids) / len(bids) < 0.52
    assert 0.74 < sum(bid.bidder % 100 == 1 for bid in bids) / len(bids) < 0.78
    assert min(bid.price for bid in bids) >= 100
    assert max(bid.price for bid in bids) <= 100_000_000


@pytest.mark.parametrize(("kind", "wanted"), [(Person, 200), (Auction, 500), (Bid, 100)])
def test_events_have_the_usual_sizes(made: list[Event], kind: type[Event], wanted: int) -> None:
    """In bytes, a number counting for eight; channel and URL of a bid do not count, as in the reference."""
    sizes = [
        sum(
            len(value) if isinstance(value, str) else 8
            for name, value in msgspec.structs.asdict(event).items()
            if name not in ("channel", "url")
        )
        for event in made
        if type(event) is kind
    ]
    assert wanted * 0.9 < sum(sizes) / len(sizes) < wanted * 1.1


def test_event_time_runs_at_the_rate(made: list[Event]) -> None:
    """In order, when no disorder is asked for."""
    times = [event.date_time for event in made]
    assert times == sorted(times)
    assert times[0] == START_MS
    assert times[-1] == START_MS + 4_999


def test_disorder_shuffles_groups(made: list[Event]) -> None:
    """No event is more than the group's span away from its place."""
    shuffled = [event.date_time for event in events(50_000, Settings(disorder=1_000))]
    assert shuffled != sorted(shuffled)
    assert sorted(shuffled) == [event.date_time for event in made]
    newest = 0
    for time in shuffled:
        assert newest - time < 100
        newest = max(newest, time)


def test_a_file_of_events_is_made_once(tmp_path: Path) -> None:
    """It is found the next time, and nothing half made is left beside it."""
    path = events_file(tmp_path / "made", 10)
    assert path.read_bytes() == b"".join(json_chunks(10))
    path.write_bytes(b"marked")
    assert events_file(tmp_path / "made", 10).read_bytes() == b"marked"
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]
