"""A picture of a run: `python -m benchmarks.plot RESULTS.json PICTURE.png`.

Time to the first new result against the size of the state, for runs of `state-restore`.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any, Final

from .scenario import BenchmarkError
from .scenarios.state_restore import SHARES

_WAYS: Final = {
    "linked": "files kept on this machine",
    "hashed": "the same, hashed once more",
    "local": "local checkpoint directory",
    "fetched": "object store",
}


def points(found: dict[str, Any]) -> dict[str, list[tuple[float, float]]]:
    """For each way of restoring the sizes in MB and the seconds, smallest first.

    Args:
        found: what a run has saved.

    Raises:
        BenchmarkError: it has no run of `state-restore`.
    """
    figures = next((s["figures"] for s in found["scenarios"] if s["scenario"] == "state-restore"), None)
    if figures is None:
        raise BenchmarkError("there is no run of state-restore in it: tidegate bench state-restore")
    return {
        way: sorted((figures[f"{way}-{name}.state_mb"], figures[f"{way}-{name}.from_start_s"]) for name in SHARES)
        for way in _WAYS
    }


def draw(found: dict[str, Any], picture: Path) -> None:
    """Draw it.

    Raises:
        BenchmarkError: matplotlib is not there, or there is nothing to draw.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise BenchmarkError("a picture needs matplotlib: pip install 'tidegate[bench]'") from None
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.add_subplot()
    for way, found_points in points(found).items():
        sizes, seconds = zip(*found_points, strict=True)
        axes.plot(sizes, seconds, marker="o", label=_WAYS[way])
    axes.set_xlabel("state, MB")
    axes.set_ylabel("from start() to the first new result, s")
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    axes.legend()
    axes.grid(alpha=0.3)
    figure.savefig(picture, dpi=120)


def main() -> None:
    """Read and draw."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.plot", description=__doc__)
    parser.add_argument("results", type=Path)
    parser.add_argument("picture", type=Path)
    given = parser.parse_args()
    try:
        draw(json.loads(given.results.read_text(encoding="utf-8")), given.picture)
    except (BenchmarkError, OSError) as error:
        parser.exit(1, f"{error}\n")


if __name__ == "__main__":
    main()
