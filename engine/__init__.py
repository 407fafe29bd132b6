"""Tidegate's engine: topologies, how they run, their state and checkpoints."""

from __future__ import annotations

from . import restart
from .comparison.difference import ChangedRecord, OutputDifference
from .comparison.replay_diff import ReplayDifference, diff_replay
from .config import RunConfig
from .errors import (
    CheckpointError,
    CommitError,
    ConfigError,
    CorruptionError,
    FencedError,
    JobError,
    OperatorError,
    RecordError,
    StateError,
    StateTypeError,
    StoreUnavailableError,
    TidegateError,
    TopologyError,
)
from .fluent import ConnectedStreams, KeyedStream, OverStream, Stream, Table, WindowedStream
from .job import Job, JobStatus, start
from .live_state import LiveMaps, LiveValues, LiveWindows
from .replay import ReplayOf, replay, start_replay
from .run import Interrupted, run
from .supervisor import supervise
from .topology import Topology

__all__ = [
    "ChangedRecord",
    "CheckpointError",
    "CommitError",
    "ConfigError",
    "ConnectedStreams",
    "CorruptionError",
    "FencedError",
    "Interrupted",
    "Job",
    "JobError",
    "JobStatus",
    "KeyedStream",
    "LiveMaps",
    "LiveValues",
    "LiveWindows",
    "OperatorError",
    "OutputDifference",
    "OverStream",
    "RecordError",
    "ReplayDifference",
    "ReplayOf",
    "RunConfig",
    "StateError",
    "StateTypeError",
    "StoreUnavailableError",
    "Stream",
    "Table",
    "TidegateError",
    "Topology",
    "TopologyError",
    "WindowedStream",
    "diff_replay",
    "replay",
    "restart",
    "run",
    "start",
    "start_replay",
    "supervise",
]
