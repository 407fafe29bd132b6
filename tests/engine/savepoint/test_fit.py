"""Whether a topology can go on from a checkpoint, and what becomes of each state."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tidegate.connectors import memory
from tidegate.engine import RunConfig, Topology
from tidegate.engine.plan import make_plan
from tidegate.engine.runtime.recovery import fit_to
from tidegate.engine.savepoint.fit import NodeFacts, fit, node_facts
from tidegate.engine.state.backend import StateSchema, StoreSpec
from tidegate.engine.state.layout import declared_layouts
from tidegate.operators import ProcessFunction
from tidegate.operators.state import MapState, StateDescriptor, ValueState

TOTAL = StateSchema("total", "keyed", 1, ("int",))
TIMERS = (
    StateSchema("timers.event", "window", 1, ("bool",)),
    StateSchema("timers.processing", "window", 1, ("bool",)),
)


def node(name: str, *states: StateDescriptor[Any], kind: str = "process", timers: bool = False) -> NodeFacts:
    """An operator that declares these states."""
    spec = StoreSpec(
        operator_id=name,
        subtask=0,
        key_groups=range(128),
        max_parallelism=128,
        descriptors=states,
        uses_timers=timers,
        memory_budget_bytes=0,
        directory=Path(),
        now_ms=lambda: 0,
    )
    return NodeFacts(name, "operator", kind, declared_layouts(spec))


COUNT = node("count", ValueState("total", int))
FLIGHTS = NodeFacts("flights", "source", "source")
DELAYS = NodeFacts("delays", "sink", "sink")


def test_the_same_topology_fits(manifest_of: Callable[..., Any], entry_of: Callable[..., Any]) -> None:
    """With new operators beside the old ones, which start empty."""
    manifest = manifest_of({"count": entry_of("count", TOTAL)}, ["flights"], ["delays"])
    fitted = fit(manifest, [FLIGHTS, COUNT, node("worst", ValueState("best", int)), DELAYS], 128)
    assert fitted.problems == []
    assert [found.outcome for found in fitted.nodes] == ["as_is", "as_is", "empty", "as_is"]
    assert [found.note for found in fitted.nodes if found.note] == [
        "goes on where it was, splits: 1",
        "its output is committed first, pieces: 1",
    ]


def test_a_new_state_starts_empty_beside_the_old_one(
    manifest_of: Callable[..., Any], entry_of: Callable[..., Any]
) -> None:
    """And the old one is taken over."""
    more = node("count", ValueState("total", int), MapState("seen", str, int), timers=True)
    (found,) = fit(manifest_of({"count": entry_of("count", TOTAL)}), [more], 128).nodes
    assert {state.name: state.outcome for state in found.states} == {
        "total": "as_is",
        "seen": "empty",
        "timers.event": "empty",
        "timers.processing": "empty",
    }
    assert found.outcome == "as_is"


def test_a_changed_type_is_upgraded_where_there_is_a_function(
    manifest_of: Callable[..., Any], entry_of: Callable[..., Any]
) -> None:
    """From its version to the one now."""
    upgraded = node("count", ValueState("total", str, version=3, upgrade=lambda old, value: str(value)))
    fitted = fit(manifest_of({"count": entry_of("count", TOTAL)}), [upgraded], 128)
    (state,) = fitted.nodes[0].states
    assert (state.outcome, state.was_version, state.version) == ("upgraded", 1, 3)
    assert (fitted.nodes[0].outcome, fitted.problems) == ("upgraded", [])


def test_a_state_that_was_given_a_time_to_live_is_no_upgrade(
    manifest_of: Callable[..., Any], entry_of: Callable[..., Any]
) -> None:
    """It is taken over, and when its values end is said."""
    brief = node("count", ValueState("total", int, ttl="1h"))
    (state,) = fit(manifest_of({"count": entry_of("count", TOTAL)}), [brief], 128).nodes[0].states
    assert (state.outcome, state.note) == ("as_is", "its values live from the restore on")


def test_every_problem_is_listed_at_once_with_its_remedy(
    manifest_of: Callable[..., Any], entry_of: Callable[..., Any]
) -> None:
    """Changed types, states and operators that are gone, a source, a sink, an operator of another kind."""
    manifest = manifest_of(
        {
            "count": entry_of("count", TOTAL, StateSchema("gone", "map", 1, ("str", "int")), *TIMERS),
            "other": entry_of("other", TOTAL, kind="window"),
            "missing": entry_of("missing", TOTAL),
        },
        ["flights"],
        ["delays"],
    )
    retyped = node("count", ValueState("total", str))
    problems = fit(manifest, [retyped, node("other", ValueState("total", int))], 128).problems
    for problem, wanted in zip(
        problems,
        [
            "state 'total' of operator 'count' cannot be restored: `total` was int and is now str; declare the state with "
            "upgrade=function(old_version, old_value)",
            "state 'gone' of operator 'count' is in checkpoint 7 but the operator no longer declares it; declare it again",
            "event-time timers of operator 'count' are in checkpoint 7 but it no longer uses timers; set uses_timers again",
            "processing-time timers of operator 'count'",
            "operator 'other' is of kind process now and was of kind window in checkpoint 7",
            "operator 'missing' (process) has state in checkpoint 7 but is not in the topology; give the operator "
            "name='missing' again",
            "source 'flights' has offsets in checkpoint 7",
            "sink 'delays' has output in checkpoint 7 that may not be visible yet",
        ],
        strict=True,
    ):
        assert wanted in problem
    assert all("allow_dropped" in problem for problem in problems)


def test_a_renamed_operator_is_refused_with_a_guess_at_its_new_name(
    manifest_of: Callable[..., Any], entry_of: Callable[..., Any]
) -> None:
    """The message names the old name, the likely new one, and the three ways out."""
    (problem,) = fit(
        manifest_of({"count": entry_of("count", TOTAL)}), [node("tally", ValueState("total", int))], 128
    ).problems
    assert "was it renamed to 'tally'?" in problem
    assert "name='count'" in problem
    assert "rename={'count': 'tally'}" in problem
    assert "allow_dropped={'count'}" in problem


def test_a_rename_that_is_said_takes_over_state_offsets_and_output(
    manifest_of: Callable[..., Any], entry_of: Callable[..., Any]
) -> None:
    """The manifest that is restored has the new names."""
    manifest = manifest_of({"count": entry_of("count", TOTAL)}, ["flights"], ["delays"])
    nodes = [
        NodeFacts("departures", "source", "source"),
        node("tally", ValueState("total", int)),
        NodeFacts("late", "sink", "sink"),
    ]
    fitted = fit(manifest, nodes, 128, rename={"flights": "departures", "count": "tally", "delays": "late"})
    assert fitted.problems == []
    assert [(found.operator_id, found.was, found.outcome) for found in fitted.nodes] == [
        ("departures", "flights", "as_is"),
        ("tally", "count", "as_is"),
        ("late", "delays", "as_is"),
    ]
    assert set(fitted.manifest.operators) == {"tally"}
    assert fitted.manifest.operators["tally"].subtasks[0].snapshot.operator_id == "tally"
    assert set(fitted.manifest.sources) == {"departures"}
    assert set(fitted.manifest.committables) == {"late"}


def test_state_may_be_dropped_on_purpose(manifest_of: Callable[..., Any], entry_of: Callable[..., Any]) -> None:
    """Then the operator may be gone, or be another one, and so may sources and sinks."""
    manifest = manifest_of({"count": entry_of("count", TOTAL, kind="window")}, ["flights"], ["delays"])
    dropped = {"count", "flights", "delays"}
    fitted = fit(manifest, [], 128, allow_dropped=dropped)
    assert (fitted.problems, {found.outcome for found in fitted.nodes}) == ([], {"dropped"})
    fitted = fit(manifest, [COUNT], 128, allow_dropped=dropped)
    assert fitted.problems == []
    assert fitted.nodes[0].states[0].outcome == "empty"


def test_renaming_and_dropping_one_name_is_refused(
    manifest_of: Callable[..., Any], entry_of: Callable[..., Any]
) -> None:
    """Nobody can mean both."""
    (problem,) = fit(
        manifest_of({"count": entry_of("count", TOTAL)}),
        [node("tally", ValueState("total", int))],
        128,
        rename={"count": "tally"},
        allow_dropped={"count"},
    ).problems
    assert problem == "'count' is both renamed and dropped: leave it out of rename or of allow_dropped"


def test_an_operator_without_saved_state_may_go(manifest_of: Callable[..., Any]) -> None:
    """Nothing is lost with it."""
    from tidegate.engine.checkpoint.manifest import OperatorEntry

    assert fit(manifest_of({"count": OperatorEntry("aggregate", 1)}), [], 128).problems == []


def test_another_number_of_key_groups_is_no_problem_and_is_told(
    manifest_of: Callable[..., Any], entry_of: Callable[..., Any]
) -> None:
    """Every key is assigned to a key group anew."""
    manifest = manifest_of({"count": entry_of("count", TOTAL)})
    assert fit(manifest, [COUNT], 128).rehashed is False
    fitted = fit(manifest, [COUNT], 64)
    assert (fitted.rehashed, fitted.problems) == (True, [])


class Visit(msgspec.Struct):
    """What a function of the tests keeps."""

    n: int


class Visits(ProcessFunction[Any, Any]):
    """Keeps a value and uses timers."""

    VISIT = ValueState("visit", Visit)

    def states(self) -> Any:
        return [self.VISIT]

    def process(self, value: Any, context: Any) -> Any:
        yield value

    def on_timer(self, timestamp_ms: int, context: Any) -> Any:
        yield timestamp_ms


def test_the_facts_come_from_the_plan(manifest_of: Callable[..., Any], entry_of: Callable[..., Any]) -> None:
    """Roles, kinds and the layouts of the states, timers too; settings of the run decide with them."""
    topology = Topology("visits")
    stream = topology.source("in", memory.source([1])).map(lambda n: n, name="plain")
    stream.key_by(lambda n: n, name="by").process(Visits(), name="visits").sink("out", memory.sink())
    plan = make_plan(topology, 1, 128)
    facts = {found.operator_id: found for found in node_facts(plan)}
    assert {name: found.role for name, found in facts.items()} == {
        "in": "source",
        "plain": "operator",
        "by": "operator",
        "visits": "operator",
        "out": "sink",
    }
    assert facts["visits"].layouts["visit"].schema.types == ("{n: int}",)
    assert "timers.event" in facts["visits"].layouts
    assert facts["plain"].layouts == {}
    manifest = manifest_of({"old": entry_of("old", StateSchema("visit", "keyed", 1, ("{n: int}",)))})
    assert fit_to(plan, RunConfig(rename={"old": "visits"}), manifest).problems == []
    assert len(fit_to(plan, RunConfig(), manifest).problems) == 1


@pytest.mark.parametrize("backend", ["dict", "rocksdb"])
def test_a_backend_is_not_part_of_the_judgement(
    backend: str, manifest_of: Callable[..., Any], entry_of: Callable[..., Any]
) -> None:
    """Whatever wrote the snapshot, its schemas say what it holds."""
    entry = entry_of("count", TOTAL)
    (state,) = entry.subtasks
    changed = msgspec.structs.replace(
        entry,
        subtasks=(msgspec.structs.replace(state, snapshot=msgspec.structs.replace(state.snapshot, backend=backend)),),
    )
    assert fit(manifest_of({"count": changed}), [COUNT], 128).problems == []
