"""How long a user waits before anything happens: importing the engine, and the command line's help."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from statistics import median

from ..scenario import Figures, Scenario, Setup, Wanted
from ..stopwatch import Stopwatch

_TIMES = 7


def importing(setup: Setup) -> Figures:
    """`import tidegate.engine`, by the clock of the process that does it."""
    code = "import time; s = time.perf_counter(); import tidegate.engine; print(time.perf_counter() - s)"
    return _figures([float(_run(setup, [sys.executable, "-c", code])) for _ in range(_TIMES)])


def helping(setup: Setup) -> Figures:
    """`tidegate --help`, from the start of the process to its end."""
    took = []
    for _ in range(_TIMES):
        watch = Stopwatch()
        _run(setup, [str(Path(sys.executable).with_name("tidegate")), "--help"])
        took.append(watch.read()["run_s"])
    return _figures(took)


def _figures(took: list[float]) -> Figures:
    return {"run_s": sum(took), "median_s": median(took)}


def _run(setup: Setup, command: list[str]) -> str:
    environ = os.environ | {"PYTHONPYCACHEPREFIX": str(setup.work / "bytecode"), "PYTHONDONTWRITEBYTECODE": ""}
    return subprocess.run(command, check=True, capture_output=True, text=True, env=environ).stdout


SCENARIO = Scenario(
    title="import of the engine, and tidegate --help",
    sides={"import": importing, "help": helping},
    events=1,
    wanted=(
        Wanted("import.median_s", "at_most", 0.150, "the import within 150 ms"),
        Wanted("help.median_s", "at_most", 0.300, "the help within 300 ms"),
    ),
    reads_bids=False,
    repeat=3,
    note=f"Each figure is the median of {_TIMES} fresh processes, with cached bytecode. Events mean nothing here.",
)
