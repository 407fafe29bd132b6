"""What is kept of a run, and what is shown."""

from __future__ import annotations

import json
import os
import platform
from pathlib import Path

import pytest

from benchmarks import report
from benchmarks.harness import Outcome
from benchmarks.report import document, print_table, save

COMPARED: dict[str, dict[str, float]] = {
    side: {"run_s": seconds, "cpu_s": seconds, "peak_rss_mb": 40.0}
    for side, seconds in (("engine", 2.0), ("loop", 1.0))
}
RATIOS = {f"{name}{which}": 0.5 for name in ("ratio", "cpu_ratio") for which in ("", "_lowest", "_highest")}


def outcome() -> Outcome:
    """The window, at half the speed of the loop."""
    figures = {
        f"{side}.{name}": value
        for side, measured in COMPARED.items()
        for name, value in (measured | {"events_per_s": 1e6 / measured["run_s"], "cpu_s_per_million": 1.0}).items()
    }
    return Outcome("tumbling-window", 1_000_000, [COMPARED], figures | RATIOS, 0.1)


def test_a_result_says_on_what_it_was_measured_and_not_where() -> None:
    """Versions and the kind of machine; no name of it, no paths."""
    text = json.dumps(document([outcome()]))
    found = json.loads(text)
    assert found["machine"]["libraries"]["msgspec"]
    assert found["machine"]["cores"] == os.cpu_count()
    assert found["scenarios"][0]["wanted"][0]["met"] is False
    assert str(Path.cwd()) not in text
    assert platform.node() not in text


def test_no_result_is_written_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of one day are numbered."""
    monkeypatch.setattr(report, "RESULTS", tmp_path)
    found = {"date": "2026-01-02"}
    assert [save(found, None).name for _ in range(3)] == ["2026-01-02.json", "2026-01-02-2.json", "2026-01-02-3.json"]
    assert save(found, tmp_path / "mine.json").name == "mine.json"


def test_the_table_shows_what_is_wanted_and_whether_it_is_met(capsys: pytest.CaptureFixture[str]) -> None:
    """With the rates of both sides."""
    print_table([outcome()])
    shown = capsys.readouterr().out
    for text in ("engine: 500,000/s", "loop: 1,000,000/s", "ratio 0.50", "at least 0.70 of the loop", "not met"):
        assert text in shown
