"""What a state backend is: the contract between the runtime and the stores.

One `OperatorStore` per stateful operator and subtask. The runtime calls it from the event loop's thread only, except
`PendingSnapshot.finish`, which it runs in the executor.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import msgspec

from ...operators.state import StateDescriptor, Tables
from .timers import TimerService


class StateSchema(msgspec.Struct, frozen=True):
    """What a snapshot says about one state: enough to refuse a changed type before any record is read.

    Attributes:
        name: the state's name in its operator; timers are the states `timers.event` and `timers.processing`.
        kind: `keyed`, `window`, `map`, `local` or `broadcast`.
        version: the descriptor's version.
        types: one canonical text per stored type, equal exactly when the types store alike.
    """

    name: str
    kind: str
    version: int
    types: tuple[str, ...]

    @property
    def of_subtasks(self) -> bool:
        """Whether it belongs to subtasks and is kept as a list of items; else to keys, as entries."""
        return self.kind in ("local", "broadcast")


class StoreSnapshot(msgspec.Struct, frozen=True):
    """The state of one operator in one subtask, as the manifest lists it (the files are listed beside it).

    Attributes:
        backend: `rocksdb` or `dict`; `portable` in a savepoint.
        operator_id: whose state it is.
        subtask: which subtask's.
        key_groups: first and last+1 key group.
        schemas: the states.
        details: what the backend needs to open the files; JSON values only.
    """

    backend: str
    operator_id: str
    subtask: int
    key_groups: tuple[int, int]
    schemas: tuple[StateSchema, ...]
    details: dict[str, Any] = {}


@dataclass(frozen=True)
class SnapshotFiles:
    """A finished snapshot on local disk.

    Attributes:
        snapshot: its description.
        directory: where the files are; the runtime deletes it after the upload.
        files: names relative to `directory`.
        immutable: those of `files` whose content never changes under the same `identity` (SST files), so that a hash
            once computed stays valid: name → an identity unique in this store's life.
    """

    snapshot: StoreSnapshot
    directory: Path
    files: tuple[str, ...]
    immutable: dict[str, str]


class PendingSnapshot(Protocol):
    """What may take long of a snapshot. The store goes on working meanwhile: what is read is the newest state, what is
    written into the snapshot is the state as it was at `begin_snapshot`.

    The runtime calls `advance` between batches until the snapshot is `written`, then `finish`. Where one of them raises,
    the snapshot has failed: no more is called, and nothing changed is forgotten, the next one has it."""

    @property
    def written(self) -> bool:
        """Whether nothing is left for `advance`."""
        ...

    def advance(self, limit: int) -> int:
        """Encode about `limit` entries and hand them to the database, on the event loop's thread; how many it were: 0 also
        when the database has to catch up first.

        Raises:
            StateError: a value cannot be stored, or the disk is full.
        """
        ...

    def finish(self) -> SnapshotFiles:
        """Blocking; runs in the executor; called once.

        Raises:
            StateError: the files cannot be written.
        """
        ...


def finish_at_once(snapshot: PendingSnapshot) -> SnapshotFiles:
    """The whole of a snapshot in one go, for those who have nothing else to do."""
    while not snapshot.written:
        snapshot.advance(1 << 20)
    return snapshot.finish()


class OperatorStore(Protocol):
    """The state of one operator in one subtask."""

    tables: Tables
    timers: TimerService | None
    """The operator's timers; None when it uses none."""

    def begin_snapshot(self, directory: Path) -> PendingSnapshot:
        """The part that must be done before the next record; short, however much has changed. `directory` does not exist
        yet, and no other snapshot is pending."""
        ...

    def prefetch(self, keys: Sequence[Any]) -> None:
        """A batch of these keys is about to be worked on: what is stored under them and not in memory may be read at once.
        Changes nothing but the time that it takes."""
        ...

    @property
    def over_budget(self) -> bool:
        """Whether memory should be given back; cheap, asked after every batch."""
        ...

    def drop_unchanged(self) -> bool:
        """Drop the least recently used of the entries that need not be written; whether memory is within its budget
        then, or within twice the budget while a snapshot is pending."""
        ...

    def evict(self) -> None:
        """Write out and drop the least recently used entries until memory is well under the budget. The runtime has
        waited for a pending snapshot to finish."""
        ...

    @property
    def memory_bytes(self) -> int:
        """Estimated size of the native objects in memory."""
        ...

    @property
    def disk_bytes(self) -> int:
        """Size of the database on disk, as last known; cheap."""
        ...

    def close(self) -> None:
        """Give back the database. Its directory is the runtime's to delete."""
        ...


@dataclass(frozen=True)
class StoreSpec:
    """What a backend needs to know to make a store."""

    operator_id: str
    subtask: int
    key_groups: range
    max_parallelism: int
    descriptors: Sequence[StateDescriptor[Any]]
    uses_timers: bool
    memory_budget_bytes: int
    directory: Path
    """The store's own working directory; does not exist yet."""
    now_ms: Callable[[], int]
    key_type: Any = None
    """The type of the keys where it is known; without it keys are str, int, bytes, bool, None and tuples of them."""
    parallelism: int = 1
    """Of the operator: at another one the items of local lists are dealt out anew."""


class StateBackend(Protocol):
    """Makes stores. Holds what they share (block cache, write buffers)."""

    name: str

    def create(self, spec: StoreSpec) -> OperatorStore:
        """An empty store. Blocking; runs in the executor.

        Raises:
            StateError: the directory cannot be used, or another process holds it; names it and the remedy.
        """
        ...

    def restore(self, spec: StoreSpec, snapshots: Sequence[tuple[StoreSnapshot, Path]]) -> OperatorStore:
        """A store with those key groups of `snapshots` (each with the folder of its files) that lie in
        `spec.key_groups`. At the parallelism and number of key groups of before a subtask gets its own local lists and
        broadcast maps; else the items of the lists of all `snapshots`, in order of subtask, are dealt out: item i to
        subtask i modulo `spec.parallelism`, and of the maps every subtask gets a copy. So an operator with local state is
        given every snapshot it has.
        A snapshot may be of another backend, of another number of key groups, or portable.
        The files may be linked into the store's directory; the folders themselves are left as they are. Blocking;
        runs in the executor.

        Raises:
            StateTypeError: a stored type differs; names the operator, the state and the difference.
            StateError: the files cannot be opened.
        """
        ...
