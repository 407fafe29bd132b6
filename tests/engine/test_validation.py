"""What is wrong with a topology is found before anything runs."""

from __future__ import annotations

import msgspec
import pytest
from tidegate.connectors import memory
from tidegate.engine import Topology, TopologyError, start
from tidegate.engine.validation import validate
from tidegate.operators import MultiInputOperator, ProcessFunction, ValueState, agg, windows


class Reading(msgspec.Struct):
    """A typed record."""

    key: str
    at_ms: int


def _source(topology: Topology, **settings):
    return topology.source("numbers", memory.source([1]), **settings)


def _problems(topology: Topology) -> list[str]:
    with pytest.raises(TopologyError) as caught:
        validate(topology)
    return caught.value.problems


def test_an_empty_topology_has_neither_source_nor_sink():
    """Both are told, each with the remedy."""
    problems = _problems(Topology("empty"))
    assert problems[0].startswith("topology 'empty' has no source: begin with topology.source(")
    assert problems[1].startswith("topology 'empty' has no sink: end a stream with .sink(")


def test_a_stream_that_leads_nowhere_is_named():
    """A forgotten sink is no silent loss."""
    topology = Topology("t")
    stream = _source(topology)
    stream.sink("out", memory.sink())
    stream.map(str, name="lost")
    assert _problems(topology) == ["map 'lost' leads nowhere: end its stream with .sink(name, ...), or remove it"]


def test_two_operators_of_one_name_are_an_error():
    """Their state would be kept in one place."""
    topology = Topology("t")
    _source(topology).map(str, name="same").map(str, name="same").sink("out", memory.sink())
    assert _problems(topology) == [
        "2 operators are named 'same': state is kept under the name, so give each its own with name="
    ]


def test_a_window_without_event_time_names_the_source_to_mend():
    """The remedy stands at the source, not at the window."""
    topology = Topology("t")
    keyed = _source(topology).key_by(lambda n: n, key_type=int)
    keyed.window(windows.tumbling("1s")).aggregate(n=agg.count(), name="w").sink("out", memory.sink())
    (problem,) = _problems(topology)
    assert problem.startswith("window 'w' needs event time, but source 'numbers' has none: pass event_time=")


def test_an_event_time_field_that_the_type_lacks_is_named_with_the_nearest():
    """A slip of the pen is found without reading a record."""
    topology = Topology("t")
    stream = topology.source("readings", memory.source([], type=Reading), event_time="at_m")
    stream.sink("out", memory.sink())
    (problem,) = _problems(topology)
    assert "event_time='at_m' is not a field of Reading, did you mean 'at_ms'?" in problem


def test_a_result_that_never_comes_is_an_error():
    """A count window's rest, or a global window, of an unbounded source would come at its end: never."""
    topology = Topology("t")
    keyed = topology.source("numbers", memory.channel()).key_by(lambda n: n, key_type=int)
    keyed.window(windows.global_()).aggregate(n=agg.count(), name="all").sink("out", memory.sink())
    (problem,) = _problems(topology)
    assert "'all' gives out its result only at the end of the stream, and source 'numbers' has none" in problem


def test_a_side_output_that_the_operator_lacks_is_named_with_those_it_has():
    """A wrong tag would be a stream that never has a record."""
    topology = Topology("t")
    keyed = _source(topology, event_time=lambda n: n).key_by(lambda n: n, key_type=int)
    counted = keyed.window(windows.tumbling("1s")).aggregate(n=agg.count(), name="w")
    counted.sink("out", memory.sink())
    counted.side_output("lates").sink("late", memory.sink())
    (problem,) = _problems(topology)
    assert "'late' listens to side output 'lates' of 'w', which has only 'late'" in problem


def test_a_state_that_is_declared_twice_is_an_error():
    """Two handles would share one place."""

    class Twice(ProcessFunction[int, int]):
        def states(self):
            return [ValueState("count", int), ValueState("count", str)]

    topology = Topology("t")
    _source(topology).key_by(lambda n: n, key_type=int).process(Twice(), name="p").sink("out", memory.sink())
    (problem,) = _problems(topology)
    assert "'p' declares the state 'count' twice" in problem


def test_start_refuses_before_anything_runs():
    """The check is part of making a job."""
    with pytest.raises(TopologyError):
        start(Topology("empty"))


class Enriched(MultiInputOperator):
    """Keyed facts, and rules that every subtask hears of."""

    kind = "enriched"
    inputs = ("facts", "rules")
    keyed = True


def test_of_several_inputs_each_must_be_keyed_or_broadcast():
    """What every subtask is told needs no key."""
    topology = Topology("t")
    facts, rules = _source(topology), topology.source("rules", memory.source([2]))
    facts.key_by(str).apply(Enriched(), rules.broadcast(), name="right").sink("out", memory.sink())
    validate(topology)
    facts.key_by(str).apply(Enriched(), rules, name="wrong").sink("out-2", memory.sink())
    assert _problems(topology) == ["enriched 'wrong' needs a keyed stream: put .key_by(...) before it"]
