"""Time and CPU time of the work alone, and a job run under them."""

from __future__ import annotations

import io
import json
import os
import resource
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .scenario import Figures

if TYPE_CHECKING:
    from tidegate.engine import RunConfig, Topology


class Stopwatch:
    """Started when the work begins, read when it is done."""

    def __init__(self) -> None:
        self.start()

    def start(self) -> None:
        """Begin here."""
        self._wall = time.perf_counter()
        self._cpu = cpu_s()

    def read(self) -> Figures:
        """`run_s`, and `cpu_s` of all threads of this process, since the start."""
        return {"run_s": time.perf_counter() - self._wall, "cpu_s": cpu_s() - self._cpu}


def cpu_s() -> float:
    """CPU seconds of this process so far, user and system, all threads."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def peak_rss_bytes() -> int:
    """The most memory this process has had resident."""
    try:
        # What getrusage says may include the process that this one was forked from.
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if os.uname().sysname == "Darwin" else peak * 1024


def time_job(topology: Topology, config: RunConfig) -> Figures:
    """Run a topology to its end, as `run` does it for a user. Timed from the moment it runs; `start_s` is the time from
    the call to there, `checkpoints` counts those that were completed; `state_mb` is of the largest of them, and
    `checkpoint_ms` of the slowest."""
    from tidegate.engine import run  # other engines are measured with this stopwatch too, where ours is not installed

    watch = Stopwatch()
    facts: Figures = {"checkpoints": 0}

    def note(event: str, told: dict[str, Any]) -> None:
        if event == "job_running":
            facts["start_s"] = watch.read()["run_s"]
            watch.start()
        elif event == "checkpoint_completed":
            facts["checkpoints"] += 1
            facts["state_mb"] = max(facts.get("state_mb", 0.0), told["size_bytes"] / 1e6)
            facts["checkpoint_ms"] = max(facts.get("checkpoint_ms", 0.0), told["duration_ms"])

    run(topology, config, live=False, stream=io.StringIO(), on_event=note)
    return watch.read() | facts


def print_result(figures: Figures) -> None:
    """Print what a side measured, with what is known of the whole process unless the side knows better: the last thing its
    process does."""
    print(json.dumps({"process_cpu_s": cpu_s(), "peak_rss_mb": peak_rss_bytes() / 1e6} | figures), flush=True)
