"""Scenarios run side by side, each side in its own process."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import harness
from benchmarks.harness import run_scenario, run_side
from benchmarks.scenario import BenchmarkError, Setup

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def _data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bids and work of the tests are the tests' own."""
    monkeypatch.setattr(harness, "DATA", tmp_path)


def unheard(_: str) -> None:
    """Nobody is told."""


def test_a_scenario_is_measured_in_processes_of_its_own(tmp_path: Path) -> None:
    """Work and whole process apart; the outcome is JSON; no work is left behind."""
    told: list[str] = []
    outcome = run_scenario("tumbling-window", 2_000, 2, told.append)
    assert told[1:] == [
        "tumbling-window: warm-up, engine",
        "tumbling-window: warm-up, loop",
        "tumbling-window: 1 of 2, engine",
        "tumbling-window: 1 of 2, loop",
        "tumbling-window: 2 of 2, engine",
        "tumbling-window: 2 of 2, loop",
    ]
    assert len(outcome.repetitions) == 2
    figures = outcome.figures
    assert 0 < figures["loop.run_s"] < figures["loop.process_s"]
    assert figures["engine.peak_rss_mb"] > 10
    shown = json.loads(json.dumps(outcome.as_json()))
    assert shown["wanted"][0]["measured"] == figures["ratio"]
    assert [path.name for path in tmp_path.iterdir()] == ["bids-v1-2000.jsonl"]


@pytest.mark.parametrize("name", ["recovery", "savepoint", "many-keys"])
def test_a_state_is_restored_by_another_process(name: str) -> None:
    """The scenario looks for itself whether its results go on from there."""
    outcome = run_scenario(name, 40_000, 1, unheard)
    assert all(wanted["measured"] > 0 for wanted in outcome.as_json()["wanted"])


def test_pauses_are_measured_beside_checkpoints() -> None:
    """With the longest time between results, while one is made and while none is."""
    figures = run_scenario("changed-keys", 20_000, 1, unheard).figures
    assert figures["job.gap_without_worst_ms"] > 0
    assert figures["job.sync_worst_ms"] > 0


def test_a_side_that_fails_is_named_with_what_it_said(tmp_path: Path) -> None:
    """Here there are no bids."""
    with pytest.raises(BenchmarkError, match=r"stateless, loop: ended with exit code 1\n(.|\n)*none\.jsonl"):
        run_side("stateless", "loop", Setup(10, tmp_path / "none.jsonl", tmp_path))
