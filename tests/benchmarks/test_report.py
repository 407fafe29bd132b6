"""What is kept of a run, and what is shown."""

from __future__ import annotations

import json
import os
import platform
from pathlib import Path

import pytest

from benchmarks import report
from benchmarks.harness import Outcome
from benchmarks.report import document, save


def test_a_result_says_on_what_it_was_measured_and_not_where(halved: Outcome) -> None:
    """Versions and the kind of machine; no name of it, no paths."""
    text = json.dumps(document([halved]))
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
