"""What is shown of a run."""

from __future__ import annotations

import pytest

from benchmarks.harness import Outcome
from benchmarks.scenario import load
from benchmarks.tables import print_tables


def test_the_table_shows_what_is_wanted_and_whether_it_is_met(
    halved: Outcome, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the rates of both sides."""
    print_tables([halved])
    shown = capsys.readouterr().out
    for text in (
        "engine: 500,000 events/s",
        "loop: 1,000,000 events/s",
        "ratio 0.50",
        "at least 0.70 of the loop",
        "not met",
    ):
        assert text in shown


def test_many_sides_have_a_table_of_their_own(capsys: pytest.CaptureFixture[str]) -> None:
    """A line for each, a column for each figure that any of them has."""
    figures = {f"{side}.events_per_s": 1_000_000.0 for side in load("nexmark").sides}
    figures |= {"q4.cpu_s_per_million": 8.114, "q4.state_mb": 157.8, "q4.checkpoint_ms": 7.25}
    print_tables([Outcome("nexmark", 1_000_000, [], figures, 0.1)])
    lines = capsys.readouterr().out.splitlines()
    (heading,) = [line for line in lines if "CPU s per million" in line]
    names = [name.strip() for name in heading.split("  ") if name.strip()]
    assert names == ["events/s", "CPU s per million", "state MB", "checkpoint ms"]
    (shown,) = [line.split() for line in lines if line.strip().startswith("q4 ")]
    assert shown == ["q4", "1,000,000", "8.11", "158", "7.2"]
