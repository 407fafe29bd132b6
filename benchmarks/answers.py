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
    "sliding-window": (
        "auction: 'BIGINT', n: 'BIGINT', end_ms: 'BIGINT'",
        "SELECT auction, n, end_ms FROM (SELECT auction, count(*) AS n, "
        "date_time // 2000 * 2000 + 2000 + 2000 * back AS end_ms FROM {source}, range(5) windows(back) GROUP BY ALL) "
        "QUALIFY n = max(n) OVER (PARTITION BY end_ms)",
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
    source = _BIDS.format(bids=quoted(setup.bids))
    compare(f"{scenario}, {side}", setup.output(side), columns, answer.format(source=source))


def compare(who: str, output: Path, columns: str, answer: str, taken: str = "SELECT * FROM written") -> None:
    """Compare the rows in a folder of JSON lines, as often as each is there, with the answer.

    Args:
        who: whose rows they are.
        output: the folder.
        columns: the fields of the rows, with their types.
        answer: a query that gives the right rows.
        taken: which of the rows count, as a query of `written`.

    Raises:
        BenchmarkError: they differ; says how, and shows a row.
    """
    if not any(output.glob("*.jsonl")):
        raise BenchmarkError(f"{who}: wrote nothing")
    import duckdb

    with duckdb.connect() as database:
        rows = f"read_json('{quoted(output)}/*.jsonl', format='newline_delimited', columns={{{columns}}})"
        database.execute(f"CREATE TABLE answer AS {answer}")
        database.execute(f"CREATE TABLE written AS WITH written AS (SELECT * FROM {rows}) {taken}")
        missing = _rows(database, "SELECT * FROM answer EXCEPT ALL SELECT * FROM written")
        surplus = _rows(database, "SELECT * FROM written EXCEPT ALL SELECT * FROM answer")
    if missing or surplus:
        example = f"missing {missing[0]}" if missing else f"not in the answer {surplus[0]}"
        raise BenchmarkError(
            f"{who}: the results are wrong: {len(missing)} rows are missing and {len(surplus)} are not in "
            f"the answer by DuckDB; {example}"
        )


def totals(bids: Path) -> dict[str, int]:
    """How many bids a file has, and the sum of their prices."""
    import duckdb

    with duckdb.connect() as database:
        source = _BIDS.format(bids=quoted(bids))
        ((count, total),) = _rows(database, f"SELECT count(*), sum(price)::BIGINT FROM {source}")
    return {"bids": count, "total": total}


def _rows(database: Any, query: str) -> list[Any]:
    rows: list[Any] = database.execute(query).fetchall()
    return rows


def quoted(path: Path) -> str:
    """A path as it stands between the quotes of a query."""
    return str(path).replace("'", "''")
