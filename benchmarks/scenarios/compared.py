"""A scenario over the bids that stands against a loop."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from tidegate.connectors import files, formats
from tidegate.connectors.sink import Sink
from tidegate.engine import RunConfig, Stream, Topology
from tidegate.operators import Watermarks

from ..answers import check
from ..data import Bid
from ..scenario import Figures, Scenario, Setup, Wanted
from ..stopwatch import Stopwatch, time_job


def bids_topology(name: str, setup: Setup) -> tuple[Topology, Stream[Bid]]:
    """A topology with the bids in event time, at most two seconds out of order."""
    topology = Topology(name)
    bids = topology.source(
        "bids",
        files.lines(setup.bids, formats.json(Bid)),
        event_time="date_time",
        watermarks=Watermarks(out_of_orderness="2s"),
    )
    return topology, bids


def json_lines(setup: Setup, side: str) -> Sink[Any]:
    """The exactly-once file sink of a side."""
    return files.lines(setup.output(side), formats.json())


def engine_side(topology_of: Callable[[Setup, str], Topology]) -> Callable[[Setup], Figures]:
    """The side of the engine: as a user runs it, with the settings that nobody changed and without checkpoints."""

    def measure(setup: Setup) -> Figures:
        return time_job(topology_of(setup, "engine"), RunConfig())

    return measure


def loop_side(loop: Callable[[Path, Path], None]) -> Callable[[Setup], Figures]:
    """The side of a loop."""

    def measure(setup: Setup) -> Figures:
        output = setup.output("loop")
        output.mkdir()
        watch = Stopwatch()
        loop(setup.bids, output / "all.jsonl")
        return watch.read()

    return measure


def against_loop(
    name: str,
    title: str,
    topology_of: Callable[[Setup, str], Topology],
    loop: Callable[[Path, Path], None],
    wanted: tuple[Wanted, ...] = (),
    note: str = "",
) -> Scenario:
    """The engine against the loop, both on one core and over the same file, every result compared with the answer."""
    return Scenario(
        title=title,
        sides={"engine": engine_side(topology_of), "loop": loop_side(loop)},
        events=2_000_000,
        reference="loop",
        check=partial(check, name),
        wanted=wanted,
        note=note,
    )


def at_least(share: float, of: str) -> tuple[Wanted, Wanted]:
    """A share of the reference's speed, by the clock and by CPU time: on a machine that does other things besides, one of
    the two may be met by chance."""
    return (
        Wanted("ratio", "at_least", share, f"at least {share:.2f} of {of}"),
        Wanted("cpu_ratio", "at_least", share, "the same by CPU time"),
    )


OF_THE_LOOP = at_least(0.7, "the loop")
"""What is wanted of the stateless scenario and of the window."""
