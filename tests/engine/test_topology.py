"""The logical graph."""

from __future__ import annotations

import pytest
from tidegate.connectors import memory
from tidegate.engine import Topology, TopologyError


@pytest.mark.parametrize("name", ["", "a b", "../up", ".hidden", "a/b", "ü", "x" * 101])
def test_a_name_that_cannot_name_a_folder_is_refused(name):
    """Names of topologies and operators become folders of checkpoints."""
    with pytest.raises(TopologyError, match="cannot be used"):
        Topology(name)
    with pytest.raises(TopologyError, match="cannot be used"):
        Topology("t").source(name, memory.source([1]))


def test_names_are_made_from_kind_and_position():
    """Operators without a name are numbered by their kind, around the names that are taken."""
    topology = Topology("t")
    stream = topology.source("numbers", memory.source([1]))
    stream.map(str).map(str, name="map-3").map(str).map(str)
    assert [node.name for node in topology.nodes] == ["numbers", "map-1", "map-3", "map-4", "map-5"]


def test_the_fingerprint_changes_with_the_graph_and_with_nothing_else():
    """Names, kinds and links make it; functions and settings do not."""

    def make(name: str = "double", factor: int = 2, filtered: bool = False) -> str:
        topology = Topology("t")
        stream = topology.source("numbers", memory.source([1] * factor))
        if filtered:
            stream = stream.filter(bool, name="some")
        stream.map(lambda n: n * factor, name=name).sink("out", memory.sink())
        return topology.fingerprint

    assert make() == make(factor=3)
    assert len({make(), make(name="twice"), make(filtered=True)}) == 3


def test_a_parallelism_below_one_is_refused():
    """The message names the operator."""
    with pytest.raises(TopologyError, match="'numbers': parallelism must be at least 1, not 0"):
        Topology("t").source("numbers", memory.source([1]), parallelism=0)


def test_all_problems_are_listed_together():
    """One error, one line per problem."""
    error = TopologyError(["first", "second"])
    assert error.problems == ["first", "second"]
    assert str(error) == "2 problems:\n  - first\n  - second"
    assert str(TopologyError("only")) == "only"
