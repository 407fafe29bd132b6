"""A picture of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks.plot import draw, points
from benchmarks.scenario import BenchmarkError
from benchmarks.scenarios.state_restore import SHARES


def run() -> dict[str, Any]:
    """What a run has saved, its sizes in another order than they are drawn in."""
    figures: dict[str, float] = {}
    for way, factor in (("linked", 0.5), ("hashed", 1.0), ("local", 2.0), ("fetched", 3.0)):
        for name, share in SHARES.items():
            figures[f"{way}-{name}.state_mb"] = 2000 / share
            figures[f"{way}-{name}.from_start_s"] = factor / share
    return {"scenarios": [{"scenario": "stateless", "figures": {}}, {"scenario": "state-restore", "figures": figures}]}


def test_sizes_are_drawn_from_the_smallest_to_the_largest() -> None:
    """A line for each way of restoring."""
    assert points(run())["local"] == [(250.0, 0.25), (1000.0, 1.0), (2000.0, 2.0)]


def test_the_picture_is_a_png(tmp_path: Path) -> None:
    """With something in it."""
    pytest.importorskip("matplotlib", reason="a picture needs matplotlib, of the extra bench")
    draw(run(), tmp_path / "picture.png")
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")


def test_a_run_of_other_scenarios_is_refused() -> None:
    """With what to run."""
    with pytest.raises(BenchmarkError, match="tidegate bench state-restore"):
        points({"scenarios": [{"scenario": "stateless", "figures": {}}]})
