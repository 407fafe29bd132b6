"""`kill -9` of the command line at random instants: every window comes exactly once, as a batch query sees it."""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import duckdb
import pytest

APP = """
import msgspec
from tidegate.connectors import files, formats
from tidegate.engine import Topology
from tidegate.operators import Watermarks, agg, windows


class Bid(msgspec.Struct):
    auction: str
    at: int
    price: int


topology = Topology("bids")
(
    topology.source(
        "bids",
        files.lines("bids.jsonl", formats.json(Bid)),
        event_time="at",
        watermarks=Watermarks(out_of_orderness="2s"),
        rate_limit={rate},
    )
    .key_by("auction", name="by-auction")
    .window(windows.tumbling("10s"))
    .aggregate(name="window", bids=agg.count(), total=agg.sum("price"), highest=agg.max("price"))
    .sink("windows", files.lines("out", formats.json()))
)
"""

BATCH = """
SELECT auction AS key, "at" // 10000 * 10000 AS start_ms, start_ms + 10000 AS end_ms,
       count(*)::BIGINT AS bids, sum(price)::BIGINT AS total, max(price)::BIGINT AS highest
FROM read_json('bids.jsonl', columns={auction: 'VARCHAR', "at": 'BIGINT', price: 'BIGINT'}) GROUP BY ALL
"""
STREAMED = """
SELECT key, start_ms, end_ms, bids, total, highest FROM read_json('out/part-*.jsonl', columns={
    key: 'VARCHAR', start_ms: 'BIGINT', end_ms: 'BIGINT', bids: 'BIGINT', total: 'BIGINT', highest: 'BIGINT'})
"""


def _write_bids(path: Path, count: int, chance: random.Random) -> None:
    """One bid a millisecond on 500 auctions, out of order by less than two seconds."""
    jitter = [chance.randrange(2_000) for _ in range(4_096)]
    with path.open("w") as file:
        for start in range(0, count, 100_000):
            file.writelines(
                f'{{"auction":"a{i * 7919 % 500}","at":{i + jitter[i % 4096]},"price":{i % 977}}}\n'
                for i in range(start, min(start + 100_000, count))
            )


def _start(folder: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "tidegate.engine.cli.main", "run", "app.py:topology", "--checkpoints", "state"]
    return subprocess.Popen(
        [*command, "--interval", "100ms", "--no-live"], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )


def _output(process: subprocess.Popen[bytes], timeout_s: float) -> str:
    out, _ = process.communicate(timeout=timeout_s)
    return out.decode(errors="replace")


def _compare(folder: Path) -> tuple[int, list[Any], list[Any]]:
    """How many windows there are, those that are missing, and those that are too many."""
    with duckdb.connect() as database:
        database.execute(f"SET file_search_path = '{folder}'")
        windows = database.execute(f"SELECT count(*) FROM ({BATCH})").fetchone()
        missing = database.execute(f"({BATCH}) EXCEPT ALL ({STREAMED})").fetchmany(5)
        too_many = database.execute(f"({STREAMED}) EXCEPT ALL ({BATCH})").fetchmany(5)
    assert windows is not None
    return windows[0], missing, too_many


def _comes_to_checkpoint(folder: Path, process: subprocess.Popen[bytes], checkpoint_id: int) -> None:
    """Wait until the checkpoint is there, whatever else the machine does meanwhile."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        if any(int(path.name) >= checkpoint_id for path in folder.glob("state/bids/checkpoints/[0-9]*")):
            return
        time.sleep(0.01)


def _run_with_kills(
    folder: Path, events: int, kills: int, lives_s: tuple[float, float], rate: int, *, checkpoints: int = 0
) -> None:
    """Each life lasts so long, its start included; with `checkpoints`, beginning after so many more of them."""
    seed = int.from_bytes(os.urandom(4))
    print(f"seed {seed}")
    chance = random.Random(seed)
    _write_bids(folder / "bids.jsonl", events, chance)
    (folder / "app.py").write_text(APP.format(rate=rate))
    for number in range(kills):
        with _start(folder) as process:
            if checkpoints:
                _comes_to_checkpoint(folder, process, (number + 1) * checkpoints)
            try:
                process.wait(chance.uniform(*lives_s))
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
            out = _output(process, 30)
            assert process.returncode == -signal.SIGKILL, f"seed {seed}: run {number} ended by itself:\n{out}"
    with _start(folder) as process:
        out = _output(process, 240)
        print(out)
        assert process.returncode == 0, f"seed {seed}: the last run failed:\n{out}"
    count, missing, too_many = _compare(folder)
    assert count > events / 10_000
    assert (missing, too_many) == ([], []), f"seed {seed}"
    assert re.search(r"restored_from=\d+", out), "the last run did not go on from a checkpoint"


@pytest.mark.slow
def test_three_kills(tmp_path):
    """A job that was killed three times gives every window once."""
    _run_with_kills(tmp_path, events=700_000, kills=3, lives_s=(0.0, 1.0), rate=100_000, checkpoints=3)


@pytest.mark.long
@pytest.mark.timeout(900)
def test_thirty_kills_while_three_million_events_pass(tmp_path):
    """A job that was killed thirty times gives every window once."""
    _run_with_kills(tmp_path, events=3_000_000, kills=30, lives_s=(0.5, 2.0), rate=80_000)
