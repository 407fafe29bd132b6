"""The demo from its first step to its verdict."""

from __future__ import annotations

import asyncio
import importlib.util
import shlex
from pathlib import Path

from ..clock import Clock, SystemClock
from ..errors import ConfigError
from . import FLIGHTS_PER_S
from .comparison import compare
from .data import PACKAGE, find_data, write_input
from .folder import INPUT, RESULTS, prepare_folder
from .screen import Screen
from .worker import APP, STATE, run_worker


def run_demo(
    folder: Path,
    screen: Screen,
    *,
    rate: float | None = FLIGHTS_PER_S,
    kill: bool = True,
    keep: bool = False,
    clock: Clock | None = None,
) -> bool:
    """Run the demo in `folder`; whether all results are equal to those of the batch query.

    Args:
        folder: the working folder; what an earlier demo left there is removed.
        screen: shows it.
        rate: flights per second; None for no limit.
        kill: kill the worker once, half way.
        keep: keep the input, which is 46 MB, so that the topology can be run and replayed afterwards.
        clock: measures how long it takes; None for the machine's.

    Raises:
        ConfigError: the data, Polars or the folder cannot be used; names the remedy.
        JobError: the worker failed.
    """
    data = _find_all()
    clock = clock or SystemClock()
    started = clock.monotonic()
    prepare_folder(folder, rate)
    screen.say("Writing the flights that left New York in 2013, in the order in which they left …")
    flights = write_input(data, folder)
    speed = "as fast as it goes" if rate is None else f"at {rate:,.0f} a second"
    screen.say(f"{flights:,} flights are in {folder / INPUT}. A worker process reads them {speed}.")
    run = asyncio.run(run_worker(folder, flights, kill=kill, tell=screen.tell))
    screen.say("The worker is done. A batch query computes the same from the original file …")
    comparisons = compare(data, folder / RESULTS)
    if not keep:
        (folder / INPUT).unlink()
    screen.result(run, comparisons, clock.monotonic() - started, _advice(folder))
    return all(comparison.equal for comparison in comparisons)


def _find_all() -> Path:
    """The folder of the data files, when all that the demo needs is installed.

    Raises:
        ConfigError: something is not.
    """
    data = find_data()
    missing = [PACKAGE] if data is None else []
    if importlib.util.find_spec("polars") is None:
        missing.append("polars")
    if data is None or missing:
        raise ConfigError(f"the demo needs {' and '.join(missing)}: pip install 'tidegate[demo]'")
    return data


def _advice(folder: Path) -> list[str]:
    here = shlex.quote(str(folder))
    return [
        f"The results are in {folder / RESULTS}. To look further:",
        f"  tidegate checkpoints list {shlex.quote(str(folder / STATE))}",
        f"  tidegate explain {shlex.quote(str(folder / APP))}",
        f"  tidegate demo --keep --output {here}   keeps the input too, to run and replay it yourself",
    ]
