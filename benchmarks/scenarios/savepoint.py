"""How fast state is written into a savepoint and read back, as it is and with other key groups."""

from __future__ import annotations

import asyncio
from typing import Any

from tidegate.engine import RunConfig, start

from ..scenario import BenchmarkError, Figures, Scenario, Setup, Wanted
from ..stopwatch import Stopwatch
from .recovery import config, topology

NAME = "bench"


def write(setup: Setup) -> Figures:
    """Fill the state and take a checkpoint, so that nothing is left to encode; then a savepoint, which is timed."""
    return asyncio.run(_write(setup))


async def _write(setup: Setup) -> Figures:
    is_filled = asyncio.Event()
    seen = 0

    def look(values: list[Any]) -> None:
        nonlocal seen
        seen += len(values)
        if seen >= setup.events:
            is_filled.set()

    async with start(topology(setup, look), config(setup)) as job:
        await is_filled.wait()
        watch = Stopwatch()
        await job.checkpoint()
        checkpoint_s = watch.read()["run_s"]
        watch.start()
        before = seen
        await job.savepoint(NAME)
        figures = watch.read()
        during = (seen - before) / figures["run_s"]
        await job.cancel()
    return figures | {
        "keys_per_s": setup.events / figures["run_s"],
        "checkpoint_s": checkpoint_s,
        "records_per_s_meanwhile": during,
    }


def restore(setup: Setup) -> Figures:
    """Start from the savepoint: timed until the job runs, by when all state has been read."""
    return asyncio.run(_restore(setup, 128))


def rehash(setup: Setup) -> Figures:
    """As `restore`, with another number of key groups."""
    return asyncio.run(_restore(setup, 96))


async def _restore(setup: Setup, max_parallelism: int) -> Figures:
    first: list[Any] = []
    has_results = asyncio.Event()

    def look(values: list[Any]) -> None:
        first.extend(values)
        has_results.set()

    settings = RunConfig(
        checkpoints=setup.work / "checkpoints",
        checkpoint_interval="1d",
        restore=NAME,
        max_parallelism=max_parallelism,
    )
    watch = Stopwatch()
    async with start(topology(setup, look), settings) as job:
        await job.began.wait()
        figures = watch.read()
        await has_results.wait()
        await job.cancel()
    wrong = [value for value in first if value.n < 2]
    if wrong:
        raise BenchmarkError(
            f"savepoint: the state was not restored: {wrong[0]}, and every sensor had a reading before"
        )
    return figures | {"keys_per_s": setup.events / figures["run_s"]}


SCENARIO = Scenario(
    title="a savepoint of 1,000,000 keys: written by a job that goes on, and restored",
    sides={"write": write, "restore": restore, "rehash": rehash},
    events=1_000_000,
    wanted=(
        Wanted(
            "write.keys_per_s", "at_least", 100_000, "written at 100,000 keys/s while the job runs on the same core"
        ),
        Wanted("restore.keys_per_s", "at_least", 200_000, "restored at 200,000 keys/s"),
        Wanted("rehash.keys_per_s", "at_least", 150_000, "into other key groups at 150,000 keys/s"),
    ),
    reads_bids=False,
    warm_up=False,
    repeat=3,
    note="Events are keys. The job goes on reading while the savepoint is written: both share one core and one interpreter, "
    "so `write` is the time that a user waits for a busy job. A restore of a checkpoint links files instead: see `recovery`.",
)
