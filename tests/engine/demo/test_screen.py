"""What the demo shows."""

from __future__ import annotations

import io
import json

import pytest
from rich.console import Console
from tidegate.engine.demo.comparison import WHAT, Comparison
from tidegate.engine.demo.screen import JsonScreen, TextScreen
from tidegate.engine.demo.worker import Run


@pytest.fixture
def run() -> Run:
    """A run that was killed and restored."""
    return Run(flights=100, read=60, written=120, checkpoints={1: 20, 2: 50}, attempt=2, restored_from=2, killed=True)


def _same(name):
    return Comparison(name, 10, 10, 0, 0)


def _play(screen, run, comparisons):
    screen.say("begins")
    screen.tell("running", {"run": run, "pid": 7})
    screen.tell("progress", {"run": run, "pid": 7})
    screen.tell("checkpoint", {"run": run, "pid": 7})
    screen.tell("killed", {"run": run, "pid": 7})
    screen.result(run, comparisons, 12.3, ["look there"])


@pytest.mark.parametrize("terminal", [False, True])
def test_people_see_the_kill_the_restore_and_the_verdict(run, terminal):
    """In a log and on a terminal of 80 columns alike; nothing is cut off."""
    out = io.StringIO()
    _play(TextScreen(Console(file=out, width=80, force_terminal=terminal, color_system=None)), run, map_same())
    text = out.getvalue()
    for wanted in ("restored from checkpoint 2", "kill -9 of worker 7", "all rows are equal", "sessions", "look there"):
        assert wanted in " ".join(text.split())
    assert "…" not in text


def map_same():
    """Equal results in every folder."""
    return [_same(name) for name in WHAT]


def test_a_difference_is_shown_with_rows(run):
    """The verdict says so, and rows follow."""
    out = io.StringIO()
    differing = Comparison("hourly", 11, 10, 0, 1, ("unexpected: {'key': 'JFK'}",))
    _play(TextScreen(Console(file=out, width=80)), run, [differing])
    assert "there are differences" in out.getvalue()
    assert "hourly: unexpected: {'key': 'JFK'}" in out.getvalue()


def test_machines_read_one_object_per_line(run):
    """The last line is the result."""
    out = io.StringIO()
    _play(JsonScreen(out), run, [_same("hourly")])
    lines = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [line["event"] for line in lines] == ["step", "running", "progress", "checkpoint", "killed", "result"]
    assert lines[-1]["equal"] is True
    assert lines[-1]["compared"][0]["rows"] == 10
