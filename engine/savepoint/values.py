"""Every value of a checkpoint, read and upgraded as a restore would do it: a dry run over the state itself."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from ..checkpoint.storage import CheckpointStorage
from ..errors import StateError
from ..executor import Executor
from ..plan import Plan
from ..state.backend import StateSchema, StoreSnapshot
from ..state.codec import conversion
from ..state.entries import SnapshotReader, open_snapshot
from ..state.layout import StateLayout
from .fit import Fit, node_facts

FAULTS_SHOWN = 5
"""How many faults of one state are kept."""


@dataclass(frozen=True, slots=True)
class ValueFault:
    """A value that could not be restored.

    Attributes:
        operator_id: the operator's name now.
        state: the state.
        key: its key, as Python shows it; "an item" of a local list.
        problem: a sentence.
    """

    operator_id: str
    state: str
    key: str
    problem: str


@dataclass(slots=True)
class CheckedValues:
    """What was found.

    Attributes:
        values: how many were read.
        faulty: how many of them could not be restored.
        faults: the first of those, a few for each state.
    """

    values: int = 0
    faulty: int = 0
    faults: list[ValueFault] = field(default_factory=list)


async def check_values(
    storage: CheckpointStorage, fitted: Fit, plan: Plan, dropped: Collection[str], executor: Executor
) -> CheckedValues:
    """Read every value that a restore would take over and turn it into what it would become. Files are verified.

    Args:
        storage: where the checkpoint is.
        fitted: what becomes of its states; those that are refused are not read.
        plan: the topology's.
        dropped: operators whose state is given up.
        executor: reads and upgrades.

    Raises:
        CorruptionError: a file is missing or damaged; names it.
        StateError: a file cannot be read.
    """
    found = CheckedValues()
    taken_over = {
        (node.operator_id, state.name)
        for node in fitted.nodes
        for state in node.states
        if state.outcome in ("as_is", "upgraded")
    }
    scratch = Path(await executor.run(tempfile.mkdtemp, None, "tidegate-check-"))
    try:
        for node in node_facts(plan):
            entry = fitted.manifest.operators.get(node.operator_id)
            if entry is None or node.operator_id in dropped:
                continue
            layouts = {n: layout for n, layout in node.layouts.items() if (node.operator_id, n) in taken_over}
            for subtask in entry.subtasks if layouts else ():
                folder = scratch / f"{node.operator_id}-{subtask.snapshot.subtask}"
                await storage.fetch_files(fitted.manifest.checkpoint_id, subtask.files, folder)
                await executor.run(_check, subtask.snapshot, folder, layouts, found)
                await executor.run(shutil.rmtree, folder)
    finally:
        await executor.run(shutil.rmtree, scratch, True)
    return found


def _check(snapshot: StoreSnapshot, folder: Path, layouts: dict[str, StateLayout], found: CheckedValues) -> None:
    with open_snapshot(snapshot, folder) as files:
        for schema in snapshot.schemas:
            layout = layouts.get(schema.name)
            if layout is None:
                continue
            convert = conversion(
                snapshot.operator_id,
                schema,
                layout.schema,
                codec=layout.values,
                upgrade=layout.upgrade,
                expiry_ms=lambda: 0,
            )
            for key, data in _stored(files, schema):
                found.values += 1
                try:
                    if key is not None:
                        layout.keys.decode(key)
                    if convert is None:
                        layout.values.decode(data)
                    else:
                        layout.values.encode(convert(data))
                except StateError as error:
                    _note(found, ValueFault(snapshot.operator_id, schema.name, _shown(key), str(error)))


def _stored(files: SnapshotReader, schema: StateSchema) -> Iterator[tuple[bytes | None, bytes]]:
    """The stored values of a state with their encoded keys; items of a local list have none."""
    if schema.of_subtasks:
        return ((None, item) for item in files.items(schema.name))
    return ((key, data) for key, _, data in files.entries(schema.name))


def _note(found: CheckedValues, fault: ValueFault) -> None:
    found.faulty += 1
    of_state = [f for f in found.faults if (f.operator_id, f.state) == (fault.operator_id, fault.state)]
    if len(of_state) < FAULTS_SHOWN:
        found.faults.append(fault)


def _shown(key: bytes | None) -> str:
    return "an item" if key is None else repr(msgspec.msgpack.decode(key))
