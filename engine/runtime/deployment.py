"""The making of subtasks: from the plan, and what a start begins from, to chains with their state and the channels between
them."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from copy import copy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from ...connectors.sink import Sink
from ...connectors.source import Source, Split
from ...operators.errors import Retry
from ...operators.operator import MultiInputOperator, Operator
from ..checkpoint.in_flight import way
from ..checkpoint.manifest import InFlightSubtask
from ..clock import Clock
from ..config import RunConfig
from ..executor import Executor
from ..metrics.measures import JobMeasures, OperatorMeasures
from ..plan import Chained, Plan, PlannedEdge
from ..state.backend import OperatorStore, StateBackend, StoreSnapshot, StoreSpec
from ..topology import Node
from .chain import Chain, Reporter, SplitPosition
from .channel import Channel, Gate
from .contexts import ConnectorContext
from .elements import Element
from .event_time import EventTime
from .node import Entry, InputPort, NodeContext, OperatorNode, Target
from .outputs import ChannelOutput, SinkLeaf
from .pace import RecordBudget
from .partitioners import Broadcast, Forward, Hash, Partitioner, RoundRobin
from .recording import FILE_NAME, InputEdge, RestoredInputs, read_recording
from .recovery import OnTheWay
from .replaying import Replaying, ReplayRange
from .silence import passes_silence_on, silent_inputs
from .source_subtask import SourceSubtask
from .split_end import SplitEnd
from .split_progress import SplitProgress
from .subtask import Subtask


@dataclass(frozen=True)
class Deployment:
    """What the subtasks start from.

    Attributes:
        attempt: the nth start of the job.
        splits: per source and subtask, the splits it reads, each with its position at the checkpoint (None: from its
            beginning).
        snapshots: per stateful operator and subtask, the snapshots to restore from, each with the folder of its files;
            operators that are not there start empty.
        in_flight: per operator and subtask, what was on its way there, with the folder of its file.
        record_types: the record types of the topology by operator id, also under the ids in the checkpoint.
    """

    attempt: int
    splits: dict[str, list[list[tuple[Split, SplitPosition | None]]]]
    snapshots: dict[str, list[list[tuple[StoreSnapshot, Path]]]]
    in_flight: OnTheWay = field(default_factory=dict)
    record_types: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Surroundings:
    """What the subtasks of an attempt work with, wherever they are made.

    Attributes:
        directory: for snapshots and databases.
        on_reached: called when a replay has come to its ends.
    """

    plan: Plan
    config: RunConfig
    job: str
    backend: StateBackend
    directory: Path
    clock: Clock
    executor: Executor
    measures: JobMeasures
    reporter: Reporter
    budget: RecordBudget
    replay: ReplayRange | None = None
    on_reached: Callable[[], None] = lambda: None


class Deployer:
    """Makes all subtasks of an attempt, their state restored, without running anything.

    Args:
        within: what they work with.
        deployment: what they start from.
        spawn: runs a coroutine beside the subtasks.

    Attributes:
        sources: the subtasks made so far that are fed by sources.
        subtasks: the others.
        stores: their state, by operator and subtask.
        opened: the same with the measures of each.
    """

    def __init__(
        self, within: Surroundings, deployment: Deployment, spawn: Callable[[Coroutine[Any, Any, Any]], Any]
    ) -> None:
        self.sources: list[SourceSubtask] = []
        self.subtasks: list[Subtask] = []
        self.stores: dict[tuple[str, int], OperatorStore] = {}
        self.opened: list[tuple[OperatorStore, OperatorMeasures]] = []
        self._within = within
        self._plan = within.plan
        self._config = within.config
        self._clock = within.clock
        self._executor = within.executor
        self._measures = within.measures
        self._replay = within.replay
        self._deployment = deployment
        self._spawn = spawn
        self._gates: dict[tuple[Chained, int], Gate] = {}
        self._first_channel: dict[PlannedEdge, int] = {}
        self._silent: set[tuple[Chained, int]] = set()

    async def make(self) -> None:
        """Make them. What was made before an error is there.

        Raises:
            StateError: a store cannot be opened, or its types differ.
        """
        for chain in self._plan.chains:
            self._make_gates(chain)
        for chain in self._plan.chains:
            for subtask in range(chain.parallelism):
                await self._make_subtask(chain, subtask)

    def _make_gates(self, chain: Chained) -> None:
        count = 0
        for edge in chain.inputs:
            self._first_channel[edge] = count
            count += edge.channels_per_receiver
        if count:
            for subtask in range(chain.parallelism):
                self._gates[chain, subtask] = Gate(count, self._config.channel_capacity)

    def _channels(self, edge: PlannedEdge, sender: int) -> list[Channel]:
        """The sending ends of one sender's channels, by receiver; the one to the same subtask for `forward`."""
        first = self._first_channel[edge]
        if edge.partitioner == "forward":
            return [self._gates[edge.receiver, sender].channel(first)]
        return [
            self._gates[edge.receiver, receiver].channel(first + sender)
            for receiver in range(edge.receiver.parallelism)
        ]

    def _partitioner(self, edge: PlannedEdge, sender: int) -> Partitioner:
        count = edge.receiver.parallelism
        if edge.partitioner == "hash":
            return Hash(count, self._plan.max_parallelism)
        if edge.partitioner == "broadcast":
            return Broadcast(count)
        if edge.partitioner == "round_robin":
            return RoundRobin(count, sender)
        return Forward()

    async def _make_subtask(self, chain: Chained, subtask: int) -> None:
        deployment = self._deployment
        targets: dict[Node, Target] = {}
        nodes: list[OperatorNode] = []
        sinks: list[SinkLeaf] = []
        for node in chain.nodes:
            measures = self._measures.operator(node.name, subtask, node.word)
            if node.kind == "sink":
                context = self._connector_context(node, chain, subtask)
                sink = cast("Sink[Any]", node.what)
                leaf = SinkLeaf(
                    node.name,
                    sink.writer(context),
                    measures,
                    self._measures.latency,
                    self._clock,
                    transactional=sink.guarantee == "exactly_once",
                )
                sinks.append(leaf)
                targets[node] = leaf
            elif isinstance(node.what, Operator):
                made = await self._make_node(node, node.what, chain, subtask)
                nodes.append(made)
                targets[node] = made
        # Where the records of each node go: nodes of the chain, and channels to other chains.
        ends: dict[tuple[Node, str | None], list[Target]] = {}
        for upstream, tag, node in chain.links:
            ends.setdefault((upstream, tag), []).append(targets[node])
        outputs: list[ChannelOutput] = []
        for edge in chain.outputs:
            output = ChannelOutput(self._partitioner(edge, subtask), self._channels(edge, subtask))
            outputs.append(output)
            ends.setdefault((edge.upstream, edge.tag), []).append(output)
        for (upstream, tag), found in ends.items():
            target = targets.get(upstream)
            if isinstance(target, OperatorNode):
                if tag is None:
                    target.targets = found
                else:
                    target.context.side_targets[tag] = found
        name = chain.subtask_name(subtask)
        made_chain = Chain(
            name,
            nodes,
            outputs,
            sinks,
            clock=self._clock,
            executor=self._executor,
            spawn=self._spawn,
            reporter=self._within.reporter,
            snapshot_directory=self._within.directory / "snapshots" / name,
            measures=self._measures.subtask(chain.head.name, subtask, tuple(n.name for n in chain.nodes)),
        )
        if chain.head.kind == "source":
            source = self._make_source(made_chain, chain, subtask, ends)
            self.sources.append(source)
            if source.exhausted:
                self._silent.add((chain, subtask))
        else:
            inputs = silent_inputs(chain, subtask, self._silent)
            in_flight = deployment.in_flight.get(chain.head.name, {}).get(subtask)
            nothing_comes = passes_silence_on(chain, inputs, restored=chain.head.name in deployment.snapshots)
            if nothing_comes and (in_flight is None or not in_flight[0].files):
                self._silent.add((chain, subtask))
            types = {node.name: node.record_type for node in self._plan.topology.nodes}
            made_subtask = Subtask(
                made_chain,
                self._gates[chain, subtask],
                targets[chain.head],
                _entries(chain, targets[chain.head]),
                edges=_input_edges(chain, types),
                idle_channels=inputs,
                clock=self._clock,
                reporter=self._within.reporter,
                spawn=self._spawn,
            )
            self.subtasks.append(made_subtask)
            if in_flight is not None:
                made_subtask.restore(await self._read_inputs(chain, *in_flight, deployment.record_types))

    async def _read_inputs(
        self, chain: Chained, state: InFlightSubtask, folder: Path, record_types: Mapping[str, Any]
    ) -> RestoredInputs:
        elements: list[list[Element]] = []
        if state.files:
            edges = _input_edges(chain, record_types)
            elements = await self._executor.run(read_recording, folder / FILE_NAME, edges)
        return RestoredInputs(state.watermark_ms, state.watermarks, state.idle, elements)

    def _make_source(
        self,
        made: Chain,
        chain: Chained,
        subtask: int,
        ends: dict[tuple[Node, str | None], list[Target]],
    ) -> SourceSubtask:
        node = chain.head
        source = cast("Source[Any]", node.what)
        settings = node.source
        assert settings is not None
        context = self._connector_context(node, chain, subtask)
        field = settings.event_time
        if field is None and source.has_timestamps:
            field = "timestamp"  # never read: the source brings its own
        on_error = settings.on_error
        replaying = None
        until: Mapping[str, SplitEnd] = {}
        if self._replay is not None:
            until = self._replay.ends.get(node.name, {})
            exact = bool(self._replay.ends)
            bounded = exact or self._config.until_ms is not None
            replaying = Replaying(bounded, exact, lambda: source.reader(context), self._source_reached)
        made_source = SourceSubtask(
            made,
            node.name,
            source.reader(context),
            [
                SplitProgress(
                    split, position, settings.watermarks, self._measures.split(node.name, split.id), until.get(split.id)
                )
                for split, position in self._deployment.splits[node.name][subtask]
            ],
            bounded=source.bounded,
            finds_splits=source.finds_splits,
            poll_interval_ms=source.poll_interval_ms,
            event_time=None if field is None else EventTime(field, settings.watermarks.max_ahead_ms, source.type),
            own_timestamps=settings.event_time is None and source.has_timestamps,
            watermarks=settings.watermarks,
            on_error=on_error.then if isinstance(on_error, Retry) else on_error,
            rate_limit=settings.rate_limit,
            linger_s=self._config.linger_ms / 1000,
            max_batch=self._config.max_batch,
            until_ms=self._config.until_ms,
            wants_watermarks=self._plan.wants_watermarks,
            measures=self._measures.operator(node.name, subtask, "source"),
            split_measures=lambda split_id: self._measures.split(node.name, split_id),
            targets=ends.get((node, None), []),
            failed_targets=ends.get((node, "failed"), []),
            clock=self._clock,
            reporter=self._within.reporter,
            attempt=self._deployment.attempt,
            budget=self._within.budget,
            replay=replaying,
        )
        context.on_wake = made_source.wake
        return made_source

    def _source_reached(self) -> None:
        # Where every stream has ended the job ends by itself.
        if all(source.reached for source in self.sources) and not all(source.ended for source in self.sources):
            self._within.on_reached()

    async def _make_node(
        self,
        node: Node,
        description: Operator[Any, Any],
        chain: Chained,
        subtask: int,
    ) -> OperatorNode:
        operator = copy(description)
        measures = self._measures.operator(node.name, subtask, node.word)
        store: OperatorStore | None = None
        if node.stateful:
            store = await self._open_store(node, operator, chain, subtask)
            self.opened.append((store, measures))
            self.stores[node.name, subtask] = store
        context = NodeContext(
            node.name,
            self._clock,
            measures,
            store,
            subtask=subtask,
            parallelism=chain.parallelism,
            attempt=self._deployment.attempt,
        )
        return OperatorNode(operator, context, measures, store)

    async def _open_store(
        self,
        node: Node,
        operator: Operator[Any, Any],
        chain: Chained,
        subtask: int,
    ) -> OperatorStore:
        stateful = sum(
            chained.parallelism for chained in self._plan.chains for other in chained.nodes if other.stateful
        )
        spec = StoreSpec(
            operator_id=node.name,
            subtask=subtask,
            key_groups=self._plan.key_groups(chain, subtask),
            max_parallelism=self._plan.max_parallelism,
            descriptors=operator.states(),
            uses_timers=operator.uses_timers,
            memory_budget_bytes=self._config.memory_budget_bytes // stateful,
            directory=self._within.directory / "state" / f"{node.name}-{subtask}",
            now_ms=self._clock.now_ms,
            key_type=node.key_type,
            parallelism=chain.parallelism,
        )
        snapshots = self._deployment.snapshots.get(node.name)
        backend = self._within.backend
        if snapshots is None:
            return await self._executor.run(backend.create, spec)
        return await self._executor.run(backend.restore, spec, snapshots[subtask])

    def _connector_context(self, node: Node, chain: Chained, subtask: int) -> ConnectorContext:
        return ConnectorContext(
            node.name,
            self._within.job,
            subtask,
            chain.parallelism,
            self._deployment.attempt,
            self._clock,
            self._executor,
            self._measures.operator(node.name, subtask, node.kind),
            self._config,
        )


def _entries(chain: Chained, head: Target) -> list[Entry]:
    """Per input channel of a subtask, where its batches go."""
    entries: list[Entry] = []
    for edge in chain.inputs:
        port: Entry = head
        if isinstance(head, OperatorNode) and isinstance(head.operator, MultiInputOperator):
            port = InputPort(head, head.operator, edge.input)
        entries += [port] * edge.channels_per_receiver
    return entries


def _input_edges(chain: Chained, record_types: Mapping[str, Any]) -> list[InputEdge]:
    """What leads into each subtask of a chain."""
    return [
        InputEdge(way(edge.upstream.name, edge.tag, chain.head.name), edge.channels_per_receiver, record_types)
        for edge in chain.inputs
    ]
