"""`tidegate demo` as a user runs it."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from tidegate.engine import ConfigError
from tidegate.engine.cli.main import main
from tidegate.engine.demo.demo import run_demo
from tidegate.engine.demo.screen import JsonScreen


@pytest.mark.slow
def test_the_demo_kills_its_worker_and_ends_with_equal_results(tmp_path):
    """All 336,776 flights, one kill -9, every row equal; the folder that remains can be explained and listed."""
    out = tmp_path / "out"
    command = [sys.executable, "-m", "tidegate.engine.cli.main"]
    done = subprocess.run(
        [*command, "demo", "--json", "--rate", "40000", "--output", str(out)],
        check=False,
        capture_output=True,
        timeout=110,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr.decode()
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["equal"] is True
    assert result["killed"] is True
    assert result["restored_from"] >= 1
    assert result["late"] == 0
    assert {one["name"]: one["rows"] for one in result["compared"]}["departures"] == 336_318
    assert not (out / "flights.jsonl").exists()
    for look in (["checkpoints", "list", str(out / "state")], ["explain", str(out / "flight_delays.py")]):
        looked = subprocess.run([*command, *look], check=False, capture_output=True, timeout=30)
        assert looked.returncode == 0, looked.stderr.decode()


def test_what_is_not_installed_is_one_line(tmp_path, monkeypatch, capsys):
    """The line names the extra; the exit code is 2."""
    monkeypatch.setattr("tidegate.engine.demo.data.PACKAGE", "no_such_package_at_all")
    assert main(["demo", "--output", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "tidegate[demo]" in error
    assert not (tmp_path / "out").exists()


def test_a_negative_rate_is_refused(capsys):
    """The message says what the option means."""
    assert main(["demo", "--rate", "-1"]) == 2
    assert "--rate" in capsys.readouterr().err


def test_a_folder_of_somebody_else_is_left_alone(tmp_path):
    """Nothing runs, nothing is removed."""
    (tmp_path / "thesis.txt").touch()
    with pytest.raises(ConfigError, match=r"thesis\.txt"):
        run_demo(tmp_path, JsonScreen(sys.stdout))
