"""Polars over the file as a batch: no stream, no state, nothing in Python. A limit, not a rival."""

from __future__ import annotations

from typing import Any, Final

from .file_job import FileJob

LABEL: Final = "polars"
PACKAGES: Final = ("polars==2.1.0",)
MOST_BIDS: Final = None


def window(job: FileJob) -> None:
    """Count and sum per auction and ten seconds."""
    import polars as pl

    _sink(job, _bids(job).rename({"auction": "key"}), pl.col("key"))


def function(job: FileJob) -> None:
    """The same over what the function would give, as expressions."""
    import polars as pl

    price = pl.col("price")
    bucket = pl.when(price > 10_000).then(pl.lit("high")).otherwise(pl.lit("low")).alias("bucket")
    _sink(job, _bids(job).with_columns(bucket, price * 908 // 1000), pl.col("auction", "bucket"))


def _bids(job: FileJob) -> Any:
    import polars as pl

    # All fields of the lines: those that are missing here would be an error.
    numbers, texts = ("auction", "bidder", "price", "date_time"), ("channel", "url")
    schema = dict.fromkeys(numbers, pl.Int64) | dict.fromkeys(texts, pl.String)
    return pl.scan_ndjson(job.source, schema=schema)


def _sink(job: FileJob, bids: Any, key: Any) -> None:
    import polars as pl

    start_ms = pl.col("date_time") // 10_000 * 10_000
    windows = bids.group_by(key, start_ms.alias("start_ms"), (start_ms + 10_000).alias("end_ms"))
    results = windows.agg(pl.len().alias("n"), pl.col("price").sum().alias("total"))
    results.sink_ndjson(job.output / "all.jsonl", engine="streaming")
