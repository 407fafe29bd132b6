"""The queries of Nexmark, one after the other, each on one core and with a checkpoint every second."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from tidegate.engine import RunConfig

from ..nexmark.answers import check
from ..nexmark.generator import events_file
from ..nexmark.queries import NAMES, topology
from ..scenario import Figures, Scenario, Setup, Tell, Wanted
from ..stopwatch import time_job

FLINK: Final = {
    "q0": 155_000, "q1": 158_000, "q2": 175_000, "q3": 152_000, "q4": 34_000, "q5": 22_100, "q7": 12_300, "q8": 146_000,
    "q9": 14_200, "q11": 39_700, "q12": 75_700, "q15": 72_400, "q17": 116_800, "q18": 53_700, "q20": 19_000,
}  # fmt: skip
"""Events per second and core of Flink on eight cores, with RocksDB and 100 million events, as the authors of the reference
published them (github.com/nexmark/nexmark, `GUIDE_V1.md`)."""

THREEFOLD: Final = frozenset({"q5", "q7", "q8", "q9", "q18", "q20"})


def side(query: str) -> Callable[[Setup], Figures]:
    """Runs a query."""

    def measure(setup: Setup) -> Figures:
        made = topology(query, events_file(setup.bids.parent, setup.events), setup.output(query))
        config = RunConfig(checkpoints=setup.work / f"state-{query}", checkpoint_interval="1s")
        figures = time_job(made, config)
        rate = setup.events / figures["run_s"]
        figures["events_per_s"] = rate
        figures["cpu_s_per_million"] = figures["cpu_s"] * 1e6 / setup.events
        if query in FLINK:
            figures["times_published"] = rate / FLINK[query]
        return figures

    return measure


def _prepare(setup: Setup, tell: Tell) -> None:
    tell(f"making or finding {setup.events} events of Nexmark")
    events_file(setup.bids.parent, setup.events)


def _check(setup: Setup, query: str) -> None:
    check(query, events_file(setup.bids.parent, setup.events), setup.output(query))


def _wanted(query: str, published: int) -> Wanted:
    times = 3 if query in THREEFOLD else 1
    text = f"{query}: {f'{times} × ' if times > 1 else ''}{published:,}/s of Flink"
    return Wanted(f"{query}.events_per_s", "at_least", times * published, text)


SCENARIO = Scenario(
    title="the queries of Nexmark, JSON to JSON, on one core, a checkpoint every second",
    sides={name: side(name) for name in NAMES},
    events=1_000_000,
    check=_check,
    wanted=tuple(_wanted(query, published) for query, published in FLINK.items()),
    reads_bids=False,
    prepare=_prepare,
    repeat=3,
    note="Flink's figures were measured by others, on other machines, with its own generator in place of files and without "
    "writing results; see nexmark/README.md.",
)
