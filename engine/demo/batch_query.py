"""The same results from a batch query: Polars over the original file, which knows nothing of the engine."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from .data import raw_flights

if TYPE_CHECKING:
    import polars as pl

_HOUR_MS: Final = 3_600_000
_SLIDE_MS: Final = 900_000
_GAP_MS: Final = 12 * _HOUR_MS

_BROKEN: Final = "InvalidRecordError: the record breaks rule '{}'"


def expected_results(data: Path) -> dict[str, pl.DataFrame]:
    """What each folder of results must hold, by the folder's name; columns as there, rows in any order.

    Args:
        data: the folder of the original files.
    """
    import polars as pl

    raw = pl.read_csv(io.BytesIO(raw_flights(data)), null_values=["NA", ""], infer_schema_length=None)
    planned = raw.with_row_index("row", offset=1).with_columns(
        pl.col("row").cast(pl.Int64),
        scheduled_ms=pl.col("time_hour").str.to_datetime(time_zone="UTC").dt.epoch("ms") + pl.col("minute") * 60_000,
        delay=pl.col("dep_delay"),
        tail=pl.col("tailnum"),
    )
    has_arrived = pl.col("dep_delay").is_null() | pl.col("arr_time").is_not_null()
    names = pl.read_csv(data / "airlines.csv").rename({"name": "airline"})
    departures = planned.filter(has_arrived).join(names, on="carrier")
    has_tail = pl.col("tail").is_not_null()
    return {
        "departures": departures.select("row", "airline", "flight", "tail", "origin", "dest", "scheduled_ms", "delay"),
        "hourly": _windows(departures, _HOUR_MS),
        "sliding": _windows(departures, _SLIDE_MS),
        "sessions": _sessions(departures.filter(has_tail)),
        "rejected": pl.concat(
            [
                _rejected(planned.filter(~has_arrived), "check-flights", "has-arrived"),
                _rejected(departures.filter(~has_tail), "check-aircraft", "has-tail-number"),
            ]
        ),
    }


def _windows(departures: pl.DataFrame, slide_ms: int) -> pl.DataFrame:
    """Windows of an hour that start every `slide_ms`: each departure is copied into all that hold it."""
    import polars as pl

    first = pl.col("scheduled_ms") // slide_ms * slide_ms
    copies = [departures.with_columns(start_ms=first - back) for back in range(0, _HOUR_MS, slide_ms)]
    return (
        pl.concat(copies)
        .group_by(key="origin", start_ms="start_ms")
        .agg(
            end_ms=pl.col("start_ms").first() + _HOUR_MS,
            flights=pl.len().cast(pl.Int64),
            cancelled=pl.col("delay").null_count().cast(pl.Int64),
            mean_delay=pl.col("delay").mean(),
            p95_delay=pl.col("delay").quantile(0.95, "linear"),
            max_delay=pl.col("delay").max(),
        )
    )


def _sessions(departures: pl.DataFrame) -> pl.DataFrame:
    """Departures of an aircraft with less than the gap between them."""
    import polars as pl

    since = pl.col("scheduled_ms").diff().over("tail")
    numbered = departures.sort("tail", "scheduled_ms").with_columns(
        session=(since.is_null() | (since >= _GAP_MS)).cum_sum()
    )
    return (
        numbered.group_by("session")
        .agg(
            key=pl.col("tail").first(),
            start_ms=pl.col("scheduled_ms").min(),
            end_ms=pl.col("scheduled_ms").max() + _GAP_MS,
            flights=pl.len().cast(pl.Int64),
            cancelled=pl.col("delay").null_count().cast(pl.Int64),
            mean_delay=pl.col("delay").mean(),
        )
        .drop("session")
    )


def _rejected(flights: pl.DataFrame, operator: str, rule: str) -> pl.DataFrame:
    import polars as pl

    error: Any = pl.lit(_BROKEN.format(rule))
    return flights.select("row", operator=pl.lit(operator), error=error)
