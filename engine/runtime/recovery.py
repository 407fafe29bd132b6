"""From a manifest to what the subtasks start from: choosing the checkpoint, fetching its files, dealing out splits."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from msgspec.structs import replace

from ...connectors.source import Source, SourceError, Split
from ...operators.time import MIN_WATERMARK
from ..checkpoint.decisions import Refuse, Restore, StartFresh, choose_restore
from ..checkpoint.in_flight import fitting, misfits
from ..checkpoint.manifest import FileEntry, InFlightSubtask, Manifest, SplitEntry
from ..checkpoint.redistribution import assign_snapshots, assign_splits
from ..checkpoint.storage import CheckpointStorage
from ..clock import Clock
from ..config import RunConfig
from ..errors import CheckpointError, CorruptionError, JobError, TopologyError
from ..executor import Executor
from ..plan import Plan
from ..savepoint.fit import Fit, fit, node_facts
from ..state.backend import StoreSnapshot
from ..topology import Node
from .chain import SplitPosition
from .contexts import ConnectorContext
from .fetching import OnEvent, fetch_all

if TYPE_CHECKING:
    from obstore.store import ObjectStore

Fetched = dict[str, list[list[tuple[StoreSnapshot, Path]]]]
OnTheWay = dict[str, dict[int, tuple[InFlightSubtask, Path]]]
Dealt = dict[str, list[list[tuple[Split, SplitPosition | None]]]]


def open_storage(
    config: RunConfig, job: str, executor: Executor, clock: Clock, store: ObjectStore | None = None
) -> CheckpointStorage | None:
    """Where the job keeps its checkpoints; None when it keeps none.

    Args:
        store: in place of the one that the location names.
    """
    return None if config.checkpoints is None else storage_at(config.checkpoints, config, job, executor, clock, store)


def storage_at(
    location: str | Path,
    config: RunConfig,
    job: str,
    executor: Executor,
    clock: Clock,
    store: ObjectStore | None = None,
) -> CheckpointStorage:
    """A job's storage at a place, spoken to as the settings say."""
    return CheckpointStorage(
        location,
        job,
        executor,
        clock,
        store=store,
        settings=config.store_settings,
        at_once=config.upload_concurrency,
        upload_rate=config.upload_rate_bytes,
    )


@dataclass(frozen=True)
class Restored:
    """What was chosen and fetched.

    Attributes:
        manifest: where the splits go on from, under the names of today; None for a start from nothing.
        snapshots: see `Deployment.snapshots`.
        checkpoint_id: the checkpoint whose state and output this is; None for none.
        in_flight: see `Deployment.in_flight`.
        record_types: see `Deployment.record_types`.
    """

    manifest: Manifest | None
    snapshots: Fetched
    checkpoint_id: int | None
    in_flight: OnTheWay = field(default_factory=dict)
    record_types: Mapping[str, Any] = field(default_factory=dict)


def begin_again(first: Manifest) -> Restored:
    """The beginning of a job whose first checkpoint is lost: nothing was visible before it, so to read its splits from where
    it began repeats nothing. Those are not looked for anew: the newest record, for one, is another one by now."""
    sources = {
        name: {
            split_id: SplitEntry(entry.split, None, ended=False, watermark_ms=MIN_WATERMARK, records=0)
            for split_id, entry in splits.items()
        }
        for name, splits in first.sources.items()
    }
    nothing = replace(first, sources=sources, operators={}, committables={}, finished=False, in_flight={})
    return Restored(nothing, {}, None)


async def restore(
    storage: CheckpointStorage | None,
    wanted: int | str | None,
    plan: Plan,
    config: RunConfig,
    directory: Path,
    on_event: OnEvent,
    last_seen_id: int,
    problems: dict[int, list[str]],
    clock: Clock,
) -> Restored:
    """Choose a checkpoint, check that the topology fits it, and fetch its files, verified. One that turns out damaged is
    named and the one before it is taken.

    Args:
        on_event: is told of damage (`checkpoint_passed_over`), of the way that fetching has come (`state_restoring`, every
            two seconds) and of its end (`state_restored`).
        problems: checkpoint id → why it cannot be used; what is found here is added.

    Raises:
        CheckpointError: there is none to start from although there should be; or the storage cannot be read.
        TopologyError: the topology does not fit the checkpoint; lists every problem with its remedy.
    """
    if storage is None or wanted is None:
        return Restored(None, {}, None)
    told: set[str] = set()
    while True:
        infos, from_nothing = await storage.list(), await storage.began_from_nothing()
        decision = choose_restore(infos, wanted, problems, last_seen_id, from_nothing)
        if isinstance(decision, StartFresh):
            return Restored(None, {}, None)
        if isinstance(decision, Refuse):
            raise CheckpointError(decision.reason)
        assert isinstance(decision, Restore)
        for damage in decision.passed_over:
            if damage not in told:
                told.add(damage)
                on_event("checkpoint_passed_over", {"reason": damage})
        fitted = fit_to(plan, config, decision.manifest)
        if fitted.problems:
            raise TopologyError(fitted.problems)
        try:
            fetched, in_flight = await _fetch(storage, fitted, plan, config.allow_dropped, directory, clock, on_event)
            types = {node.name: node.record_type for node in plan.topology.nodes}
            types |= {node.was: types[node.operator_id] for node in fitted.nodes if node.was is not None}
            return Restored(fitted.manifest, fetched, fitted.manifest.checkpoint_id, in_flight, types)
        except CorruptionError as error:
            problems.setdefault(fitted.manifest.checkpoint_id, []).append(str(error))


def fit_to(plan: Plan, config: RunConfig, manifest: Manifest) -> Fit:
    """Whether a checkpoint fits a plan, under the settings of a run."""
    fitted = fit(
        manifest,
        node_facts(plan),
        plan.max_parallelism,
        fingerprint=plan.topology.fingerprint,
        rename=config.rename,
        allow_dropped=config.allow_dropped,
    )
    return dataclasses.replace(fitted, general=(*fitted.general, *misfits(fitted.manifest, plan)))


async def _fetch(
    storage: CheckpointStorage,
    fitted: Fit,
    plan: Plan,
    dropped: frozenset[str],
    directory: Path,
    clock: Clock,
    on_event: OnEvent,
) -> tuple[Fetched, OnTheWay]:
    """Every old snapshot that is needed, once, however many subtasks read from it: a backend leaves its folder as it is. And
    what was in flight."""
    manifest = fitted.manifest
    fetched: Fetched = {}
    folders: dict[Path, Sequence[FileEntry]] = {}
    directory = directory / str(manifest.checkpoint_id)  # apart from what a damaged one may have left
    for chain in plan.chains:
        ranges = [plan.key_groups(chain, subtask) for subtask in range(chain.parallelism)]
        for node in chain.nodes:
            entry = manifest.operators.get(node.name)
            if not node.stateful or entry is None or not entry.subtasks or node.name in dropped:
                continue
            fetched[node.name] = []
            for states in assign_snapshots(entry, ranges, rehashed=fitted.rehashed):
                named = [(directory / f"{node.name}-{state.snapshot.subtask}", state) for state in states]
                folders.update((folder, state.files) for folder, state in named)
                fetched[node.name].append([(state.snapshot, folder) for folder, state in named])
    in_flight: OnTheWay = {
        receiver: {
            found.subtask: (found, directory / f"{receiver}-{found.subtask}-in-flight") for found in entry.subtasks
        }
        for receiver, entry in fitting(manifest, plan).items()
    }
    folders.update((folder, found.files) for entry in in_flight.values() for found, folder in entry.values())
    await fetch_all(storage, manifest.checkpoint_id, folders, clock, on_event)
    return fetched, in_flight


async def deal_out_splits(
    plan: Plan,
    manifest: Manifest | None,
    context_of: Callable[[Node], ConnectorContext],
    target: Manifest | None = None,
) -> Dealt:
    """Every source's splits, those that the checkpoint knows at their offsets and those found now, dealt out to its
    subtasks.

    Args:
        target: a later checkpoint up to which is read: the splits that it knows are all there are.

    Raises:
        JobError: the checkpoint is the last one of a job that had come to its end, and there are new splits: their records
            would all be late.
        SourceError: a source has nothing to read.
    """
    dealt: Dealt = {}
    for chain in plan.chains:
        node = chain.head
        if node.kind != "source":
            continue
        source = cast("Source[Any]", node.what)
        known: dict[str, tuple[Split, SplitPosition | None]] = {}
        if manifest is not None:
            for split_id, entry in manifest.sources.get(node.name, {}).items():
                position = SplitPosition(entry.split, entry.offset, entry.ended, entry.watermark_ms, entry.records)
                known[split_id] = (entry.split, position)
        if target is not None:
            later = target.sources.get(node.name, {})
            found = [entry.split for split_id, entry in later.items() if split_id not in known]
        else:
            found = await _discover(node, source, context_of(node), frozenset(known), bool(known))
        if found and manifest is not None and manifest.finished and node.has_event_time:
            raise JobError(
                f"the job had come to its end at {manifest.title}, and source {node.name!r} has "
                f"{len(found)} new splits since ({found[0].id}, ...): every window is closed, so their records would all "
                'be late. Start anew with restore "none", or read the source with follow=True'
            )
        splits = [*known.values(), *((split, None) for split in found)]
        dealt[node.name] = assign_splits(splits, chain.parallelism)
    return dealt


async def _discover(
    node: Node, source: Source[Any], context: ConnectorContext, known: frozenset[str], may_be_empty: bool
) -> list[Split]:
    try:
        return await source.discover(context, known)
    except SourceError as error:
        if may_be_empty:
            return []
        raise JobError(f"source {node.name!r}: {error}") from error
