"""The engine, the loops and DuckDB give the same results."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.answers import check
from benchmarks.scenario import BenchmarkError, Setup, load

N_BIDS = 20_000
COMPARED = ["stateless", "keyed-aggregate", "tumbling-window", "sliding-window", "window-with-function"]


@pytest.mark.slow
@pytest.mark.parametrize("name", COMPARED)
def test_engine_and_loop_agree_with_duckdb(name: str, bids: Path, tmp_path: Path) -> None:
    """Every row, as often as it is there."""
    setup = Setup(N_BIDS, bids, tmp_path)
    for side, measure in load(name).sides.items():
        figures = measure(setup)
        assert figures["run_s"] > 0
        check(name, setup, side)


@pytest.mark.slow
def test_checkpoints_do_not_change_the_results(bids: Path, tmp_path: Path) -> None:
    """The sides of the checkpoint scenario give what the window gives."""
    scenario = load("checkpoint-cost")
    setup = Setup(N_BIDS, bids, tmp_path)
    for side, measure in scenario.sides.items():
        measure(setup)
        assert scenario.check is not None
        scenario.check(setup, side)


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (b"", "19 rows are missing and 0 are not in the answer"),
        (b'{"key":1,"start_ms":0,"end_ms":10000,"n":1,"total":7}\n', "1 are not in the answer by DuckDB"),
    ],
)
def test_wrong_results_are_refused(rows: bytes, said: str, tmp_path: Path) -> None:
    """With how many rows differ, and one of them."""
    setup = Setup(20, tmp_path / "bids.jsonl", tmp_path)
    setup.bids.write_bytes(
        b"".join(b'{"auction":%d,"bidder":1,"price":5,"date_time":1000}\n' % max(i, 1) for i in range(20))
    )
    setup.output("loop").mkdir()
    (setup.output("loop") / "all.jsonl").write_bytes(rows)
    with pytest.raises(BenchmarkError, match="tumbling-window, loop: the results are wrong") as refused:
        check("tumbling-window", setup, "loop")
    assert said in str(refused.value)


def test_no_results_are_refused(bids: Path, tmp_path: Path) -> None:
    """A side that wrote nothing is named."""
    with pytest.raises(BenchmarkError, match="stateless, engine: wrote nothing"):
        check("stateless", Setup(N_BIDS, bids, tmp_path), "engine")
