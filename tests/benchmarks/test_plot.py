"""A picture of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks.plot import (
    PICTURES,
    draw,
    figures_of,
    growth_points,
    latency_points,
    nexmark_bars,
    peer_bars,
    restore_points,
)
from benchmarks.scenario import BenchmarkError
from benchmarks.scenarios.growth import SCENARIO as GROWTH
from benchmarks.scenarios.latency_load import SHARES as LOADS
from benchmarks.scenarios.state_restore import SHARES


def run() -> dict[str, Any]:
    """What a run has saved, its sizes in another order than they are drawn in."""
    restored: dict[str, float] = {}
    for way, factor in (("linked", 0.5), ("hashed", 1.0), ("local", 2.0), ("fetched", 3.0)):
        for name, share in SHARES.items():
            restored[f"{way}-{name}.state_mb"] = 2000 / share
            restored[f"{way}-{name}.from_start_s"] = factor / share
    grown = {f"{side}.cpu_s_per_million": 1.0 + number for number, side in enumerate(GROWTH.sides)}
    waited = {f"{side}.{name}_ms": load / 10 for side, load in LOADS.items() for name in ("p50", "p99", "p999")}
    costs = {"engine.cpu_s_per_million": 0.8, "flink-sql.cpu_s_per_million": 5.0, "loop.cpu_s_per_million": 0.7}
    rates = {f"{query}.events_per_s": 1e6 for query in ("q10", "q4", "q0")}
    return {
        "scenarios": [
            {"scenario": "stateless", "figures": {}},
            {"scenario": "state-restore", "figures": restored},
            {"scenario": "growth", "figures": grown},
            {"scenario": "latency-load", "figures": waited | {"maximum.events_per_s": 5000.0}},
            {"scenario": "peers-window", "figures": costs},
            {"scenario": "peers-function", "figures": costs},
            {"scenario": "nexmark", "figures": rates},
        ]
    }


def test_sizes_are_drawn_from_the_smallest_to_the_largest() -> None:
    """A line for each way of restoring."""
    _, figures = figures_of(run(), "state-restore")
    assert restore_points(figures)["local"] == [(250.0, 0.25), (1000.0, 1.0), (2000.0, 2.0)]


def test_growth_has_a_line_for_the_loop_where_there_is_one() -> None:
    """One, ten and a hundred times."""
    _, figures = figures_of(run(), "growth")
    assert growth_points(figures, "keys") == {
        "engine": [(1.0, 1e6), (10.0, 1e6 / 3), (100.0, 1e6 / 5)],
        "loop": [(1.0, 1e6 / 2), (10.0, 1e6 / 4), (100.0, 1e6 / 6)],
    }
    assert list(growth_points(figures, "late")) == ["engine"]


def test_latency_has_a_line_for_each_percentile() -> None:
    """By load."""
    _, figures = figures_of(run(), "latency-load")
    assert latency_points(figures)["p99_ms"] == [(10.0, 1.0), (50.0, 5.0), (90.0, 9.0)]


def test_engines_stand_in_order_of_their_cost() -> None:
    """The dearest is at the bottom of the picture."""
    _, figures = figures_of(run(), "peers-window")
    assert [name for name, _ in peer_bars(figures)] == ["flink-sql", "engine", "loop"]


def test_queries_stand_by_number_beside_what_is_published() -> None:
    """Where something is."""
    _, figures = figures_of(run(), "nexmark")
    assert nexmark_bars(figures) == [("q0", 1e6, 155_000), ("q4", 1e6, 34_000), ("q10", 1e6, None)]


@pytest.mark.parametrize("scenario", PICTURES)
def test_the_picture_is_a_png(scenario: str, tmp_path: Path) -> None:
    """With something in it."""
    pytest.importorskip("matplotlib", reason="a picture needs matplotlib, of the extra bench")
    draw(run(), tmp_path / "picture.png", scenario)
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")


def test_without_a_name_the_first_that_has_a_picture_is_drawn() -> None:
    """Others are passed over."""
    assert figures_of(run())[0] == "state-restore"


def test_a_run_of_other_scenarios_is_refused() -> None:
    """With what to run."""
    with pytest.raises(BenchmarkError, match="tidegate bench growth"):
        figures_of({"scenarios": [{"scenario": "stateless", "figures": {}}]}, "growth")
