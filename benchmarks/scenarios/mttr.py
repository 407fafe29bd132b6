"""How long output stays away when the process of a supervised job is killed."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any, Final

from ..scenario import BenchmarkError, Figures, Scenario, Setup, Wanted
from ..stopwatch import Stopwatch

INTERVAL_MS: Final = 100
"""Between checkpoints: output appears with them, so that there is none for as long after each restart."""

APP: Final = """
import msgspec
from tidegate.connectors import files, formats, generator
from tidegate.engine import Topology
from tidegate.operators import agg


class Reading(msgspec.Struct, gc=False):
    sensor: int
    value: int


def reading(index: int) -> Reading:
    return Reading(index % 1_000, index)


topology = Topology("mttr")
readings = topology.source("readings", generator.records(reading, type=Reading), rate_limit=5_000)
totals = readings.key_by("sensor").aggregate(name="totals", n=agg.count(), total=agg.sum("value"))
totals.sink("out", files.lines("out", formats.json()))
"""

PHASES: Final = ("noticed", "back_off", "process", "restore", "records", "checkpoint")
"""The time from a kill to the first new output, cut where one thing ends and the next begins: the supervisor knows of the
death, a new process is started, it serves metrics (all is imported), its job runs, its first checkpoint is triggered, the
output of that is visible."""

_POLL_S: Final = 0.002
_PATIENCE_S: Final = 30.0
_PART: Final = re.compile(r"part-\d+-(\d+)-\d+\.jsonl")


def killed(setup: Setup) -> Figures:
    """As many kills as there are events."""
    setup.work.joinpath("app.py").write_text(APP, encoding="utf-8")
    chance = random.Random(setup.events)
    watch = Stopwatch()
    with _supervised(setup.work) as job:
        job.lives()
        found = []
        for _ in range(setup.events):
            time.sleep(chance.uniform(1.0, 1.5))  # healthy for a second: the back-off begins anew
            found.append(job.kill())
    figures = watch.read()
    totals = sorted(sum(phases.values()) for phases in found)
    figures |= {f"{phase}_s": median(phases[phase] for phases in found) for phase in PHASES}
    return figures | {
        "median_s": median(totals),
        "p90_s": totals[-(-len(totals) * 9 // 10) - 1],
        "highest_s": totals[-1],
    }


@contextmanager
def _supervised(work: Path) -> Iterator[_Job]:
    command = [sys.executable, "-m", "tidegate.engine.cli.main", "run", "app.py", "--checkpoints", "state"]
    command += ["--interval", f"{INTERVAL_MS}ms", "--json", "--supervise"]
    command += ["--supervise-restart", "exponential initial=100ms maximum=1s reset_after=500ms"]
    environ = os.environ | {"PYTHONPYCACHEPREFIX": str(work / "bytecode"), "PYTHONDONTWRITEBYTECODE": ""}
    events, errors = work / "events.jsonl", work / "errors.txt"
    with events.open("wb") as out, errors.open("wb") as said:
        supervisor = subprocess.Popen(command, cwd=work, env=environ, stdout=out, stderr=said)
    try:
        yield _Job(work, events, errors, supervisor)
        supervisor.send_signal(signal.SIGTERM)
        if supervisor.wait(_PATIENCE_S):
            raise BenchmarkError(f"mttr: the job ended with {supervisor.returncode}: {errors.read_text()[-2000:]}")
    finally:
        supervisor.kill()
        supervisor.wait()


class _Job:
    """A job under a supervisor, watched from outside: through the events it prints and the files it makes visible."""

    def __init__(self, work: Path, events: Path, errors: Path, supervisor: subprocess.Popen[bytes]) -> None:
        self._out = work / "out"
        self._events = events
        self._errors = errors
        self._supervisor = supervisor
        self._read = 0

    def lives(self) -> None:
        """Wait until its first output is visible."""
        self._next("job_running")
        self._next("checkpoint_completed")

    def kill(self) -> dict[str, float]:
        """Kill its worker, and wait for the first new output; the phases in between."""
        worker = self._worker()
        killed_ms = time.time_ns() / 1e6
        os.kill(worker, signal.SIGKILL)
        restarting = self._next("worker_restarting")
        serving = self._next("metrics_served")
        running = self._next("job_running")
        # What the restore itself makes visible was computed before the kill: it does not count.
        visible_ms = self._until(lambda: self._has_newer(running["restored_from"] or 0))
        completed = self._next("checkpoint_completed")
        triggered_ms = completed["at_ms"] - completed["duration_ms"]
        started_ms = restarting["at_ms"] + restarting["delay_s"] * 1000
        times = (
            killed_ms,
            restarting["at_ms"],
            started_ms,
            serving["at_ms"],
            running["at_ms"],
            triggered_ms,
            visible_ms,
        )
        return {phase: (times[i + 1] - times[i]) / 1000 for i, phase in enumerate(PHASES)}

    def _has_newer(self, checkpoint_id: int) -> bool:
        found = (_PART.fullmatch(name) for name in os.listdir(self._out) if name.startswith("part-"))
        return any(part is not None and int(part[1]) > checkpoint_id for part in found)

    def _worker(self) -> int:
        pid = self._supervisor.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="utf-8").split()
        if len(children) != 1:
            raise BenchmarkError(f"mttr: the supervisor has {len(children)} workers")
        return int(children[0])

    def _next(self, name: str) -> dict[str, Any]:
        """The next event of this name that was not there before."""
        found: dict[str, Any] = {}

        def came() -> bool:
            with self._events.open("rb") as file:
                file.seek(self._read)
                while (line := file.readline()).endswith(b"\n"):
                    self._read = file.tell()
                    if f'"{name}"'.encode() in line:
                        found.update(json.loads(line))
                        return True
            return False

        self._until(came)
        return found

    def _until(self, came: Callable[[], bool]) -> float:
        """Wait for something; the time, in milliseconds since 1970."""
        deadline = time.monotonic() + _PATIENCE_S
        while not came():
            if self._supervisor.poll() is not None or time.monotonic() > deadline:
                raise BenchmarkError(f"mttr: the job does not go on: {self._errors.read_text()[-2000:]}")
            time.sleep(_POLL_S)
        return time.time_ns() / 1e6


SCENARIO = Scenario(
    title="kill -9 of the worker of a supervised job: time to the first new committed output",
    sides={"killed": killed},
    events=25,
    wanted=(
        Wanted("killed.median_s", "at_most", 1.0, "half of the restarts within 1 s"),
        Wanted("killed.highest_s", "at_most", 1.0, "all of them within 1 s"),
    ),
    reads_bids=False,
    one_core=False,
    repeat=1,
    warm_up=False,
    note=f"Events are kills. 1,000 keys, 5,000 records/s, a checkpoint every {INTERVAL_MS} ms in a local directory, "
    "a back-off of 100 ms before each restart. Phases are medians of their own and need not add up. Cached bytecode.",
)
