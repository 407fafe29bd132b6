"""Simulations of a user's topology."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tidegate.connectors import generator, memory
from tidegate.engine import Topology, TopologyError
from tidegate.engine.testing.simulate import SimulationError, simulate
from tidegate.operators import ProcessFunction, agg


def _counting(records: Any) -> Topology:
    topology = Topology("counting")
    words = topology.source("words", records)
    words.key_by(lambda word: word).aggregate(n=agg.count(), name="count").sink("counts", memory.sink())
    return topology


def test_a_sound_topology_passes():
    """The report says what it went through."""
    report = simulate(_counting(memory.source([*"abcabcaab"])), seeds=30)
    assert report.seeds == 30
    assert report.deaths > 5
    assert report.stops > 0
    assert report.checkpoints > 30


class Forgetful(ProcessFunction[str, tuple[str, int]]):
    """Counts in an attribute, which no checkpoint holds."""

    def open(self, context: Any) -> None:
        self.counts: dict[str, int] = {}

    def process(self, value: str, context: Any) -> Any:
        self.counts[value] = self.counts.get(value, 0) + 1
        yield (value, self.counts[value])


def _forgetful() -> Topology:
    topology = Topology("forgetful")
    stream = topology.source("words", memory.source([*"abcabcaab" * 5])).key_by(lambda word: word, name="by-word")
    stream.process(Forgetful(), name="count").sink("counts", memory.sink())
    return topology


def test_an_operator_that_keeps_something_outside_of_its_state_is_found_out():
    """The error names the seed, and that seed shows it again, step by step."""
    with pytest.raises(SimulationError, match=r"seed \d+: sink 'counts' shows a record") as found:
        simulate(_forgetful(), seeds=100)
    outcome = found.value.outcome
    lines: list[str] = []
    with pytest.raises(SimulationError) as again:
        simulate(_forgetful(), seeds=1, first_seed=outcome.seed, on_line=lines.append)
    assert again.value.outcome == outcome
    assert tuple(lines[-len(outcome.last_lines) :]) == outcome.last_lines
    assert any("DIES" in line or "job_restarting" in line for line in lines)


def test_records_can_be_given(monkeypatch):
    """In place of what a source reads, by split; a source without an end needs them."""
    endless = generator.records(lambda random, i: "a")
    with pytest.raises(TopologyError, match="source 'words' has no end: give the simulation records"):
        simulate(_counting(endless), seeds=1)
    with pytest.raises(TopologyError, match="there is no source 'letters'"):
        simulate(_counting(endless), inputs={"letters": []}, seeds=1)
    assert simulate(_counting(endless), inputs={"words": [["a", "b"], ["c"]]}, seeds=3).checkpoints >= 3


@pytest.mark.slow
def test_work_is_shared_between_processes():
    """The same seeds find the same."""
    alone = simulate(_counting(memory.source([*"abcabcaab"])), seeds=8)
    assert simulate(_counting(memory.source([*"abcabcaab"])), seeds=8, processes=2) == alone


DATABASES = """
from tidegate.connectors import memory
from tidegate.engine import Topology
from tidegate.engine.testing.simulate import simulate
from tidegate.operators import agg

topology = Topology("counting")
words = topology.source("words", memory.source([*"abcabcaab"]))
words.key_by(lambda word: word).aggregate(n=agg.count(), name="count").sink("counts", memory.sink())
print(simulate(topology, seeds=4, state_backend="rocksdb", processes=2).seeds)
simulate(topology, seeds=1, state_backend="rocksdb")
try:
    simulate(topology, seeds=2, state_backend="rocksdb", processes=2)
except ValueError as error:
    print(error)
"""


@pytest.mark.slow
def test_real_databases_are_simulated_in_several_processes_before_this_one_has_opened_one():
    """RocksDB's threads do not survive a fork: whoever has them already is told so, and does not wait for ever."""
    printed = subprocess.run(
        [sys.executable, "-c", DATABASES],
        capture_output=True,
        check=True,
        text=True,
        timeout=100,
        cwd=Path(__file__).parent,
    ).stdout.splitlines()
    assert printed[0] == "4"
    assert "use processes=1" in printed[1]


PROGRAM = """
import sys
from tidegate.connectors import memory
from tidegate.engine import RunConfig, Topology
from tidegate.engine.testing.simulate.rewire import read_inputs
from tidegate.engine.testing.simulate.scenario import Scenario
from tidegate.operators import agg

def build():
    topology = Topology("counting")
    words = topology.source("words", memory.source([*"abcabcaab" * 3], splits=3))
    words.key_by(lambda word: word).aggregate(n=agg.count(), name="count").sink("counts", memory.sink())
    return topology

scenario = Scenario(build, read_inputs(build(), None, 100), RunConfig(state_backend="dict"))
print([scenario.run(seed).digest for seed in range(20)])
"""


@pytest.mark.slow
def test_equal_seeds_give_equal_runs_in_any_process():
    """Whatever the order of sets is there, and whatever the addresses of objects."""
    found = {
        subprocess.run(
            [sys.executable, "-c", PROGRAM],
            env={**os.environ, "PYTHONHASHSEED": str(seed)},
            capture_output=True,
            check=True,
            cwd=Path(__file__).parent,
        ).stdout
        for seed in (1, 2)
    }
    assert len(found) == 1
