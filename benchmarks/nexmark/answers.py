"""What each query must give, by DuckDB over the file of events: it shares no code with the engine.

Queries q4, q6, q9 and q15 to q19 tell updates; what counts is what holds at the end. Where the reference leaves
open which of several equal records is meant, the first to come is, or for "the newest" the last to come. q6 is that of the
paper, of the last ten auctions to close (the reference does not run it); q19 gives the ten bids without numbering them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from ..scenario import BenchmarkError

_FIELDS: Final = {
    "type": "VARCHAR", "id": "BIGINT", "name": "VARCHAR", "email_address": "VARCHAR", "credit_card": "VARCHAR",
    "city": "VARCHAR", "state": "VARCHAR", "item_name": "VARCHAR", "description": "VARCHAR", "initial_bid": "BIGINT",
    "reserve": "BIGINT", "expires": "BIGINT", "seller": "BIGINT", "category": "BIGINT", "auction": "BIGINT",
    "bidder": "BIGINT", "price": "BIGINT", "channel": "VARCHAR", "url": "VARCHAR", "date_time": "BIGINT",
    "extra": "VARCHAR",
}  # fmt: skip

_DAY: Final = "strftime(make_timestamp(date_time * 1000), '%Y-%m-%d')"
_MINUTE: Final = "strftime(make_timestamp(date_time * 1000), '%H:%M')"
_CHANNEL_ID: Final = "regexp_extract(url, '(&|^)channel_id=([^&]*)', 2)"

_WINNING: Final = """
    SELECT a.id, a.seller, a.category, a.expires, b.auction, b.bidder, b.price, b.date_time, b.line
    FROM auction a JOIN bid b ON a.id = b.auction AND b.date_time BETWEEN a.date_time AND a.expires
    QUALIFY row_number() OVER (PARTITION BY a.id ORDER BY b.price DESC, b.date_time, b.line) = 1
"""

_RANKS: Final = """
    count(*) AS total_bids,
    count(*) FILTER (price < 10000) AS rank1_bids,
    count(*) FILTER (price >= 10000 AND price < 1000000) AS rank2_bids,
    count(*) FILTER (price >= 1000000) AS rank3_bids
"""
_DISTINCT: Final = ", ".join(
    f"count(DISTINCT {field}) {condition} AS {name}_{field}s"
    for field in ("bidder", "auction")
    for name, condition in (
        ("total", ""),
        ("rank1", "FILTER (price < 10000)"),
        ("rank2", "FILTER (price >= 10000 AND price < 1000000)"),
        ("rank3", "FILTER (price >= 1000000)"),
    )
)


@dataclass(frozen=True)
class Answer:
    """What is right.

    Attributes:
        sql: the rows, over the views `person`, `auction` and `bid`; each has `line`, its place among all events.
        kind: `rows`: all that is given out; `newest`: of what is given out, the last of each key; `summed`: of each key
            the sum of what is given out; `changes`: what is left when all changes are made.
        key: the columns that make the key. A result may have them as its field `key`.
    """

    sql: str
    kind: Literal["rows", "newest", "summed", "changes"] = "rows"
    key: tuple[str, ...] = ()


ANSWERS: Final[Mapping[str, Answer]] = {
    "q0": Answer("SELECT auction, bidder, price, date_time, extra FROM bid"),
    "q1": Answer("SELECT auction, bidder, 0.908::DOUBLE * price AS price, date_time, extra FROM bid"),
    "q2": Answer("SELECT auction, price FROM bid WHERE auction % 123 = 0"),
    "q3": Answer(
        "SELECT p.name, p.city, p.state, a.id FROM auction a JOIN person p ON a.seller = p.id "
        "WHERE a.category = 10 AND p.state IN ('OR', 'ID', 'CA')"
    ),
    "q4": Answer(
        f"SELECT category, avg(price)::DOUBLE AS final FROM ({_WINNING}) GROUP BY category", "changes", ("category",)
    ),
    "q5": Answer(
        "SELECT auction, num, end_ms FROM ("
        "SELECT auction, date_time // 2000 * 2000 + 2000 + 2000 * k AS end_ms, count(*) AS num "
        "FROM bid, range(5) r(k) GROUP BY ALL) QUALIFY num = max(num) OVER (PARTITION BY end_ms)"
    ),
    "q6": Answer(
        "SELECT seller, avg(price)::DOUBLE AS avg_price FROM ("
        f"SELECT *, row_number() OVER (PARTITION BY seller ORDER BY expires DESC, id DESC) AS back FROM ({_WINNING})"
        ") WHERE back <= 10 GROUP BY seller",
        "newest",
        ("seller",),
    ),
    "q7": Answer(
        "SELECT auction, price, bidder, date_time, extra FROM bid "
        "QUALIFY price = max(price) OVER (PARTITION BY date_time // 10000)"
    ),
    "q8": Answer(
        "SELECT DISTINCT p.id, p.name, p.date_time // 10000 * 10000 AS start_ms FROM person p "
        "JOIN auction a ON p.id = a.seller AND p.date_time // 10000 = a.date_time // 10000"
    ),
    "q9": Answer(
        "SELECT a.id, a.item_name, a.description, a.initial_bid, a.reserve, a.date_time, a.expires, a.seller, "
        "a.category, a.extra, b.auction, b.bidder, b.price, b.date_time AS bid_date_time, b.extra AS bid_extra "
        f"FROM ({_WINNING}) w JOIN auction a ON a.id = w.id JOIN bid b ON b.line = w.line",
        "newest",
        ("id",),
    ),
    "q10": Answer(f"SELECT auction, bidder, price, date_time, extra, {_DAY} AS dt, {_MINUTE} AS hm FROM bid"),
    "q11": Answer(
        "SELECT bidder, count(*) AS bid_count, min(date_time) AS start_ms, max(date_time) + 10000 AS end_ms FROM ("
        "SELECT *, sum(new) OVER (PARTITION BY bidder ORDER BY date_time, line) AS session FROM ("
        "SELECT *, coalesce(date_time - lag(date_time) OVER (PARTITION BY bidder ORDER BY date_time, line) >= 10000, "
        "true)::INTEGER AS new FROM bid)) GROUP BY bidder, session"
    ),
    # Windows of processing time differ from run to run: what all of them hold does not.
    "q12": Answer("SELECT bidder, count(*)::BIGINT AS bid_count FROM bid GROUP BY bidder", "summed", ("bidder",)),
    "q13": Answer("SELECT auction, bidder, price, date_time, 'value-' || (auction % 10000) AS value FROM bid"),
    "q14": Answer(
        "SELECT auction, bidder, 0.908::DOUBLE * price AS price, CASE "
        "WHEN date_time // 3600000 % 24 BETWEEN 8 AND 18 THEN 'dayTime' "
        "WHEN date_time // 3600000 % 24 <= 6 OR date_time // 3600000 % 24 >= 20 THEN 'nightTime' "
        "ELSE 'otherTime' END AS bid_time_type, date_time, extra, "
        "length(extra) - length(replace(extra, 'c', '')) AS c_counts FROM bid "
        "WHERE 0.908::DOUBLE * price > 1000000 AND 0.908::DOUBLE * price < 50000000"
    ),
    "q15": Answer(f"SELECT {_DAY} AS day, {_RANKS}, {_DISTINCT} FROM bid GROUP BY day", "newest", ("day",)),
    "q16": Answer(
        f"SELECT channel, {_DAY} AS day, max({_MINUTE}) AS minute, {_RANKS}, {_DISTINCT} "
        "FROM bid GROUP BY channel, day",
        "newest",
        ("channel", "day"),
    ),
    "q17": Answer(
        f"SELECT auction, {_DAY} AS day, {_RANKS}, min(price) AS min_price, max(price) AS max_price, "
        "avg(price)::DOUBLE AS avg_price, sum(price)::BIGINT AS sum_price FROM bid GROUP BY auction, day",
        "newest",
        ("auction", "day"),
    ),
    "q18": Answer(
        "SELECT auction, bidder, price, channel, url, date_time, extra FROM bid "
        "QUALIFY row_number() OVER (PARTITION BY bidder, auction ORDER BY date_time DESC, line DESC) = 1",
        "newest",
        ("auction", "bidder"),
    ),
    "q19": Answer(
        "SELECT auction, bidder, price, channel, url, date_time, extra FROM bid "
        "QUALIFY row_number() OVER (PARTITION BY auction ORDER BY price DESC, line) <= 10",
        "changes",
    ),
    "q20": Answer(
        "SELECT b.auction, b.bidder, b.price, b.channel, b.url, b.date_time AS bid_date_time, b.extra AS bid_extra, "
        "a.item_name, a.description, a.initial_bid, a.reserve, a.date_time AS auction_date_time, a.expires, a.seller, "
        "a.category, a.extra AS auction_extra FROM bid b JOIN auction a ON b.auction = a.id WHERE a.category = 10"
    ),
    "q21": Answer(
        "SELECT auction, bidder, price, channel, CASE lower(channel) WHEN 'apple' THEN '0' WHEN 'google' THEN '1' "
        f"WHEN 'facebook' THEN '2' WHEN 'baidu' THEN '3' ELSE {_CHANNEL_ID} END AS channel_id FROM bid "
        f"WHERE {_CHANNEL_ID} <> '' OR lower(channel) IN ('apple', 'google', 'facebook', 'baidu')"
    ),
    "q22": Answer(
        "SELECT auction, bidder, price, channel, split_part(url, '/', 4) AS dir1, split_part(url, '/', 5) AS dir2, "
        "split_part(url, '/', 6) AS dir3 FROM bid"
    ),
}


def check(query: str, events: Path, output: Path) -> int:
    """Compare what a query wrote, as JSON lines into a folder, with the answer; how many rows that has.

    Raises:
        BenchmarkError: they differ; says how, and shows a row.
    """
    import duckdb

    answer = ANSWERS[query]
    with duckdb.connect() as database:
        database.execute(
            "CREATE TABLE events AS SELECT *, row_number() OVER () AS line FROM " + _json_lines(events, _FIELDS)
        )
        for kind in ("person", "auction", "bid"):
            database.execute(f"CREATE VIEW {kind} AS SELECT * EXCLUDE (type) FROM events WHERE type = '{kind}'")
        database.execute(f"CREATE TABLE answer AS {answer.sql}")
        columns = {name: kind for name, kind, *_ in database.execute("DESCRIBE answer").fetchall()}
        database.execute("CREATE TABLE written AS SELECT * FROM answer LIMIT 0")
        if any(output.glob("*.jsonl")):
            _take_in(database, answer, columns, output)
        missing = database.execute("SELECT * FROM answer EXCEPT ALL SELECT * FROM written").fetchall()
        surplus = database.execute("SELECT * FROM written EXCEPT ALL SELECT * FROM answer").fetchall()
        (count,) = database.execute("SELECT count(*) FROM answer").fetchone() or (0,)
    if missing or surplus:
        example = f"missing {missing[0]}" if missing else f"not in the answer {surplus[0]}"
        raise BenchmarkError(
            f"nexmark {query}: the results are wrong: {len(missing)} rows of {count} are missing and {len(surplus)} are "
            f"not in the answer by DuckDB; {example}"
        )
    return int(count)


def _json_lines(path: Path, columns: Mapping[str, str]) -> str:
    listed = ", ".join(f"{name}: '{kind}'" for name, kind in columns.items())
    quoted = str(path).replace("'", "''")
    return f"read_json('{quoted}', format='newline_delimited', columns={{{listed}}})"


def _take_in(database: Any, answer: Answer, columns: Mapping[str, str], output: Path) -> None:
    """Fill the table `written` with the rows that count."""
    import polars as pl

    if answer.kind == "rows":
        database.execute(f"INSERT INTO written SELECT * FROM {_json_lines(output / '*.jsonl', columns)}")
        return
    names = list(columns)
    rows = _counted(answer, names, _written(output))
    frame = pl.DataFrame([[row[name] for name in names] for row in rows], schema=names, orient="row")
    database.register("frame", frame.to_arrow())
    database.execute("INSERT INTO written SELECT * FROM frame")


def _written(output: Path) -> Iterator[dict[str, Any]]:
    """What was given out, in the order in which it came."""
    decoder = msgspec.json.Decoder(dict[str, Any])
    for part in sorted(output.glob("*.jsonl")):
        yield from decoder.decode_lines(part.read_bytes())


def _counted(answer: Answer, names: Sequence[str], written: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The rows that count."""
    if answer.kind == "changes":
        return _left(answer, names, written)
    rows = (_named(answer, row) for row in written)
    found: dict[tuple[Any, ...], Mapping[str, Any]] = {}
    for row in rows:
        key = tuple(row[name] for name in answer.key)
        before = found.get(key)
        if answer.kind == "summed" and before is not None:
            row = {name: row[name] if name in answer.key else row[name] + before[name] for name in names}
        found[key] = row
    return list(found.values())


def _named(answer: Answer, row: Mapping[str, Any]) -> Mapping[str, Any]:
    """The row with the columns that its field `key` stands for."""
    if "key" not in row or not answer.key:
        return row
    key = row["key"] if len(answer.key) > 1 else (row["key"],)
    return {**row, **dict(zip(answer.key, key, strict=True))}


def _left(answer: Answer, names: Sequence[str], written: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The rows that are there when all changes have been made. A row may be taken away before it is added: parts of the
    output have no order between them."""
    counts: Counter[tuple[Any, ...]] = Counter()
    for change in written:
        row = _named(answer, change["value"])
        counts[tuple(row[name] for name in names)] += 1 if change["kind"] in ("+I", "+U") else -1
    return [dict(zip(names, row, strict=True)) for row, count in counts.items() for _ in range(count)]
