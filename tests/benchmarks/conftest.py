"""The benchmarks are not installed: they are imported from the checkout."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
if str(ROOT) not in sys.path:
    sys.path.append(str(ROOT))

N_BIDS = 20_000


@pytest.fixture(scope="session")
def bids(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of 20,000 bids."""
    from benchmarks.data import bids_file

    return bids_file(tmp_path_factory.mktemp("bids"), N_BIDS)


@pytest.fixture
def halved() -> Any:
    """The outcome of the window, at half the speed of the loop."""
    from benchmarks.harness import Outcome

    compared: dict[str, dict[str, float]] = {
        side: {"run_s": seconds, "cpu_s": seconds, "peak_rss_mb": 40.0}
        for side, seconds in (("engine", 2.0), ("loop", 1.0))
    }
    figures = {
        f"{side}.{name}": value
        for side, measured in compared.items()
        for name, value in (measured | {"events_per_s": 1e6 / measured["run_s"], "cpu_s_per_million": 1.0}).items()
    }
    ratios = {f"{name}{which}": 0.5 for name in ("ratio", "cpu_ratio") for which in ("", "_lowest", "_highest")}
    return Outcome("tumbling-window", 1_000_000, [compared], figures | ratios, 0.1)
