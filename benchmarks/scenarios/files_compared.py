"""A scenario over a file of bids, against the engines that somebody would take otherwise and against limits."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Final

from tidegate.engine.testing.kafka_jars import java_command
from tidegate.engine.testing.servers import ServerUnavailableError

from ..answers import check
from ..data import bids_file
from ..peers import (
    bytewax,
    duckdb,
    engine,
    environment,
    flink_datastream,
    flink_sql,
    loop,
    pathway,
    polars,
    spark,
)
from ..peers.file_job import FileJob
from ..process_tree import Used, run_tree
from ..scenario import BenchmarkError, Figures, Scenario, Setup, Tell, Wanted

START_BIDS: Final = 1_000
"""What a program takes over so few bids is its start."""

_ROOT: Final = Path(__file__).resolve().parents[2]
_LONGEST_S: Final = 600.0
_ATTEMPTS: Final = 3


def _itself(bids: Path) -> Path:
    return bids


@dataclass(frozen=True)
class Contender:
    """A side that is a program of its own.

    Attributes:
        module: of `peers`.
        job: which of its functions.
        answer: the name of the answer by DuckDB.
        source: what it reads, made of the file of bids.
    """

    module: ModuleType
    job: str
    answer: str
    source: Callable[[Path], Path] = _itself

    def bids(self, setup: Setup) -> Path:
        """The file of as many bids as it takes."""
        return bids_file(setup.bids.parent, self.count(setup.events))

    def count(self, events: int) -> int:
        """How many bids it takes."""
        most: int | None = self.module.MOST_BIDS
        return events if most is None else min(events, most)


WINDOW: Final[Mapping[str, Contender]] = {
    engine.LABEL: Contender(engine, "window", "tumbling-window"),
    loop.LABEL: Contender(loop, "window", "tumbling-window"),
    duckdb.LABEL: Contender(duckdb, "window", "tumbling-window"),
    polars.LABEL: Contender(polars, "window", "tumbling-window"),
    flink_sql.LABEL: Contender(flink_sql, "window", "tumbling-window"),
    spark.LABEL: Contender(spark, "window", "tumbling-window", spark.split),
    pathway.LABEL: Contender(pathway, "window", "tumbling-window"),
    bytewax.LABEL: Contender(bytewax, "window", "tumbling-window"),
    bytewax.WITH_RECOVERY: Contender(bytewax, "window_with_recovery", "tumbling-window"),
    flink_datastream.LABEL: Contender(flink_datastream, "window", "tumbling-window"),
}
FUNCTION: Final[Mapping[str, Contender]] = {
    engine.LABEL: Contender(engine, "function", "window-with-function"),
    loop.LABEL: Contender(loop, "function", "window-with-function"),
    duckdb.LABEL: Contender(duckdb, "function", "window-with-function-flat"),
    polars.LABEL: Contender(polars, "function", "window-with-function-flat"),
    flink_sql.LABEL: Contender(flink_sql, "function", "window-with-function-flat"),
    spark.LABEL: Contender(spark, "function", "window-with-function-flat", spark.split),
    pathway.LABEL: Contender(pathway, "function", "window-with-function-flat"),
    bytewax.LABEL: Contender(bytewax, "function", "window-with-function-flat"),
    flink_datastream.LABEL: Contender(flink_datastream, "function", "window-with-function-flat"),
}
_LIMITS: Final = frozenset({loop.LABEL, duckdb.LABEL, polars.LABEL})


def measure(contender: Contender, label: str, setup: Setup) -> Figures:
    """What a contender takes over its bids, less what it takes over the first thousand: so much for its start."""
    n = contender.count(setup.events)
    if n <= START_BIDS:
        raise BenchmarkError(f"the first {START_BIDS} bids are the start: take more events")
    for attempt in range(1, _ATTEMPTS + 1):
        start = replace(setup, work=setup.work / f"start-{label}-{attempt}")
        start.work.mkdir()
        first, _ = _run(contender, label, start, bids_file(setup.bids.parent, START_BIDS))
        whole, told = _run(contender, label, setup, contender.bids(setup))
        try:
            return less_start(first, whole, n) | told
        except BenchmarkError:
            # On a machine that does other things one slow start is enough.
            if attempt == _ATTEMPTS:
                raise
    raise AssertionError


def less_start(first: Used, whole: Used, bids: int) -> Figures:
    """The figures of a run over so many bids and one over `START_BIDS` of them.

    Raises:
        BenchmarkError: they cannot be told apart.
    """
    run_s, cpu_s = whole.wall_s - first.wall_s, whole.cpu_s - first.cpu_s
    if run_s <= 0 or cpu_s <= 0:
        raise BenchmarkError(f"{bids} bids take no longer than {START_BIDS}: take more events")
    return {
        "events": bids - START_BIDS,
        "run_s": run_s,
        "cpu_s": cpu_s,
        "start_up_s": first.wall_s,
        "start_up_cpu_s": first.cpu_s,
        "whole_s": whole.wall_s,
        "whole_cpu_s": whole.cpu_s,
        "peak_rss_mb": whole.peak_rss_bytes / 1e6,
    }


def _run(contender: Contender, label: str, setup: Setup, bids: Path) -> tuple[Used, Figures]:
    job = FileJob(contender.source(bids), setup.output(label), setup.work / f"state-{label}")
    for folder in (job.output, job.work):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
    command = environment.file_command(setup.bids.parent, contender.module, contender.job, job)
    used = run_tree(command, setup.work, cwd=_ROOT, longest_s=_LONGEST_S)
    name_results(job.output)
    told: Figures = json.loads(used.stdout.splitlines()[-1])
    return used, told


def name_results(output: Path) -> None:
    """Give all results of a folder names that end in `.jsonl`, as part files of others do not."""
    found = [path for path in sorted(output.rglob("*")) if path.is_file() and path.suffix != ".jsonl"]
    for number, path in enumerate(found):
        parts = path.relative_to(output).parts
        # What begins so is not visible to readers of such a folder: unfinished files, checksums, lists of files.
        if not any(part.startswith((".", "_")) for part in parts):
            path.rename(output / f"{number:05d}.jsonl")


def _prepare(contenders: Mapping[str, Contender], setup: Setup, tell: Tell) -> None:
    """The contenders' environments, and what they read."""
    try:
        java_command()
    except ServerUnavailableError:
        raise BenchmarkError(
            "Flink and Spark need Java: install a JRE of version 17 or newer, or set JAVA_HOME"
        ) from None
    folder = setup.bids.parent
    for contender in contenders.values():
        if contender.module.PACKAGES:
            environment.ensure(folder, contender.module, tell)
    tell("making files of bids")
    start = bids_file(folder, START_BIDS)
    for contender in contenders.values():
        for bids in (start, contender.bids(setup)):
            contender.source(bids)


def _check(contenders: Mapping[str, Contender], setup: Setup, side: str) -> None:
    """A side's results are what DuckDB makes of as many bids."""
    contender = contenders[side]
    check(contender.answer, replace(setup, bids=contender.bids(setup)), side)


def against_file_peers(
    title: str, contenders: Mapping[str, Contender], wanted: tuple[Wanted, ...], note: str
) -> Scenario:
    """The engine with a checkpoint every second against all others. The ratio is taken against the best peer; limits are no
    peers.

    Args:
        title: of the scenario.
        contenders: the sides, the engine first.
        wanted: what the figures should come to.
        note: what else a reader must know.
    """
    peers = [label for label in list(contenders)[1:] if label not in _LIMITS]
    packages = dict.fromkeys(
        contender.module.PACKAGES[0] for contender in contenders.values() if contender.module.PACKAGES
    )
    return Scenario(
        title=title,
        sides={label: partial(measure, contender, label) for label, contender in contenders.items()},
        events=5_000_000,
        reference=tuple(peers),
        check=partial(_check, contenders),
        wanted=wanted,
        prepare=partial(_prepare, contenders),
        one_core=False,
        repeat=3,
        warm_up=False,
        note="CPU time is that of all processes of a side, JVMs and workers among them. What a side takes over its first "
        f"{START_BIDS} bids, in a process of its own each time, is its start, and taken off. Sides that are slow take a part "
        f"of the bids, and rates are compared. {note} {', '.join(packages)}.",
    )
