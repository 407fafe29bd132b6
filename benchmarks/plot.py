"""A picture of a run: `python -m benchmarks.plot RESULTS.json PICTURE.png [SCENARIO]`.

Of `state-restore` time to the first new result against the size of the state; of `growth` throughput against what grows;
of `latency-load` latency against load; of `peers-window` and `peers-function` the CPU time of each engine; of `nexmark` the
rate of each query beside that published for Flink. Without a name that of the first scenario in the results that has a
picture.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from operator import itemgetter
from pathlib import Path
from typing import Any, Final

from .scenario import BenchmarkError
from .scenarios.growth import TIMES
from .scenarios.latency_load import SHARES as LOADS
from .scenarios.nexmark import FLINK
from .scenarios.state_restore import SHARES

Points = dict[str, list[tuple[float, float]]]
"""Line → its points."""

_WAYS: Final = {
    "linked": "files kept on this machine",
    "hashed": "the same, hashed once more",
    "local": "local checkpoint directory",
    "fetched": "object store",
}
_PERCENTILES: Final = {"p50_ms": "p50", "p99_ms": "p99", "p999_ms": "p99.9"}
_GROWING: Final = {
    "keys": "keys: 1,000 and more",
    "overlap": "windows at a time, 100 keys",
    "overlap-highest": "the same with a maximum",
    "results": "windows at a time, 5,000 keys",
    "disorder": "disorder: up to 0.2 s and more",
    "late": "late records: 1 ‰ and more",
    "late-overlap": "windows at a time, 1 % late",
    "state": "state: 2 MB and more",
}


def restore_points(figures: dict[str, float]) -> Points:
    """For each way of restoring the sizes in MB and the seconds, smallest first."""
    return {
        way: sorted((figures[f"{way}-{name}.state_mb"], figures[f"{way}-{name}.from_start_s"]) for name in SHARES)
        for way in _WAYS
    }


def growth_points(figures: dict[str, float], dimension: str) -> Points:
    """For the engine, and the loop where there is one, how many times as much and the records per CPU second."""
    lines: Points = {}
    for who, end in (("engine", ""), ("loop", "-loop")):
        costs = {times: figures.get(f"{dimension}-{times}{end}.cpu_s_per_million") for times in TIMES}
        if None not in costs.values():
            lines[who] = [(float(times), 1e6 / cost) for times, cost in costs.items() if cost is not None]
    return lines


def latency_points(figures: dict[str, float]) -> Points:
    """For each percentile the share of the highest rate in per cent and the milliseconds."""
    return {
        percentile: [(float(share), figures[f"{side}.{percentile}"]) for side, share in LOADS.items()]
        for percentile in _PERCENTILES
    }


def peer_bars(figures: dict[str, float]) -> list[tuple[str, float]]:
    """Side and CPU seconds per million events, the slowest first."""
    end = ".cpu_s_per_million"
    found = [(name.removesuffix(end), value) for name, value in figures.items() if name.endswith(end)]
    return sorted(found, key=itemgetter(1), reverse=True)


def nexmark_bars(figures: dict[str, float]) -> list[tuple[str, float, float | None]]:
    """Query, events per second, and what is published for Flink, where something is; by number."""
    queries = sorted({name.partition(".")[0] for name in figures}, key=lambda query: int(query[1:]))
    return [(query, figures[f"{query}.events_per_s"], FLINK.get(query)) for query in queries]


def draw_restore(figures: dict[str, float]) -> Any:
    """The picture of `state-restore`."""
    figure, axes = _figure()
    for way, found_points in restore_points(figures).items():
        axes.plot(*zip(*found_points, strict=True), marker="o", label=_WAYS[way])
    axes.set_xlabel("state, MB")
    axes.set_ylabel("from start() to the first new result, s")
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    axes.legend()
    return figure


def draw_growth(figures: dict[str, float]) -> Any:
    """The picture of `growth`: a panel for each thing that grows, with the same axes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 6), layout="constrained")
    panels = figure.subplots(2, 4, sharey=True)
    for (dimension, title), axes in zip(_GROWING.items(), panels.flat, strict=False):
        for who, found_points in growth_points(figures, dimension).items():
            axes.plot(*zip(*found_points, strict=True), marker="o", label=who)
        axes.set_title(title, fontsize="medium")
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xticks(TIMES, [f"{times} ×" for times in TIMES])
        axes.grid(alpha=0.3, which="both")
    for axes in panels.flat[len(_GROWING) :]:
        axes.set_axis_off()
    panels[0][0].legend()
    figure.supylabel("records per CPU second")
    return figure


def draw_latency(figures: dict[str, float]) -> Any:
    """The picture of `latency-load`."""
    figure, axes = _figure()
    for percentile, found_points in latency_points(figures).items():
        axes.plot(*zip(*found_points, strict=True), marker="o", label=_PERCENTILES[percentile])
    axes.set_xlabel(f"load, % of {figures['maximum.events_per_s']:,.0f} records/s")
    axes.set_ylabel("from arrival to the write of the result, ms")
    axes.set_yscale("log")
    axes.legend()
    return figure


def draw_peers(figures: dict[str, float]) -> Any:
    """The picture of `peers-window` and `peers-function`."""
    figure, axes = _figure()
    names, costs = zip(*peer_bars(figures), strict=True)
    bars = axes.barh(names, costs, color=["tab:orange" if name == "engine" else "tab:blue" for name in names])
    axes.bar_label(bars, fmt="%.2f", padding=3)
    axes.set_xscale("log")
    axes.margins(x=0.15)
    axes.set_xlabel("CPU seconds per million events, logarithmic: less is better")
    return figure


def draw_nexmark(figures: dict[str, float]) -> Any:
    """The picture of `nexmark`."""
    figure, axes = _figure(width=12)
    bars = nexmark_bars(figures)
    axes.bar([name for name, _, _ in bars], [rate for _, rate, _ in bars], color="tab:orange", label="engine")
    published = [(name, rate) for name, _, rate in bars if rate is not None]
    axes.plot(*zip(*published, strict=True), "k_", markersize=14, markeredgewidth=2, label="published for Flink")
    axes.set_yscale("log")
    axes.set_ylabel("events per second and core")
    axes.grid(visible=False, axis="x")
    axes.legend()
    return figure


PICTURES: Final[dict[str, Callable[[dict[str, float]], Any]]] = {
    "state-restore": draw_restore,
    "growth": draw_growth,
    "latency-load": draw_latency,
    "peers-window": draw_peers,
    "peers-function": draw_peers,
    "nexmark": draw_nexmark,
}
"""Scenario → what draws it."""


def figures_of(found: dict[str, Any], scenario: str | None = None) -> tuple[str, dict[str, float]]:
    """The scenario to draw, and its figures.

    Args:
        found: what a run has saved.
        scenario: which; None: the first that has a picture.

    Raises:
        BenchmarkError: there is no run of it.
    """
    for run in found["scenarios"]:
        if run["scenario"] in ([scenario] if scenario else PICTURES):
            return run["scenario"], run["figures"]
    wanted = scenario or ", ".join(PICTURES)
    raise BenchmarkError(f"there is no run of {wanted} in it: tidegate bench {scenario or next(iter(PICTURES))}")


def draw(found: dict[str, Any], picture: Path, scenario: str | None = None) -> None:
    """Draw it.

    Raises:
        BenchmarkError: matplotlib is not there, or there is nothing to draw.
    """
    name, figures = figures_of(found, scenario)
    try:
        figure = PICTURES[name](figures)
    except ImportError:
        raise BenchmarkError("a picture needs matplotlib: pip install 'tidegate[bench]'") from None
    figure.savefig(picture, dpi=120)


def _figure(width: float = 7) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, 4), layout="constrained")
    axes = figure.add_subplot()
    axes.grid(alpha=0.3)
    return figure, axes


def main() -> None:
    """Read and draw."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.plot", description=__doc__)
    parser.add_argument("results", type=Path)
    parser.add_argument("picture", type=Path)
    parser.add_argument("scenario", nargs="?", choices=list(PICTURES))
    given = parser.parse_args()
    try:
        draw(json.loads(given.results.read_text(encoding="utf-8")), given.picture, given.scenario)
    except (BenchmarkError, OSError) as error:
        parser.exit(1, f"{error}\n")


if __name__ == "__main__":
    main()
