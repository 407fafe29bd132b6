"""What a scenario is: the same work on several sides, each measured in a process of its own."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

Figures = dict[str, float]
"""What a side measured, by name; times in seconds unless the name ends with another unit."""


class BenchmarkError(Exception):
    """A measurement cannot be made, or what was computed is wrong. The message says what and where."""


@dataclass(frozen=True)
class Setup:
    """What a side works on.

    Attributes:
        events: how many records go in.
        bids: the file of bids; of no meaning for scenarios that make their own records.
        work: a folder for what the sides of one repetition write; it is shared by them and empty at first.
        spawned_ns: when this process was started, by the monotonic clock.
    """

    events: int
    bids: Path
    work: Path
    spawned_ns: int = 0

    def output(self, side: str) -> Path:
        """Where a side puts its results."""
        return self.work / f"out-{side}"


Side = Callable[[Setup], Figures]
"""Does the work and gives what it measured. `run_s` and `cpu_s` are the time and the CPU time of the work alone, without
imports and start-up."""


@dataclass(frozen=True)
class Wanted:
    """What a figure should come to.

    Attributes:
        figure: its name: `ratio`, or `side.figure`.
        sense: whether less or more is better.
        limit: the worst value that is good enough.
        text: how a person says it.
    """

    figure: str
    sense: Literal["at_least", "at_most"]
    limit: float
    text: str

    def met(self, figures: Mapping[str, float]) -> bool:
        """Whether the figures come to it."""
        value = figures[self.figure]
        return value >= self.limit if self.sense == "at_least" else value <= self.limit


@dataclass(frozen=True)
class Scenario:
    """One question, and how it is answered.

    Attributes:
        title: what is measured, in one line.
        sides: what is run, in this order, in every repetition. The first is what the question is about.
        events: how many records, usually.
        reference: the side that the first one is compared with: `ratio` is its time divided by the first one's.
        check: looks at a side's results and raises `BenchmarkError` if they are wrong: a figure of wrong results counts
            for nothing. None where the sides check for themselves.
        wanted: what the figures should come to.
        killed: sides that end by killing their own process.
        reads_bids: whether the bids are needed.
        one_core: whether each process has one core only.
        repeat: repetitions, usually.
        warm_up: whether a repetition that does not count goes before.
        note: what a reader must know to take the figures for what they are.
    """

    title: str
    sides: Mapping[str, Side]
    events: int
    reference: str | None = None
    check: Callable[[Setup, str], None] | None = None
    wanted: tuple[Wanted, ...] = ()
    killed: frozenset[str] = field(default_factory=frozenset)
    reads_bids: bool = True
    one_core: bool = True
    repeat: int = 5
    warm_up: bool = True
    note: str = ""


NAMES: Final = (
    "stateless",
    "keyed-aggregate",
    "tumbling-window",
    "window-with-function",
    "checkpoint-cost",
    "recovery",
    "latency",
    "many-keys",
    "startup",
)
"""The names of all scenarios, in the order in which they run."""


def load(name: str) -> Scenario:
    """The scenario of a name; each stands in a module of its own.

    Raises:
        BenchmarkError: there is none.
    """
    if name not in NAMES:
        raise BenchmarkError(f"there is no scenario {name!r}: use one of {', '.join(NAMES)}")
    module = importlib.import_module(f".scenarios.{name.replace('-', '_')}", __package__)
    scenario: Scenario = module.SCENARIO
    return scenario
