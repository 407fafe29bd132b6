"""What each scenario over the bids must give, by DuckDB: it shares no code with the engine or the loops."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from .scenario import BenchmarkError, Setup

_BIDS: Final = (
    "read_json('{bids}', format='newline_delimited', "
    "columns={{auction: 'BIGINT', bidder: 'BIGINT', price: 'BIGINT', date_time: 'BIGINT'}})"
)
_WINDOW: Final = (
    "date_time // 10000 * 10000 AS start_ms, date_time // 10000 * 10000 + 10000 AS end_ms, "
    "count(*) AS n, sum({value})::BIGINT AS total"
)

_ANSWERS: Final[dict[str, tuple[str, str]]] = {
    "copy": (
        "auction: 'BIGINT', bidder: 'BIGINT', price: 'BIGINT', date_time: 'BIGINT'",
        "SELECT auction, bidder, price, date_time FROM {source}",
    ),
    "stateless": (
        "auction: 'BIGINT', bidder: 'BIGINT', price: 'DOUBLE', date_time: 'BIGINT'",
        "SELECT auction, bidder, price * 0.908::DOUBLE AS price, date_time FROM {source} WHERE price > 1000",
    ),
    "keyed-aggregate": (
        "key: 'BIGINT', n: 'BIGINT', highest: 'BIGINT'",
        "SELECT auction AS key, count(*) OVER so_far AS n, max(price) OVER so_far AS highest "
        "FROM (SELECT *, row_number() OVER () AS line FROM {source}) "
        "WINDOW so_far AS (PARTITION BY auction ORDER BY line)",
    ),
    "tumbling-window": (
        "key: 'BIGINT', start_ms: 'BIGINT', end_ms: 'BIGINT', n: 'BIGINT', total: 'BIGINT'",
        f"SELECT auction AS key, {_WINDOW.format(value='price')} FROM {{source}} GROUP BY ALL",
    ),
    "window-with-function": (
        "key: 'JSON[]', start_ms: 'BIGINT', end_ms: 'BIGINT', n: 'BIGINT', total: 'BIGINT'",
        "SELECT [to_json(auction), to_json(if(price > 10000, 'high', 'low'))] AS key, "
        f"{_WINDOW.format(value='price * 908 // 1000')} FROM {{source}} GROUP BY ALL",
    ),
    # The same, where the two fields of the key are fields of the result: not everybody can write a list of both kinds.
    "window-with-function-flat": (
        "auction: 'BIGINT', bucket: 'VARCHAR', start_ms: 'BIGINT', end_ms: 'BIGINT', n: 'BIGINT', total: 'BIGINT'",
        "SELECT auction, if(price > 10000, 'high', 'low') AS bucket, "
        f"{_WINDOW.format(value='price * 908 // 1000')} FROM {{source}} GROUP BY ALL",
    ),
}


def check(scenario: str, setup: Setup, side: str) -> None:
    """Compare all rows that a side wrote, as often as each is there, with the answer over the bids.

    Raises:
        BenchmarkError: they differ; says how, and shows a row.
    """
    columns, answer = _ANSWERS[scenario]
    output = setup.output(side)
    if not any(output.glob("*.jsonl")):
        raise BenchmarkError(f"{scenario}, {side}: wrote nothing")
    import duckdb

    with duckdb.connect() as database:
        source = _BIDS.format(bids=_quoted(setup.bids))
        written = f"read_json('{_quoted(output)}/*.jsonl', format='newline_delimited', columns={{{columns}}})"
        database.execute(f"CREATE TABLE answer AS {answer.format(source=source)}")
        database.execute(f"CREATE TABLE written AS SELECT * FROM {written}")
        missing = _rows(database, "SELECT * FROM answer EXCEPT ALL SELECT * FROM written")
        surplus = _rows(database, "SELECT * FROM written EXCEPT ALL SELECT * FROM answer")
    if missing or surplus:
        example = f"missing {missing[0]}" if missing else f"not in the answer {surplus[0]}"
        raise BenchmarkError(
            f"{scenario}, {side}: the results are wrong: {len(missing)} rows are missing and {len(surplus)} are not in "
            f"the answer by DuckDB; {example}"
        )


def totals(bids: Path) -> dict[str, int]:
    """How many bids a file has, and the sum of their prices."""
    import duckdb

    with duckdb.connect() as database:
        source = _BIDS.format(bids=_quoted(bids))
        ((count, total),) = _rows(database, f"SELECT count(*), sum(price)::BIGINT FROM {source}")
    return {"bids": count, "total": total}


def _rows(database: Any, query: str) -> list[Any]:
    rows: list[Any] = database.execute(query).fetchall()
    return rows


def _quoted(path: Path) -> str:
    return str(path).replace("'", "''")
