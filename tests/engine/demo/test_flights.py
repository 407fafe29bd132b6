"""The topology of the demo gives what the batch query gives, and its watermark bound is that of the data."""

from __future__ import annotations

import json
import shutil

import pytest
from tidegate.engine import RunConfig, run
from tidegate.engine.demo.comparison import compare
from tidegate.engine.demo.data import raw_flights, read_flights, write_input
from tidegate.engine.demo.flights import OUT_OF_ORDERNESS, flight_delays
from tidegate.operators.time import duration_ms


@pytest.mark.slow
def test_the_results_equal_the_batch_query(small_data, tmp_path):
    """Every folder of results holds the rows of the batch query; there are cancelled and rejected flights among them."""
    write_input(small_data, tmp_path)
    run(flight_delays(tmp_path), RunConfig(parallelism=2), live=False)
    results = {one.name: one for one in compare(small_data, tmp_path / "results")}
    assert [one.name for one in results.values() if not one.equal] == []
    assert all(one.rows > 0 for one in results.values())


@pytest.mark.slow
def test_a_lost_row_is_found(small_data, tmp_path):
    """The comparison would notice one row of one folder."""
    write_input(small_data, tmp_path)
    run(flight_delays(tmp_path), RunConfig(), live=False)
    part = next((tmp_path / "results" / "sessions").glob("part-*"))
    lines = part.read_bytes().splitlines(keepends=True)
    part.write_bytes(b"".join(lines[1:]))
    differing = [one for one in compare(small_data, tmp_path / "results") if not one.equal]
    assert [(one.name, one.missing, one.unexpected) for one in differing] == [("sessions", 1, 0)]


@pytest.mark.slow
def test_no_flight_is_later_than_the_watermark_allows(real_data, tmp_path):
    """The bound is the greatest disorder of the whole year, to the next full hour."""
    shutil.copyfile(real_data / "airlines.csv", tmp_path / "airlines.csv")
    flights = sorted(
        read_flights(raw_flights(real_data)), key=lambda f: (f.scheduled_ms + (f.delay or 0) * 60_000, f.row)
    )
    newest = worst = 0
    for flight in flights:
        newest = max(newest, flight.scheduled_ms)
        worst = max(worst, newest - flight.scheduled_ms)
    assert len(flights) == 336_776
    assert worst == (21 * 60 + 40) * 60_000
    assert duration_ms(OUT_OF_ORDERNESS) - worst < 3_600_000


def test_a_missing_airline_is_a_rejected_flight(tmp_path):
    """A flight whose airline is not known goes to the rejected ones, with the rule's name."""
    (tmp_path / "airlines.csv").write_text("carrier,name\nAA,American\n")
    flight = {"row": 1, "flight": 7, "tail": "N1", "origin": "JFK", "dest": "LAX", "delay": 5, "arrived": 900}
    (tmp_path / "flights.jsonl").write_text(
        "".join(json.dumps(flight | {"carrier": c, "scheduled_ms": 1_000_000}) + "\n" for c in ("AA", "ZZ"))
    )
    run(flight_delays(tmp_path), RunConfig(), live=False)
    parts = (tmp_path / "results" / "rejected").glob("part-*")
    rejected = [json.loads(line) for part in parts for line in part.read_bytes().splitlines()]
    assert [(r["operator"], "known-airline" in r["error"]) for r in rejected] == [("check-flights", True)]
