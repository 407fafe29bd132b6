"""State: where operators remember, and how it gets into snapshots and back."""

from __future__ import annotations

from .backend import (
    OperatorStore,
    PendingSnapshot,
    SnapshotFiles,
    StateBackend,
    StateSchema,
    StoreSnapshot,
    StoreSpec,
    finish_at_once,
)
from .dict_backend import DictBackend
from .key_groups import KeyGrouper, encode_key, key_group, key_group_range, subtask_of
from .rocksdb_backend import RocksDBBackend
from .timers import TimerService

__all__ = [
    "DictBackend",
    "KeyGrouper",
    "OperatorStore",
    "PendingSnapshot",
    "RocksDBBackend",
    "SnapshotFiles",
    "StateBackend",
    "StateSchema",
    "StoreSnapshot",
    "StoreSpec",
    "TimerService",
    "encode_key",
    "finish_at_once",
    "key_group",
    "key_group_range",
    "subtask_of",
]
