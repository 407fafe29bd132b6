"""The input of the demo: order, times, and what is not known."""

from __future__ import annotations

import json
import sys

from tidegate.engine.demo.data import find_data, read_flights, write_input

HEADER = (
    b"year,month,day,dep_time,sched_dep_time,dep_delay,arr_time,sched_arr_time,arr_delay,carrier,flight,tailnum,origin,"
    b"dest,air_time,distance,hour,minute,time_hour\n"
)


def test_the_data_is_found_without_importing_pandas():
    """The files are read where they lie; the package that holds them would import much."""
    imported = "pandas" in sys.modules
    assert find_data() is not None
    assert ("pandas" in sys.modules) == imported


def test_a_package_that_is_not_there_gives_nothing(monkeypatch):
    """Without the package there is no data."""
    monkeypatch.setattr("tidegate.engine.demo.data.PACKAGE", "no_such_package_at_all")
    assert find_data() is None


def test_event_time_is_the_planned_departure_in_utc():
    """The hour comes in UTC, the minute beside it."""
    row = b"2013,7,1,1405,1359,6,1600,1555,5,UA,1,N1,JFK,LAX,1,1,13,59,2013-07-01T17:00:00Z\n"
    (flight,) = read_flights(HEADER + row)
    assert flight.scheduled_ms == 1_372_701_540_000
    assert (flight.row, flight.delay, flight.arrived, flight.tail) == (1, 6, 1600, "N1")


def test_what_is_not_known_is_none():
    """A cancelled flight has no delay, no arrival and perhaps no aircraft."""
    row = b"2013,7,1,NA,1359,NA,NA,1555,NA,UA,1,NA,JFK,LAX,NA,1,13,59,2013-07-01T17:00:00Z\n"
    (flight,) = read_flights(HEADER + row)
    assert (flight.delay, flight.arrived, flight.tail) == (None, None, None)


def test_flights_are_written_in_the_order_in_which_they_left(small_data, tmp_path):
    """Event time is as much out of order as the flights were late."""
    count = write_input(small_data, tmp_path)
    flights = [json.loads(line) for line in (tmp_path / "flights.jsonl").read_bytes().splitlines()]
    left = [f["scheduled_ms"] + (f["delay"] or 0) * 60_000 for f in flights]
    planned = [f["scheduled_ms"] for f in flights]
    assert count == len(flights)
    assert left == sorted(left)
    assert planned != sorted(planned)
