"""What a scenario is: the same work on several sides, each measured in a process of its own."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

Figures = dict[str, float]
"""What a side measured, by name; times in seconds unless the name ends with another unit."""


class BenchmarkError(Exception):
    """A measurement cannot be made, or what was computed is wrong. The message says what and where."""


@dataclass(frozen=True)
class Broker:
    """A Kafka broker that runs beside the sides.

    Attributes:
        servers: what clients connect to.
        pid: of its process.
    """

    servers: str
    pid: int

    def cpu_s(self) -> float:
        """CPU seconds that its process has used so far; 0.0 where that cannot be known."""
        try:
            # Behind the name, which may hold anything, in brackets.
            fields = Path(f"/proc/{self.pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        except OSError:
            return 0.0
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Bucket:
    """A bucket of an object store that runs beside the sides.

    Attributes:
        url: its location.
        options: what is needed to speak to it, as the setting `checkpoint_store` takes it.
        folder: where the store has its objects as files, under their names.
    """

    url: str
    options: dict[str, str]
    folder: Path


@dataclass(frozen=True)
class Setup:
    """What a side works on.

    Attributes:
        events: how many records go in.
        bids: the file of bids; of no meaning for scenarios that make their own records.
        work: a folder for what the sides of one repetition write; it is shared by them and empty at first.
        spawned_ns: when this process was started, by the monotonic clock.
        broker: the Kafka broker of scenarios that ask for one.
        store: the object store of scenarios that ask for one.
    """

    events: int
    bids: Path
    work: Path
    spawned_ns: int = 0
    broker: Broker | None = None
    store: Bucket | None = None

    @property
    def bucket(self) -> Bucket:
        """The object store; only where the scenario asks for one."""
        assert self.store is not None
        return self.store

    @property
    def kafka(self) -> Broker:
        """The broker; only where the scenario asks for one."""
        assert self.broker is not None
        return self.broker

    @property
    def run_name(self) -> str:
        """A name that no other repetition has: for topics, jobs and consumer groups."""
        return self.work.name

    def output(self, side: str) -> Path:
        """Where a side puts its results."""
        return self.work / f"out-{side}"


Side = Callable[[Setup], Figures]
"""Does the work and gives what it measured. `run_s` and `cpu_s` are the time and the CPU time of the work alone, without
imports and start-up. `events`, where it is among them, is how many records this side took, if not as many as the others:
then rates are compared."""

Tell = Callable[[str], None]
"""Told what is being done."""


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
        reference: the side that the first one is compared with: `ratio` is its time per record divided by the first one's.
            With several it is the fastest of them, in each repetition.
        check: looks at a side's results and raises `BenchmarkError` if they are wrong: a figure of wrong results counts
            for nothing. None where the sides check for themselves.
        wanted: what the figures should come to.
        killed: sides that end by killing their own process.
        reads_bids: whether the bids are needed.
        needs_broker: whether a Kafka broker runs beside the sides.
        needs_store: whether an object store runs beside the sides.
        prepare: makes what all repetitions share, such as topics with records in them.
        one_core: whether each process has one core only.
        repeat: repetitions, usually.
        warm_up: whether a repetition that does not count goes before.
        note: what a reader must know to take the figures for what they are.
    """

    title: str
    sides: Mapping[str, Side]
    events: int
    reference: str | tuple[str, ...] | None = None
    check: Callable[[Setup, str], None] | None = None
    wanted: tuple[Wanted, ...] = ()
    killed: frozenset[str] = field(default_factory=frozenset)
    reads_bids: bool = True
    needs_broker: bool = False
    needs_store: bool = False
    prepare: Callable[[Setup, Tell], None] | None = None
    one_core: bool = True
    repeat: int = 5
    warm_up: bool = True
    note: str = ""

    @property
    def references(self) -> tuple[str, ...]:
        """The sides that the first one is compared with."""
        return (self.reference,) if isinstance(self.reference, str) else self.reference or ()


USUAL: Final = (
    "stateless",
    "keyed-aggregate",
    "tumbling-window",
    "sliding-window",
    "window-with-function",
    "checkpoint-cost",
    "recovery",
    "savepoint",
    "latency",
    "many-keys",
    "changed-keys",
    "state-size",
    "beyond-memory-uniform",
    "beyond-memory-zipf",
    "startup",
    "mttr",
)
"""What runs when nothing is named, in this order."""

KAFKA: Final = ("kafka-source", "kafka-sink", "kafka-stateless", "kafka-window", "kafka-latency")
"""What runs when `kafka` is named: they need Java, and some of them fetch other engines."""

OBJECTS: Final = ("state-restore",)
"""What runs when it is named: it needs Go once, and minutes."""

NEXMARK: Final = ("nexmark",)
"""What runs when it is named: it takes minutes."""

PEERS: Final = ("peers-window", "peers-function")
"""What runs when `peers` is named: they need Java and Linux, and fetch other engines."""

GROWTH: Final = ("growth", "latency-load")
"""What runs when it is named: each takes minutes."""

NAMES: Final = USUAL + GROWTH + OBJECTS + NEXMARK + KAFKA + PEERS
"""The names of all scenarios."""

_GROUPS: Final = {"kafka": KAFKA, "peers": PEERS}


def chosen(words: Sequence[str]) -> list[str]:
    """The names of the scenarios that somebody asks for, by name, or `kafka` or `peers` for all of those; the usual ones
    when nothing is asked for.

    Raises:
        BenchmarkError: there is none of such a name.

    >>> chosen(["startup", "kafka"])[:2]
    ['startup', 'kafka-source']
    """
    names: list[str] = []
    for word in words:
        if word not in (*_GROUPS, *NAMES):
            raise BenchmarkError(
                f"there is no scenario {word!r}: use one of {', '.join(NAMES)}; kafka for all of Kafka's, peers for those "
                "against other engines over files"
            )
        names += _GROUPS.get(word, (word,))
    return list(dict.fromkeys(names or USUAL))


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
