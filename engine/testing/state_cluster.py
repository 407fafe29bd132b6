"""The stores of one operator as one thing, for tests of state backends."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...operators.state import StateDescriptor
from ..state.backend import OperatorStore, PendingSnapshot, StateBackend, StoreSnapshot, StoreSpec, finish_at_once
from ..state.key_groups import encode_key, key_group, key_group_range, subtask_of

MAX_PARALLELISM = 16


class StateCluster:
    """The stores of one operator, one per subtask, addressed by key; survives restores at any parallelism.

    Args:
        backend: makes the stores.
        folder: an empty directory for everything.
        descriptors: the operator's states.
        memory_budget_bytes: of each store.
        uses_timers: whether the stores have timers.
        max_parallelism: number of key groups.
    """

    def __init__(
        self,
        backend: StateBackend,
        folder: Path,
        descriptors: Sequence[StateDescriptor[Any]],
        *,
        memory_budget_bytes: int = 1 << 20,
        uses_timers: bool = False,
        key_type: Any = None,
        max_parallelism: int = MAX_PARALLELISM,
    ) -> None:
        self.now_ms = 0
        self.max_parallelism = max_parallelism
        self._backend = backend
        self._folder = folder
        self._descriptors = descriptors
        self._memory_budget_bytes = memory_budget_bytes
        self._uses_timers = uses_timers
        self._key_type = key_type
        self._made = 0
        self.stores = [backend.create(self.spec(0, 1))]

    def store(self, key: Any) -> OperatorStore:
        """The store that owns a key, which is made the current key."""
        group = key_group(encode_key(key), self.max_parallelism)
        store = self.stores[subtask_of(group, len(self.stores), self.max_parallelism)]
        store.tables.set_current_key(key)
        return store

    def bind(self, descriptor: StateDescriptor[Any], key: Any) -> Any:
        """The handle of a state in the store that owns `key`, which is made the current key."""
        return descriptor.bind(self.store(key).tables)

    def all(self, descriptor: StateDescriptor[Any]) -> list[Any]:
        """The handles of a state in all stores."""
        return [descriptor.bind(store.tables) for store in self.stores]

    def relieve(self) -> None:
        """Let every store that is over its budget give memory back, as the runtime does after a batch."""
        for store in self.stores:
            if store.over_budget and not store.drop_unchanged():
                store.evict()

    def drop_unchanged(self) -> None:
        """As `relieve`, while a snapshot is pending."""
        for store in self.stores:
            if store.over_budget:
                store.drop_unchanged()

    def snapshot(self) -> list[tuple[StoreSnapshot, Path]]:
        """A finished snapshot of every store."""
        return finished(self.begin_snapshot())

    def begin_snapshot(self) -> list[PendingSnapshot]:
        """A pending snapshot of every store."""
        return [store.begin_snapshot(self._path()) for store in self.stores]

    def restore(
        self,
        snapshots: Sequence[tuple[StoreSnapshot, Path]],
        parallelism: int,
        descriptors: Sequence[StateDescriptor[Any]] | None = None,
    ) -> None:
        """Close all stores and restore them at a parallelism, with other declarations where given."""
        self.close()
        if descriptors is not None:
            self._descriptors = descriptors
        self.stores = []
        for subtask in range(parallelism):
            self.stores.append(self._backend.restore(self.spec(subtask, parallelism), snapshots))

    def close(self) -> None:
        """Close all stores."""
        for store in self.stores:
            store.close()

    def _path(self) -> Path:
        self._made += 1
        return self._folder / str(self._made)

    def spec(self, subtask: int, parallelism: int) -> StoreSpec:
        """What a store of the cluster is made from, with a directory of its own."""
        return StoreSpec(
            operator_id="operator",
            subtask=subtask,
            key_groups=key_group_range(subtask, parallelism, self.max_parallelism),
            max_parallelism=self.max_parallelism,
            descriptors=self._descriptors,
            uses_timers=self._uses_timers,
            memory_budget_bytes=self._memory_budget_bytes,
            directory=self._path(),
            now_ms=lambda: self.now_ms,
            key_type=self._key_type,
            parallelism=parallelism,
        )


def finished(pending: Sequence[PendingSnapshot]) -> list[tuple[StoreSnapshot, Path]]:
    """What remains to be done of pending snapshots, done: each with the folder of its files."""
    return [(files.snapshot, files.directory) for files in map(finish_at_once, pending)]
