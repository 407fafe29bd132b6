"""The benchmarks are not installed: they are imported from the checkout."""

from __future__ import annotations

import sys
from pathlib import Path

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
