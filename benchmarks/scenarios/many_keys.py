"""State far beyond its memory: ten million keys with 256 MB."""

from __future__ import annotations

import time
from typing import Any, Final

from tidegate.connectors import generator
from tidegate.engine import RunConfig, Topology
from tidegate.operators import agg

from ..probe import Look, ProbeSink
from ..scenario import BenchmarkError, Figures, Scenario, Setup, Wanted
from ..stopwatch import time_job

_STRIDE: Final = 7_368_787
"""A prime: keys come in no order, and none comes again before all have come."""


def topology(setup: Setup, look: Look) -> Topology:
    """A count per key; all `events` keys come once, then a tenth of them again."""
    n_keys = setup.events

    def key(index: int) -> int:
        return index * _STRIDE % n_keys

    made = Topology("many-keys")
    keys = made.source("keys", generator.records(key, count=n_keys + n_keys // 10, type=int))
    keys.key_by(int).aggregate(n=agg.count(), name="counts").sink("out", ProbeSink(look))
    return made


def fill(setup: Setup) -> Figures:
    """All keys once, a checkpoint every ten seconds and one at the end."""
    seen = 0

    def look(values: list[Any]) -> None:
        nonlocal seen
        seen += len(values)

    config = RunConfig(
        checkpoints=setup.work / "checkpoints",
        checkpoint_interval="10s",
        memory_budget="256MB",
        stop_after_records=setup.events,
    )
    figures = time_job(topology(setup, look), config)
    if seen < setup.events:
        raise BenchmarkError(f"many-keys: {seen} results of {setup.events} records")
    return figures | {"keys_per_s": seen / figures["run_s"]}


def go_on(setup: Setup) -> Figures:
    """Restore in another process, and count a tenth of the keys once more."""
    first_ns = 0
    counts: dict[int, int] = {}

    def look(values: list[Any]) -> None:
        nonlocal first_ns
        first_ns = first_ns or time.monotonic_ns()
        for value in values:
            counts[value.n] = counts.get(value.n, 0) + 1

    config = RunConfig(checkpoints=setup.work / "checkpoints", checkpoint_interval="10s", memory_budget="256MB")
    began_ns = time.monotonic_ns()
    figures = time_job(topology(setup, look), config)
    if not counts:
        raise BenchmarkError(f"many-keys: {setup.events} keys are too few: they were all read before the restore")
    if set(counts) != {2}:
        raise BenchmarkError(f"many-keys: after the restore each key must be counted for the second time, not {counts}")
    return figures | {"first_result_s": (first_ns - began_ns) / 1e9, "keys_per_s": counts[2] / figures["run_s"]}


SCENARIO = Scenario(
    title="10,000,000 live keys with memory_budget = 256MB, checkpoints and a restore",
    sides={"fill": fill, "go-on": go_on},
    events=10_000_000,
    wanted=(
        Wanted("fill.peak_rss_mb", "at_most", 1500, "resident memory within 1.5 GB"),
        Wanted("go-on.peak_rss_mb", "at_most", 1500, "the same after a restore"),
    ),
    reads_bids=False,
    one_core=False,
    repeat=1,
    warm_up=False,
    note="Events are keys. The keys come in an order that no cache can foresee: every second look goes to the database.",
)
