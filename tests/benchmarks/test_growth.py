"""The growth scenario: its jobs, its loops and DuckDB give the same results."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.readings import readings_file
from benchmarks.scenario import BenchmarkError, Setup
from benchmarks.scenarios.growth import DIMENSIONS, POINTS, SCENARIO, check

N_READINGS = 10_000


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the records are kept."""
    return tmp_path_factory.mktemp("readings")


@pytest.mark.slow
@pytest.mark.parametrize("dimension", DIMENSIONS)
def test_engine_and_loop_agree_with_duckdb(dimension: str, data: Path, tmp_path: Path) -> None:
    """Every row at ten times; where windows fire again, the last of each."""
    setup = Setup(N_READINGS, data / "none", tmp_path)
    for name in (dimension, f"{dimension}-loop"):
        (tmp_path / f"{name}.once").write_text("2.0")
    for side in (f"{dimension}-10", f"{dimension}-10-loop"):
        if side in SCENARIO.sides:
            figures = SCENARIO.sides[side](setup)
            assert figures["results_per_event"] > 0
            assert figures["share_of_once"] == pytest.approx(2.0 / figures["cpu_s_per_million"])
            check(setup, side)


@pytest.mark.slow
def test_state_is_in_a_checkpoint_before_the_clock_runs(tmp_path: Path) -> None:
    """20,000 keys of 1,000 bytes."""
    (tmp_path / "state.once").write_text("2.0")
    figures = SCENARIO.sides["state-10"](Setup(20_000, tmp_path / "none", tmp_path))
    assert figures["events_per_s"] > 0
    assert figures["state_mb"] >= 20


def test_wrong_results_are_refused(data: Path, tmp_path: Path) -> None:
    """With whose they are."""
    setup = Setup(100, data / "none", tmp_path)
    readings_file(data, 100, POINTS["overlap-1"].shape)
    setup.output("overlap-1").mkdir()
    row = b'{"key":1,"start_ms":0,"end_ms":10000,"n":1,"total":7}\n'
    (setup.output("overlap-1") / "part.jsonl").write_bytes(row)
    with pytest.raises(BenchmarkError, match="growth, overlap-1: the results are wrong"):
        check(setup, "overlap-1")
