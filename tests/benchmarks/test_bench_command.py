"""`tidegate bench`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from tidegate.engine.cli import bench
from tidegate.engine.cli.main import main

from benchmarks.scenario import NAMES


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("bench fast", "there is no scenario 'fast': use one of stateless, "),
        ("bench --events none", "'--events'"),
        ("bench --repeat 0", "'--repeat'"),
        ("bench stateless --output no-such-folder/r.json", "--output no-such-folder/r.json: there is no such folder"),
    ],
)
def test_a_bad_argument_is_one_line_and_exit_code_2(
    line: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """On stderr; nothing is measured."""
    assert main(line.split()) == 2
    shown = capsys.readouterr()
    assert message in shown.err
    assert shown.err.count("\n") == 1
    assert shown.out == ""


def test_the_list_names_every_scenario(capsys: pytest.CaptureFixture[str]) -> None:
    """For people and for machines; those that were named, if any were."""
    assert main(["bench", "--list"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == list(NAMES)
    assert main(["bench", "recovery", "--list", "--json"]) == 0
    assert list(json.loads(capsys.readouterr().out)) == ["recovery"]


def test_without_a_checkout_it_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As where the package was installed from an index."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(bench, "__file__", str(tmp_path / "tidegate" / "engine" / "cli" / "bench.py"))
    for name in [name for name in sys.modules if name.partition(".")[0] == "benchmarks"]:
        monkeypatch.delitem(sys.modules, name)
    assert main(["bench", "--list"]) == 2
    assert "they are part of the repository and not of the installed package" in capsys.readouterr().err


@pytest.mark.slow
def test_a_measurement_that_fails_is_exit_code_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Too few records to say anything about latency: the last line says so."""
    from benchmarks import harness

    monkeypatch.setattr(harness, "DATA", tmp_path)
    assert main(["bench", "latency", "--events", "100", "--repeat", "1", "--output", str(tmp_path / "r.json")]) == 1
    shown = capsys.readouterr().err
    assert "tidegate: latency, per-record: ended with exit code 1" in shown
    assert "take more events" in shown
