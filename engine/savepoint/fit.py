"""Whether a topology can go on from a checkpoint, and what becomes of each of its states. No loop, no clock, no I/O.

The same judgement starts a job and answers `tidegate savepoint check`: whatever it lets through is restored, whatever it
refuses is refused before any record is read, all of it at once.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias

from ..checkpoint.manifest import Manifest, OperatorEntry
from ..errors import StateTypeError
from ..plan import Plan
from ..state.backend import StateSchema, StoreSpec
from ..state.codec import conversion, is_upgrade
from ..state.layout import StateLayout, declared_layouts
from .rename import renamed

Role: TypeAlias = Literal["source", "operator", "sink"]
Outcome: TypeAlias = Literal["as_is", "upgraded", "empty", "dropped", "refused"]
"""Taken over as it is; taken over and run through the upgrade function; begins with nothing; given up because that was
allowed; or a reason not to start."""

_TIMERS = {"timers.event": "event-time timers", "timers.processing": "processing-time timers"}


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """What the topology says about one of its nodes.

    Attributes:
        operator_id: its name.
        role: source, operator or sink.
        kind: the operator's kind (`window`, `process`…).
        layouts: its states by name, timers among them; empty for a node without state.
    """

    operator_id: str
    role: Role
    kind: str
    layouts: Mapping[str, StateLayout] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class StateFit:
    """What becomes of one state.

    Attributes:
        name: its name.
        outcome: in a word.
        kind: the kind of state.
        was_version: the version in the checkpoint; None when it is not there.
        version: the version now; None when it is not declared any more.
        note: what else is worth saying; empty when nothing is.
    """

    name: str
    outcome: Outcome
    kind: str
    was_version: int | None = None
    version: int | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class NodeFit:
    """What becomes of one node of the topology, or of one that only the checkpoint has.

    Attributes:
        operator_id: its name now; in the checkpoint for one that is not in the topology.
        role: source, operator or sink.
        kind: the operator's kind.
        outcome: the gravest of its states'; in a word.
        was: its name in the checkpoint where that is another.
        states: its states.
        note: what else is worth saying.
        problems: why it is refused, one sentence each with the remedy.
    """

    operator_id: str
    role: Role
    kind: str
    outcome: Outcome
    was: str | None = None
    states: tuple[StateFit, ...] = ()
    note: str = ""
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Fit:
    """The judgement.

    Attributes:
        manifest: the checkpoint's, under the names of today.
        nodes: those of the topology in its order, then those that only the checkpoint has.
        general: problems that belong to no node.
        rehashed: the number of key groups is another one: every key is assigned to a key group anew.
    """

    manifest: Manifest
    nodes: tuple[NodeFit, ...]
    general: tuple[str, ...] = ()
    rehashed: bool = False

    @property
    def problems(self) -> list[str]:
        """Every reason not to start, with its remedy; empty when the topology fits."""
        return [*self.general, *(problem for node in self.nodes for problem in node.problems)]


def node_facts(plan: Plan) -> list[NodeFacts]:
    """The facts about every node of a plan.

    Raises:
        StateError: a declared state cannot be stored.
    """
    found = []
    for node in plan.topology.nodes:
        layouts: Mapping[str, StateLayout] = {}
        operator = node.operator
        if operator is not None and node.stateful:
            spec = StoreSpec(
                operator_id=node.name,
                subtask=0,
                key_groups=range(plan.max_parallelism),
                max_parallelism=plan.max_parallelism,
                descriptors=operator.states(),
                uses_timers=operator.uses_timers,
                memory_budget_bytes=0,
                directory=Path(),
                now_ms=lambda: 0,
                key_type=node.key_type,
            )
            layouts = declared_layouts(spec)
        found.append(NodeFacts(node.name, node.kind, node.word, layouts))
    return found


def fit(
    manifest: Manifest,
    nodes: Sequence[NodeFacts],
    max_parallelism: int,
    *,
    fingerprint: str = "",
    rename: Mapping[str, str] | None = None,
    allow_dropped: Collection[str] = frozenset(),
) -> Fit:
    """What would become of everything in a checkpoint if this topology started from it.

    New operators start empty, and so do new states. What the checkpoint holds for `allow_dropped`, names as they are in
    the checkpoint, may be given up.

    Args:
        manifest: the checkpoint.
        nodes: the topology.
        max_parallelism: its number of key groups.
        fingerprint: the topology's.
        rename: the name in the checkpoint → the name now.
        allow_dropped: see above.
    """
    names = [node.operator_id for node in nodes]
    keeping = [node.operator_id for node in nodes if node.role == "source" or node.layouts]
    manifest, was, general = renamed(manifest, rename or {}, fingerprint, names, keeping)
    dropped = frozenset(allow_dropped)
    both = sorted(dropped & set(was.values()))
    general += [f"{name!r} is both renamed and dropped: leave it out of rename or of allow_dropped" for name in both]
    judged = [_node(manifest, node, was.get(node.operator_id), dropped) for node in nodes]
    left = _left_behind(manifest, nodes, dropped)
    return Fit(manifest, (*judged, *left), tuple(general), manifest.max_parallelism != max_parallelism)


def _node(manifest: Manifest, node: NodeFacts, was: str | None, dropped: frozenset[str]) -> NodeFit:
    if node.role == "source":
        splits = manifest.sources.get(node.operator_id)
        if not splits:
            return NodeFit(node.operator_id, "source", node.kind, "empty", was, note="begins where it is told to")
        return NodeFit(
            node.operator_id, "source", node.kind, "as_is", was, note=f"goes on where it was, splits: {len(splits)}"
        )
    if node.role == "sink":
        pieces = len(manifest.committables.get(node.operator_id, ()))
        note = f"its output is committed first, pieces: {pieces}" if pieces else "no output waits to be committed"
        return NodeFit(node.operator_id, "sink", node.kind, "as_is", was, note=note)
    return _operator(manifest, node, was, dropped)


def _operator(manifest: Manifest, node: NodeFacts, was: str | None, dropped: frozenset[str]) -> NodeFit:
    name = node.operator_id
    entry = manifest.operators.get(name)
    if entry is None or not entry.subtasks:
        states = tuple([_begins_empty(layout) for layout in node.layouts.values()])
        if not states:
            return NodeFit(name, "operator", node.kind, "as_is", was, note="keeps no state")
        return NodeFit(name, "operator", node.kind, "empty", was, states)
    if name in dropped:
        states = tuple([_begins_empty(layout) for layout in node.layouts.values()])
        return NodeFit(name, "operator", node.kind, "dropped", was, states, "the old state is given up")
    if entry.kind != node.kind:
        problem = (
            f"operator {name!r} is of kind {node.kind} now and was of kind {entry.kind} in {manifest.title}: its state "
            f"does not fit; give the new operator another name, and allow_dropped={{{name!r}}} to let the old state go"
        )
        return NodeFit(name, "operator", node.kind, "refused", was, problems=(problem,))
    fits: list[StateFit] = []
    problems: list[str] = []
    saved = _schemas(entry)
    for state, old in saved.items():
        layout = node.layouts.get(state)
        found, problem = _undeclared(manifest, name, old) if layout is None else _state(name, old, layout)
        fits.append(found)
        problems += [problem] if problem else []
    fits += [_begins_empty(layout) for state, layout in node.layouts.items() if state not in saved]
    return NodeFit(name, "operator", node.kind, _gravest(fits), was, tuple(fits), problems=tuple(problems))


def _state(operator_id: str, old: StateSchema, layout: StateLayout) -> tuple[StateFit, str]:
    new = layout.schema
    try:
        convert = conversion(operator_id, old, new, codec=layout.values, upgrade=layout.upgrade, expiry_ms=lambda: 0)
    except StateTypeError as error:
        return StateFit(new.name, "refused", old.kind, old.version, new.version, str(error)), str(error)
    if convert is None:
        return StateFit(new.name, "as_is", new.kind, old.version, new.version), ""
    if is_upgrade(old, new):
        return StateFit(new.name, "upgraded", new.kind, old.version, new.version), ""
    note = "its values live from the restore on" if layout.expiring else "its values live for ever from now on"
    return StateFit(new.name, "as_is", new.kind, old.version, new.version, note), ""


def _undeclared(manifest: Manifest, operator_id: str, old: StateSchema) -> tuple[StateFit, str]:
    if old.name in _TIMERS:
        fault = f"{_TIMERS[old.name]} of operator {operator_id!r} are in {manifest.title} but it no longer uses timers"
        remedy = "set uses_timers again"
    else:
        fault = f"state {old.name!r} of operator {operator_id!r} is in {manifest.title} but the operator no longer declares it"
        remedy = "declare it again"
    problem = (
        f"{fault}; {remedy}, or give the operator another name and let all its state go with "
        f"allow_dropped={{{operator_id!r}}}"
    )
    return StateFit(old.name, "refused", old.kind, old.version, note=problem), problem


def _begins_empty(layout: StateLayout) -> StateFit:
    return StateFit(layout.schema.name, "empty", layout.schema.kind, version=layout.schema.version)


def _gravest(states: Iterable[StateFit]) -> Outcome:
    found = {state.outcome for state in states}
    order: tuple[Outcome, ...] = ("refused", "upgraded", "as_is")
    return next((outcome for outcome in order if outcome in found), "empty")


def _schemas(entry: OperatorEntry) -> dict[str, StateSchema]:
    return {schema.name: schema for subtask in entry.subtasks for schema in subtask.snapshot.schemas}


def _left_behind(manifest: Manifest, nodes: Sequence[NodeFacts], dropped: frozenset[str]) -> list[NodeFit]:
    """What only the checkpoint has."""
    roles = {node.operator_id: node.role for node in nodes}
    kept: list[tuple[Role, str, str, str, list[str]]] = []
    for name, entry in sorted(manifest.operators.items()):
        if entry.subtasks and roles.get(name) != "operator":
            holds = f"operator {name!r} ({entry.kind}) has state in {manifest.title}"
            candidates = [
                node.operator_id
                for node in nodes
                if node.kind == entry.kind and node.layouts and node.operator_id not in manifest.operators
            ]
            kept.append(("operator", name, entry.kind, holds, candidates))
    for name in sorted(manifest.sources):
        if roles.get(name) != "source":
            holds = f"source {name!r} has offsets in {manifest.title}"
            kept.append(("source", name, "source", holds, _new(nodes, "source", manifest.sources)))
    for name in sorted(manifest.committables):
        if manifest.committables[name] and roles.get(name) != "sink":
            holds = f"sink {name!r} has output in {manifest.title} that may not be visible yet"
            kept.append(("sink", name, "sink", holds, []))
    return [
        NodeFit(name, role, kind, "dropped", note="given up, as allow_dropped says")
        if name in dropped
        else NodeFit(name, role, kind, "refused", problems=(_gone(role, name, holds, candidates),))
        for role, name, kind, holds, candidates in kept
    ]


def _new(nodes: Sequence[NodeFacts], role: Role, known: Collection[str]) -> list[str]:
    return [node.operator_id for node in nodes if node.role == role and node.operator_id not in known]


def _gone(role: Role, name: str, holds: str, candidates: Sequence[str]) -> str:
    guess = f" (was it renamed to {' or '.join(map(repr, candidates))}?)" if candidates else ""
    new = repr(candidates[0]) if candidates else "'its-new-name'"
    what = {"operator": "its state", "source": "its offsets", "sink": "the output"}[role]
    return (
        f"{holds} but is not in the topology{guess}; give the {role} name={name!r} again, say what it is called now with "
        f"rename={{{name!r}: {new}}}, or let {what} go with allow_dropped={{{name!r}}}"
    )
