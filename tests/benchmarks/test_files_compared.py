"""Contenders over files: what they are given, and what is made of what was measured."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

from benchmarks.answers import check
from benchmarks.peers import duckdb, engine, environment, loop, polars, spark
from benchmarks.peers.file_job import FileJob
from benchmarks.process_tree import Used
from benchmarks.scenario import BenchmarkError, Setup
from benchmarks.scenarios.files_compared import FUNCTION, START_BIDS, WINDOW, less_start, name_results

N_BIDS = 20_000


@pytest.mark.slow
@pytest.mark.parametrize("module", [engine, loop, duckdb, polars])
def test_the_engine_and_the_limits_write_what_duckdb_says(module: ModuleType, bids: Path, tmp_path: Path) -> None:
    """Both jobs; the engine has taken a checkpoint."""
    for number, contenders in enumerate((WINDOW, FUNCTION)):
        contender = contenders[module.LABEL]
        setup = Setup(N_BIDS, bids, tmp_path / str(number))
        job = FileJob(bids, setup.output(module.LABEL), setup.work / "state")
        job.output.mkdir(parents=True)
        job.work.mkdir()
        told = getattr(module, contender.job)(job)
        if module is engine:
            assert told["checkpoints"] >= 1
        check(contender.answer, setup, module.LABEL)


def test_a_start_is_taken_off() -> None:
    """From the time, the CPU time and the bids."""
    start, whole = Used(10.0, 20.0, 7, ""), Used(14.0, 22.0, 9_000_000, "")
    figures = less_start(start, whole, 5_000)
    assert (figures["events"], figures["run_s"], figures["cpu_s"]) == (4_000, 4.0, 2.0)
    assert (figures["start_up_s"], figures["whole_s"], figures["peak_rss_mb"]) == (10.0, 14.0, 9.0)


@pytest.mark.parametrize("whole", [Used(10.0, 22.0, 7, ""), Used(14.0, 19.0, 7, "")])
def test_a_run_that_cannot_be_told_from_its_start_has_no_speed(whole: Used) -> None:
    """By the clock or by CPU time; a rate would be infinite or less than nothing."""
    with pytest.raises(BenchmarkError, match=f"2000 bids take no longer than {START_BIDS}: take more events"):
        less_start(Used(10.0, 20.0, 7, ""), whole, 2_000)


def test_slow_contenders_take_the_first_of_the_bids() -> None:
    """No more than there are; the engine takes all."""
    assert WINDOW["bytewax"].count(5_000_000) == 200_000
    assert WINDOW["bytewax"].count(5_000) == 5_000
    assert WINDOW["engine"].count(5_000_000) == 5_000_000


def test_part_files_are_results_and_what_is_hidden_is_not(tmp_path: Path) -> None:
    """Unfinished files, checksums and lists of files are left where they are."""
    for name in ("part-0", "deep/part-0.json", ".part-1.inprogress", ".part-0.crc", "_metadata/0", "all.jsonl"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(name, encoding="utf-8")
    name_results(tmp_path)
    assert sorted(path.read_text() for path in tmp_path.glob("*.jsonl")) == ["all.jsonl", "deep/part-0.json", "part-0"]


def test_spark_reads_parts_in_order_and_a_bid_of_the_far_future_behind_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is lost; the order is that of the files' times."""
    monkeypatch.setattr(spark, "_LINES_PER_FILE", 2)
    bids = tmp_path / "bids.jsonl"
    bids.write_text("a\nb\nc\n", encoding="utf-8")
    parts = sorted(spark.split(bids).iterdir(), key=lambda path: path.stat().st_mtime)
    assert [path.read_text() for path in parts[:2]] == ["a\nb\n", "c\n"]
    assert '"auction":-1' in parts[2].read_text()
    assert spark.split(bids) == parts[0].parent


def test_contenders_of_our_own_run_in_this_interpreter(tmp_path: Path) -> None:
    """Others have one of their own."""
    job = FileJob(tmp_path / "bids", tmp_path / "out", tmp_path / "state")
    assert environment.file_command(tmp_path, loop, "window", job)[:5] == [
        sys.executable,
        "-m",
        "benchmarks.peers.file_job",
        "loop",
        "window",
    ]
    assert environment.python_of(tmp_path, duckdb).is_relative_to(tmp_path)


def test_only_so_many_bids_as_a_start_takes_are_refused(tmp_path: Path) -> None:
    """There would be nothing to measure."""
    from benchmarks.scenarios.files_compared import measure

    setup = replace(Setup(0, tmp_path / "bids", tmp_path), events=START_BIDS)
    with pytest.raises(BenchmarkError, match="take more events"):
        measure(WINDOW["loop"], "loop", setup)
