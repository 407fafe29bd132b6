"""Thousands of histories, each from a seed: whatever dies, stops, refuses or does not answer, every result is shown once."""

from __future__ import annotations

import os

import pytest
from tidegate.engine import RunConfig
from tidegate.engine.testing.simulate import simulate

KINDS = (
    "stateless", "running", "windows", "late", "behind", "sessions", "join", "regular", "ranking", "over", "pattern",
    "timers", "async", "broadcast",
)  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_every_result_is_shown_once(kind, build):
    """Fifteen histories of each kind of operator, two hundred in all."""
    report = simulate(lambda: build(kind), seeds=15, config=RunConfig(parallelism=2))
    assert report.deaths > 5
    assert report.checkpoints > 25
    assert report.unaligned > 0 or kind == "stateless"  # where all is one chain nothing is in flight


@pytest.mark.long
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("kind", KINDS)
def test_every_result_is_shown_once_in_any_history(kind, build):
    """More than ten thousand histories in all."""
    report = simulate(
        lambda: build(kind),
        seeds=900,
        first_seed=1000,
        processes=os.cpu_count() or 1,
        config=RunConfig(parallelism=2),
    )
    print(f"\n{kind}: {report}")
    assert report.deaths > 1000


@pytest.mark.long
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("kind", KINDS)
def test_every_result_is_shown_once_from_real_databases(kind, build):
    """With RocksDB in place of the state in memory."""
    report = simulate(
        lambda: build(kind), seeds=150, first_seed=5000, state_backend="rocksdb", processes=os.cpu_count() or 1
    )
    print(f"\n{kind}: {report}")
    assert report.deaths > 100
