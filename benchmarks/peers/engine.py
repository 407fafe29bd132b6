"""Tidegate itself, in the same harness: as a user runs it, with a checkpoint every second."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from tidegate.engine import RunConfig, Topology

from ..scenario import Setup
from ..scenarios import tumbling_window, window_with_function
from ..stopwatch import time_job
from .file_job import FileJob

LABEL: Final = "engine"
PACKAGES: Final = ()
MOST_BIDS: Final = None


def window(job: FileJob) -> dict[str, float]:
    """Count and sum per auction and ten seconds."""
    return _run(job, tumbling_window.topology)


def function(job: FileJob) -> dict[str, float]:
    """The same with a Python function for each bid."""
    return _run(job, window_with_function.topology)


def _run(job: FileJob, topology_of: Callable[[Setup, str], Topology]) -> dict[str, float]:
    setup = Setup(0, job.source, job.output.parent)
    config = RunConfig(checkpoints=job.work, checkpoint_interval="1s", restore=None)
    return {"checkpoints": time_job(topology_of(setup, LABEL), config)["checkpoints"]}
