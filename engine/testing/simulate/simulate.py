"""Simulate a topology many times, each time with other troubles, and find out whether its results stay the same."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal

from ...config import RunConfig
from ...topology import Topology
from .outcome import Outcome, SimulationError
from .rewire import read_inputs
from .scenario import Scenario

_MOST_RECORDS: Final = 200
"""How many records are read of each split of a source that nothing is given for."""


@dataclass(frozen=True)
class SimulationReport:
    """What many simulations went through.

    Attributes:
        seeds: how many there were.
        deaths: processes killed.
        stops: processes that stood still while another took over, and came back.
        checkpoints: checkpoints that were completed.
        unaligned: those of them that hold records in flight.
        steps: callbacks that ran.
    """

    seeds: int
    deaths: int
    stops: int
    checkpoints: int
    unaligned: int
    steps: int

    @classmethod
    def of(cls, outcomes: Iterable[Outcome]) -> SimulationReport:
        """The sum of outcomes."""
        found = list(outcomes)
        return cls(
            len(found),
            sum(outcome.deaths for outcome in found),
            sum(outcome.stops for outcome in found),
            sum(outcome.checkpoints for outcome in found),
            sum(outcome.unaligned for outcome in found),
            sum(outcome.steps for outcome in found),
        )


def simulate(
    topology: Topology | Callable[[], Topology],
    *,
    inputs: Mapping[str, Sequence[Any]] | None = None,
    seeds: int = 1000,
    first_seed: int = 0,
    config: RunConfig | None = None,
    state_backend: Literal["dict", "rocksdb"] = "dict",
    processes: int = 1,
    on_line: Callable[[str], None] | None = None,
    on_outcome: Callable[[Outcome], None] | None = None,
) -> SimulationReport:
    """Run a topology once without trouble, then once for each seed with crashes, stopped processes that come back, a storage
    and sinks that fail or do not answer, callbacks in another order, other checkpoint intervals, batch sizes and
    parallelisms; every time its sinks must show exactly the records of the first run, each once.

    The engine's own code runs, on a loop with virtual time; sources, sinks and the storage are simulated ones. Equal seeds
    give equal runs. Operators must depend on their records, their state and the clock of their context alone; calls of
    `map_async` must not use the network.

    Args:
        topology: what to simulate, or a function that makes it anew for each process, for operators that keep
            something outside of their state.
        inputs: source → its records, or a list of lists, one for each split. A source with an end that is not named is
            read, up to 200 records of each split.
        seeds: how many simulations.
        first_seed: the seed of the first; the others follow.
        config: settings of the job; where checkpoints are kept and how often, batch sizes and the like are drawn from the
            seed. Parallelism is varied from 1 to 3 in some.
        state_backend: `"rocksdb"` simulates with real databases. They have threads of their own, so that equal seeds give
            nearly equal runs only.
        processes: how many operating-system processes share the work. They are forked: with `"rocksdb"` from a process
            that has not opened a database itself.
        on_line: called with each line of the trace: what every process does, in order. Needs `processes=1`.
        on_outcome: called after each seed.

    Raises:
        SimulationError: a seed found something wrong: names the seed and how to see it again.
        TopologyError: a source has no end, and no records are given for it.
        ValueError: real databases in several processes, forked from one that has opened a database.

    >>> from tidegate.connectors import memory
    >>> from tidegate.operators import agg
    >>> topology = Topology("counting")
    >>> words = topology.source("words", memory.source(["a", "b", "a"]))
    >>> words.key_by(lambda word: word).aggregate(n=agg.count(), name="count").sink("counts", memory.sink())
    >>> simulate(topology, seeds=3).seeds
    3
    """

    def build() -> Topology:
        return topology if isinstance(topology, Topology) else topology()

    if processes > 1 and state_backend == "rocksdb" and _has_database_threads():
        raise ValueError(
            "this process has opened a database, and forked processes would wait for its threads: "
            "use processes=1, or simulate in a new process"
        )
    settings = replace(config or RunConfig(), state_backend=state_backend)
    scenario = Scenario(build, read_inputs(build(), inputs, _MOST_RECORDS), settings)
    wanted = range(first_seed, first_seed + seeds)
    outcomes: list[Outcome] = []
    for outcome in (
        _shared(scenario, wanted, processes) if processes > 1 else (scenario.run(s, on_line) for s in wanted)
    ):
        outcomes.append(outcome)
        if on_outcome is not None:
            on_outcome(outcome)
        if outcome.violation is not None:
            raise SimulationError(outcome)
    return SimulationReport.of(outcomes)


_inherited: list[Scenario] = []
"""What forked processes work on: topologies hold functions, which cannot be sent to them."""


def _shared(scenario: Scenario, seeds: Sequence[int], processes: int) -> Iterator[Outcome]:
    assert scenario.reference is not None  # made once, before the fork
    _inherited.append(scenario)
    try:
        with multiprocessing.get_context("fork").Pool(processes) as pool:
            yield from pool.imap_unordered(_run_inherited, seeds, chunksize=4)
    finally:
        _inherited.pop()


def _has_database_threads() -> bool:
    """Whether RocksDB's background threads run in this process. Where the system does not tell, it has none."""
    for name in Path("/proc/self/task").glob("*/comm"):
        with suppress(OSError):  # the thread has ended
            if name.read_text().startswith("rocksdb:"):
                return True
    return False


def _run_inherited(seed: int) -> Outcome:
    return _inherited[-1].run(seed)
