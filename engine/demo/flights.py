"""The topology of the demo: delays per origin, and the sessions of every aircraft.

Event time is the scheduled departure, as an instant in UTC. Flights come in the order in which they left, so
a flight that left 21 hours late comes 21 hours late.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any, Final

import msgspec

from ...connectors import files, formats
from ...operators import DeadLetter, Watermarks, agg, windows
from ..fluent import Stream
from ..topology import Topology

OUT_OF_ORDERNESS: Final = "22h"
"""The greatest disorder in the data is 21 hours and 40 minutes: no record is late."""

SLIDING_SIZE: Final = "1h"
SLIDE: Final = "15m"
SESSION_GAP: Final = "12h"
DAY_MINUTES: Final = 24 * 60


class Flight(msgspec.Struct, frozen=True):
    """A flight as it was planned, and what became of it.

    Attributes:
        row: its row in the original file, from 1.
        carrier: two letters.
        tail: the aircraft; None when it was cancelled before it had one.
        scheduled_ms: planned departure.
        delay: minutes after it, negative when early; None for a cancelled flight.
        arrived: local time of arrival, as 1504 for 15:04; None when it did not arrive.
    """

    row: int
    carrier: str
    flight: int
    tail: str | None
    origin: str
    dest: str
    scheduled_ms: int
    delay: int | None
    arrived: int | None


class Departure(msgspec.Struct, frozen=True):
    """A flight that has passed the rules, with the name of its airline."""

    row: int
    airline: str
    flight: int
    tail: str | None
    origin: str
    dest: str
    scheduled_ms: int
    delay: int | None


class Rejected(msgspec.Struct, frozen=True):
    """A flight that broke a rule."""

    row: int
    operator: str
    error: str


def flight_delays(folder: Path | str = ".", rate_limit: float | None = None) -> Topology:
    """The topology over the files in `folder`: `flights.jsonl` and `airlines.csv` in, `results/…` out.

    Args:
        folder: where the files are.
        rate_limit: flights per second, so that one can watch; None for as fast as it goes.
    """
    folder = Path(folder)
    airlines = read_airlines(folder / "airlines.csv")

    def with_airline(flight: Flight) -> Departure:
        return Departure(
            flight.row,
            airlines[flight.carrier],
            flight.flight,
            flight.tail,
            flight.origin,
            flight.dest,
            flight.scheduled_ms,
            flight.delay,
        )

    topology = Topology("flight-delays", version="1")
    checked = topology.source(
        "flights",
        files.lines(folder / "flights.jsonl", formats.json(Flight)),
        event_time="scheduled_ms",
        watermarks=Watermarks(out_of_orderness=OUT_OF_ORDERNESS),
        rate_limit=rate_limit,
    ).validate(
        {
            "known-airline": lambda f: f.carrier in airlines,
            "plausible-delay": lambda f: f.delay is None or abs(f.delay) < DAY_MINUTES,
            "has-arrived": lambda f: f.delay is None or f.arrived is not None,
        },
        on_fail="dead_letter",
        name="check-flights",
    )
    departures = checked.map(with_airline, name="add-airline")
    of_aircraft = departures.validate(
        {"has-tail-number": lambda d: d.tail is not None}, on_fail="dead_letter", name="check-aircraft"
    )

    by_origin = departures.key_by("origin", name="by-origin")
    by_origin.window(windows.tumbling("1h")).aggregate(name="hourly", **statistics()).sink(
        "hourly-results", _results(folder, "hourly")
    )
    by_origin.window(windows.sliding(SLIDING_SIZE, SLIDE)).aggregate(name="sliding", **statistics()).sink(
        "sliding-results", _results(folder, "sliding")
    )
    (
        of_aircraft.key_by("tail", name="by-aircraft", key_type=str)
        .window(windows.session(SESSION_GAP))
        .aggregate(
            name="sessions",
            flights=agg.count(),
            cancelled=agg.sum(_is_cancelled),
            mean_delay=agg.mean("delay"),
        )
        .sink("sessions-results", _results(folder, "sessions"))
    )
    departures.sink("departures-results", _results(folder, "departures"))
    failed: Stream[DeadLetter[Any]] = checked.side_output("failed").union(of_aircraft.side_output("failed"))
    failed.map(_rejected, name="flatten").sink("rejected-results", _results(folder, "rejected"))
    return topology


def statistics() -> dict[str, Any]:
    """What is said of the departures of an origin in a window."""
    return {
        "flights": agg.count(),
        "cancelled": agg.sum(_is_cancelled),
        "mean_delay": agg.mean("delay"),
        "p95_delay": agg.quantile_exact("delay", 0.95),
        "max_delay": agg.max("delay"),
    }


def read_airlines(path: Path) -> dict[str, str]:
    """The airlines' names by their two letters."""
    with path.open(encoding="utf-8", newline="") as file:
        return {row["carrier"]: row["name"] for row in csv.DictReader(file)}


def _is_cancelled(departure: Departure) -> int:
    return int(departure.delay is None)


def _rejected(letter: DeadLetter[Any]) -> Rejected:
    return Rejected(letter.value.row, letter.operator, letter.error)


def _results(folder: Path, name: str) -> files.Files[Any]:
    return files.lines(folder / "results" / name, formats.json())
