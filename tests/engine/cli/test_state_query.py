"""`tidegate state tables` and `tidegate state query`."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pyarrow.parquet as pq
import pytest
from tidegate.connectors import memory
from tidegate.engine import RunConfig, Topology, start
from tidegate.engine.cli.main import main
from tidegate.engine.executor import InlineExecutor
from tidegate.engine.testing import Pause, ScriptedSource
from tidegate.operators import MapState, ProcessFunction, ValueState, agg, windows

Run = Callable[..., tuple[int, str, str]]


class Visit(msgspec.Struct):
    user: str
    page: str
    at_ms: int


VISITS = [Visit(["ann", "bea", "cid"][n % 3], f"/{n % 4}", 1000 * n) for n in range(60)]


class Pages(ProcessFunction[Visit, int]):
    """How often a user has seen each page, and the last one."""

    SEEN: Any = MapState("seen", str, int)
    LAST: Any = ValueState("last", Visit)

    def states(self) -> Any:
        return [self.SEEN, self.LAST]

    def open(self, context: Any) -> None:
        self.seen, self.last = context.state(self.SEEN), context.state(self.LAST)

    def process(self, value: Visit, context: Any) -> Any:
        self.seen.put(value.page, (self.seen.get(value.page) or 0) + 1)
        self.last.set(value)


@pytest.fixture(scope="module")
def location(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a checkpoint of a job with three states, in RocksDB, of two subtasks."""
    folder = tmp_path_factory.mktemp("state")
    topology = Topology("visits")
    stream = topology.source("visits", memory.source(VISITS), event_time="at_ms")
    by_user = stream.key_by("user", name="by-user", key_type=str)
    by_user.process(Pages(), name="pages").sink("nothing", memory.sink())
    pairs = stream.key_by(lambda v: (v.user, v.page), name="by-both", key_type=tuple[str, str])
    pairs.window(windows.tumbling("1h")).aggregate(name="per-hour", n=agg.count()).sink("out", memory.sink())

    async def take() -> None:
        config = RunConfig(checkpoints=folder, stop_after_records=60, parallelism=2)
        async with start(topology, config, executor=InlineExecutor()) as job:
            await job.wait()

    asyncio.run(take())
    return folder


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command line: exit code, stdout, stderr."""

    def run_one(*arguments: Any) -> tuple[int, str, str]:
        code = main(["state", *map(str, arguments)])
        captured = capsys.readouterr()
        return int(code), captured.out, captured.err

    return run_one


def test_the_tables_are_listed_with_columns_and_counts(run: Run, location: Path) -> None:
    """As SQL names them."""
    code, out, _ = run("tables", location)
    assert code == 0
    lines = dict(line.split(": ", 1) for line in out.splitlines())
    assert lines["pages.seen"] == "12 rows (key VARCHAR, map_key VARCHAR, value BIGINT)"
    assert lines["pages.last"] == "3 rows (key VARCHAR, at_ms BIGINT, page VARCHAR, user VARCHAR)"
    windows = "12 rows (key VARCHAR, key_0 VARCHAR, key_1 VARCHAR, end_ms BIGINT, n BIGINT)"
    assert lines['"per-hour".panes'] == windows
    found = json.loads(run("tables", location, "--json")[1])
    assert {table["operator"] for table in found} == {"pages", "per-hour"}


def test_states_are_asked_in_sql(run: Run, location: Path) -> None:
    """Over all subtasks; joined, grouped, by the parts of a key."""
    sql = 'SELECT key, sum("value") AS n FROM pages.seen GROUP BY key ORDER BY key'
    code, out, _ = run("query", sql, location)
    assert code == 0
    assert out.splitlines() == ["key   n", "---  --", "ann  20", "bea  20", "cid  20"]
    sql = """SELECT p."user", p.at_ms, count(*) AS pages FROM pages.last p
              JOIN "per-hour".panes h ON h.key_0 = p.key WHERE h.end_ms = 3600000 GROUP BY ALL ORDER BY 1;"""
    assert json.loads(run("query", sql, location, "--json")[1]) == [
        {"user": "ann", "at_ms": 57000, "pages": 4},
        {"user": "bea", "at_ms": 58000, "pages": 4},
        {"user": "cid", "at_ms": 59000, "pages": 4},
    ]


def test_a_savepoint_is_asked_by_its_name(run: Run, tmp_path: Path) -> None:
    """Whatever format its files have."""
    topology = Topology("totals")
    source = ScriptedSource([1, 2, 3, 4, Pause()], bounded=False)
    keyed = topology.source("in", source).key_by(lambda n: n % 2, name="by", key_type=int)
    keyed.aggregate(name="sums", total=agg.sum()).sink("out", memory.sink())

    async def take() -> None:
        config = RunConfig(checkpoints=tmp_path, checkpoint_interval="1h", linger="0ms")
        async with start(topology, config, executor=InlineExecutor()) as job:
            await job.began.wait()
            for _ in range(200):
                await asyncio.sleep(0)
            await job.stop("end")

    asyncio.run(take())
    sql = "SELECT key, total FROM sums.totals ORDER BY key"
    found = json.loads(run("query", sql, tmp_path, "--checkpoint", "end", "--json")[1])
    assert found == [{"key": 0, "total": 6}, {"key": 1, "total": 4}]


def test_nothing_found_is_an_empty_table(run: Run, location: Path) -> None:
    """And an empty array."""
    sql = "SELECT key FROM pages.seen WHERE key = 'eve'"
    assert run("query", sql, location)[1].splitlines() == ["key", "---"]
    assert run("query", sql, location, "--json")[1] == "[]\n"


def test_results_are_written_to_files(run: Run, location: Path, tmp_path: Path) -> None:
    """Parquet, CSV or JSON lines, by the name; whole or not at all."""
    sql = 'SELECT key, map_key, "value" AS n FROM pages.seen ORDER BY ALL;'
    for name in ("o.parquet", "o.csv", "o.jsonl"):
        code, out, err = run("query", sql, location, "--output", tmp_path / name)
        assert (code, out, err) == (0, "", f"12 rows written to {tmp_path / name}\n")
    assert pq.read_table(tmp_path / "o.parquet").column("n").to_pylist() == [5] * 12
    assert (tmp_path / "o.csv").read_text().splitlines()[:2] == ["key,map_key,n", "ann,/0,5"]
    assert json.loads((tmp_path / "o.jsonl").read_text().splitlines()[0]) == {"key": "ann", "map_key": "/0", "n": 5}
    assert not list(tmp_path.glob("*.partial"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["SELECT * FROM pages.sen"], "the tables are: pages.last, pages.seen, "),
        (["SELEC 1"], 'query: Parser Error: syntax error at or near "SELEC"'),
        (["SELECT 1", "--output", "x.xml"], "--output x.xml: the name must end in .parquet, .csv or .jsonl"),
        (["SELECT 1", "--output", "/nowhere/x.csv"], "/nowhere/x.csv"),
        (["SELECT 1", "--checkpoint", "9"], "there is no checkpoint 9"),
        (["SELECT 1", "--job", "other"], "there is no job 'other'; there are: visits"),
    ],
)
def test_a_wrong_query_is_one_clear_line(run: Run, location: Path, arguments: list[str], message: str) -> None:
    """On stderr, with exit code 2, and no traceback."""
    sql, *rest = arguments
    code, out, err = run("query", sql, location, *rest)
    assert (code, out) == (2, "")
    assert message in err
    assert len(err.splitlines()) == 1
