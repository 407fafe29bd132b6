"""From a record to milliseconds since 1970 UTC."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from tidegate.engine.runtime.event_time import EventTime

NOW_MS = 1_700_000_000_000


@pytest.mark.parametrize("record", [{"at": 5}, SimpleNamespace(at=5)])
def test_a_field_name_reads_dicts_and_objects(record):
    """The same name serves both."""
    times = EventTime("at", None).extract([record], NOW_MS)
    assert (times.timestamps, times.bounds.lowest, times.bounds.highest, times.bad) == ([5], 5, 5, {})


def test_a_function_may_give_a_datetime():
    """With a time zone it is that moment, whatever the zone."""
    moment = datetime(2024, 1, 1, 12, tzinfo=UTC)
    there = moment.astimezone(timezone(timedelta(hours=9)))
    times = EventTime(lambda value: value, None).extract([moment, there], NOW_MS)
    assert times.timestamps == [1_704_110_400_000] * 2


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (-1, "before 1970"),
        (NOW_MS + 86_400_001, "in the future"),
        (NOW_MS * 1000, "microseconds"),
        (1.5, "must be int milliseconds or a datetime"),
        (True, "must be int milliseconds or a datetime"),
        ("5", "must be int milliseconds or a datetime"),
        (None, "must be int milliseconds or a datetime"),
    ],
)
def test_what_is_no_event_time_is_told_apart_from_its_neighbours(bad, reason):
    """Each bad record has its reason, and the good ones their time."""
    times = EventTime(lambda value: value, 86_400_000).extract([NOW_MS, bad, NOW_MS + 1], NOW_MS)
    assert [*times.bad] == [1]
    assert reason in times.bad[1]
    assert [times.timestamps[0], times.timestamps[2]] == [NOW_MS, NOW_MS + 1]


def test_a_function_that_fails_is_a_reason():
    """A missing field spoils its own record only."""
    times = EventTime("at", None).extract([{"at": 1}, {}, {"at": 3}], NOW_MS)
    assert times.bad == {1: "no event time: KeyError: 'at'"}


def test_the_sources_own_timestamps_are_checked_too():
    """They can be as wrong as any."""
    assert EventTime("timestamp", None).check([1, 2], NOW_MS).bad == {}
    assert [*EventTime("timestamp", None).check([1, -2], NOW_MS).bad] == [1]


def test_fields_that_a_decoder_has_checked_are_told_from_others():
    """A union of Structs that all have it as an int is as good as one of them; a container of them is not."""

    class Bid(msgspec.Struct, tag=True):
        at: int

    class Auction(msgspec.Struct, tag=True):
        at: int

    class Person(msgspec.Struct, tag=True):
        at: bool

    for known in (Bid, Bid | Auction):
        # Told so, it does not look again: what is no int is taken as it is.
        assert EventTime("at", None, known).extract([Bid(True), Auction(2)], NOW_MS).bad == {}
    for unknown in (None, Any, Bid | Person, Bid | None, list[Bid], dict[str, Bid]):
        assert [*EventTime("at", None, unknown).extract([Bid(True), Auction(2)], NOW_MS).bad] == [0]
