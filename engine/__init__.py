"""Tidegate's engine: topologies, how they run, their state and checkpoints."""

from __future__ import annotations

from . import restart
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
    TidegateError,
    TopologyError,
)
from .job import Job, JobStatus, start
from .run import Interrupted, run
from .stream import KeyedStream, Stream, WindowedStream
from .topology import Topology

__all__ = [
    "CheckpointError",
    "CommitError",
    "ConfigError",
    "CorruptionError",
    "FencedError",
    "Interrupted",
    "Job",
    "JobError",
    "JobStatus",
    "KeyedStream",
    "OperatorError",
    "RecordError",
    "RunConfig",
    "StateError",
    "StateTypeError",
    "Stream",
    "TidegateError",
    "Topology",
    "TopologyError",
    "WindowedStream",
    "restart",
    "run",
    "start",
]
