"""DuckDB over the file as a batch: no stream, no state, nothing in Python. A limit, not a rival."""

from __future__ import annotations

from typing import Final

from .file_job import FileJob

LABEL: Final = "duckdb"
PACKAGES: Final = ("duckdb==2.0.0",)
MOST_BIDS: Final = None

_BIDS: Final = (
    "read_json('{source}', format='newline_delimited', "
    "columns={{auction: 'BIGINT', price: 'BIGINT', date_time: 'BIGINT'}})"
)
_WINDOW: Final = (
    "date_time // 10000 * 10000 AS start_ms, date_time // 10000 * 10000 + 10000 AS end_ms, "
    "count(*) AS n, sum({value})::BIGINT AS total"
)


def window(job: FileJob) -> None:
    """Count and sum per auction and ten seconds."""
    _copy(job, "auction AS key", "price")


def function(job: FileJob) -> None:
    """The same over what the function would give, in SQL."""
    _copy(job, "auction, if(price > 10000, 'high', 'low') AS bucket", "price * 908 // 1000")


def _copy(job: FileJob, key: str, value: str) -> None:
    import duckdb

    source = _BIDS.format(source=job.source)
    query = f"SELECT {key}, {_WINDOW.format(value=value)} FROM {source} GROUP BY ALL"
    with duckdb.connect() as database:
        database.execute(f"COPY ({query}) TO '{job.output / 'all.jsonl'}' (FORMAT json)")
