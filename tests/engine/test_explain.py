"""The plan, for people."""

from __future__ import annotations

from typing import Any

from tidegate.connectors import files, formats, memory
from tidegate.engine import Topology
from tidegate.engine.explain import explain, guarantees, mermaid
from tidegate.engine.plan import make_plan
from tidegate.operators import MultiInputOperator, agg, windows


def _topology(source: Any = None, sink: Any = None) -> Topology:
    topology = Topology("demo", version="7")
    stream = topology.source("numbers", source or memory.source([1, 2, 3]), event_time=lambda n: n)
    keyed = stream.filter(lambda n: n > 1, name="big").key_by(lambda n: n, name="by", key_type=int)
    counted = keyed.window(windows.tumbling("1s")).aggregate(n=agg.count(), name="win")
    counted.sink("out", sink or memory.sink())
    counted.side_output("late").sink("late", memory.sink())
    return topology


def test_the_text_shows_chains_subtasks_channels_key_groups_and_states():
    """Everything that decides how the job runs stands there."""
    text = explain(make_plan(_topology(), 2, 128))
    for line in (
        "topology demo version 7",
        "2 chains, 4 subtasks, 128 key groups",
        "chain 1: numbers   2 subtasks",
        "→ win   hash, 4 channels",
        "chain 2: win   2 subtasks, key groups 0-63 64-127",
        "win: window tumbling(1s)",
        "state: panes v1",
        "(late) late: sink memory.sink()",
    ):
        assert line in text, text


def test_generated_names_of_stateful_operators_are_pointed_out():
    """Their state would be lost when an operator is added before them."""
    topology = Topology("t")
    keyed = topology.source("numbers", memory.source([1])).key_by(str)
    keyed.aggregate(n=agg.count()).sink("out", memory.sink())
    text = explain(make_plan(topology, 1, 128))
    assert "(generated)" in text
    assert text.rstrip().splitlines()[-1].startswith("state is kept under generated names")
    assert "generated" not in explain(make_plan(_topology(), 1, 128))


def test_the_guarantee_says_where_exactly_once_ends_and_why(tmp_path):
    """Each sink has one line: the weakest link is named."""
    (exactly, _) = guarantees(make_plan(_topology(), 1, 128))
    assert exactly.startswith("out: exactly once, with checkpoints")
    appending = files.lines(tmp_path, formats.json(), delivery="at_least_once")
    (at_least, _) = guarantees(make_plan(_topology(sink=appending), 1, 128))
    assert at_least.startswith("out: at least once: the sink")
    (not_replayable, _) = guarantees(make_plan(_topology(source=memory.channel()), 1, 128))
    assert "exactly once, with" not in not_replayable
    assert "numbers" in not_replayable


def test_the_code_of_inner_loops_is_shown_when_asked_for():
    """What the generator wrote is no secret."""
    plan = make_plan(_topology(), 1, 128)
    assert "def run(" not in explain(plan)
    assert "generated for win:" in explain(plan, code=True)
    assert "def run(" in explain(plan, code=True)


def test_the_chart_has_a_box_per_chain_and_an_arrow_per_link():
    """Mermaid takes it as it is."""
    lines = mermaid(make_plan(_topology(), 2, 128)).splitlines()
    assert lines[0] == "flowchart LR"
    assert sum(line.strip().startswith("subgraph") for line in lines) == 2
    assert sum(line.strip() == "end" for line in lines) == 2
    assert any("-- late -->" in line for line in lines)
    assert lines[-1].strip() == "n2 == hash ==> n3"


def test_of_an_operator_with_several_inputs_the_input_is_named():
    """Which stream is the left one of a join."""

    class Both(MultiInputOperator):
        """Two inputs, the second of which is small."""

        inputs = ("facts", "rules")

    topology = Topology("t")
    stream = topology.source("numbers", memory.source([1]))
    stream.apply(Both(), stream.broadcast(), name="both").sink("out", memory.sink())
    text = explain(make_plan(topology, 2, 128))
    assert "→ both.facts   forward, 2 channels" in text
    assert "→ both.rules   broadcast, 4 channels" in text
