"""Runs scenarios: every side in a fresh process, the sides of a repetition one after the other, wrong results refused."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

from .cores import measured_core
from .data import bids_file
from .figures import Repetition, spread, summarize
from .scenario import BenchmarkError, Figures, Scenario, Setup, Tell, load

ROOT: Final = Path(__file__).resolve().parent.parent
DATA: Final = ROOT / "bench-data"
"""Where bids are kept between runs, and where the sides work."""


@dataclass(frozen=True)
class Outcome:
    """What came out of a scenario.

    Attributes:
        name: the scenario's.
        events: how many records went in.
        repetitions: what each side measured, each time.
        figures: what is said of them: see `summarize`.
        load: the machine's load when it began; above the number of cores something else was at work.
    """

    name: str
    events: int
    repetitions: list[Repetition]
    figures: Figures
    load: float

    def as_json(self) -> dict[str, Any]:
        """Everything as JSON values."""
        scenario = load(self.name)
        return {
            "scenario": self.name,
            "title": scenario.title,
            "events": self.events,
            "repeat": len(self.repetitions),
            "one_core": scenario.one_core,
            "load_before": self.load,
            "note": scenario.note,
            "figures": self.figures,
            "spread": {side: spread(self.repetitions, side, "run_s") for side in scenario.sides},
            "wanted": [
                {
                    "what": wanted.text,
                    "figure": wanted.figure,
                    "limit": wanted.limit,
                    "measured": self.figures[wanted.figure],
                    "met": wanted.met(self.figures),
                }
                for wanted in scenario.wanted
            ],
            "repetitions": self.repetitions,
        }


def run_scenario(name: str, events: int | None, repeat: int | None, tell: Tell) -> Outcome:
    """Measure one scenario.

    Args:
        name: which.
        events: how many records; the scenario's own number if None.
        repeat: how many repetitions; the scenario's own number if None.
        tell: told what is being done.

    Raises:
        BenchmarkError: a side failed, or its results are wrong.
    """
    scenario = load(name)
    events = scenario.events if events is None else events
    repeat = scenario.repeat if repeat is None else repeat
    load_before = round(os.getloadavg()[0], 2)
    repetitions: list[Repetition] = []
    first = 0 if scenario.warm_up else 1
    with _prepared(name, scenario, events, tell) as shared:
        for number in range(first, repeat + 1):
            with _work(name) as work:
                setup = replace(shared, work=work)
                measured: dict[str, Figures] = {}
                for side in scenario.sides:
                    tell(f"{name}: {'warm-up' if number == 0 else f'{number} of {repeat}'}, {side}")
                    measured[side] = run_side(name, side, setup)
                    if scenario.check is not None:
                        scenario.check(setup, side)
            if number > 0:
                repetitions.append(measured)
    return Outcome(name, events, repetitions, summarize(scenario, events, repetitions), load_before)


def run_side(name: str, side: str, setup: Setup) -> Figures:
    """Measure one side in a process of its own.

    Raises:
        BenchmarkError: it failed; with what it said last.
    """
    scenario = load(name)
    broker_s = setup.broker.cpu_s() if setup.broker else 0.0
    began_ns = time.monotonic_ns()
    done = subprocess.run(
        side_command(name, side, setup, began_ns), cwd=ROOT, capture_output=True, text=True, check=False
    )
    process_s = (time.monotonic_ns() - began_ns) / 1e9
    expected = -signal.SIGKILL if side in scenario.killed else 0
    lines = done.stdout.splitlines()
    if done.returncode != expected or not lines:
        said = done.stderr.strip().splitlines()[-12:]
        raise BenchmarkError("\n".join([f"{name}, {side}: ended with exit code {done.returncode}", *said]))
    figures: Figures = json.loads(lines[-1])
    if setup.broker:
        figures["broker_cpu_s"] = setup.broker.cpu_s() - broker_s
    return figures | {"process_s": process_s}


def side_command(name: str, side: str, setup: Setup, spawned_ns: int) -> list[str]:
    """The command line that measures a side."""
    command = [sys.executable, "-m", f"{__package__}.measure", name, side]
    command += ["--events", str(setup.events), "--bids", str(setup.bids), "--work", str(setup.work)]
    command += ["--spawned-ns", str(spawned_ns)]
    if setup.broker is not None:
        command += ["--servers", setup.broker.servers, "--broker-pid", str(setup.broker.pid)]
    if setup.store is not None:
        command += ["--store", json.dumps(asdict(setup.store), default=str)]
    core = measured_core()
    if load(name).one_core and core is not None:
        command += ["--core", str(core)]
    return command


def profile(names: Sequence[str], events: int | None, tell: Tell) -> list[Path]:
    """Record the first side of each scenario with py-spy, for speedscope; the files.

    Raises:
        BenchmarkError: py-spy is not there, or it failed.
    """
    recorder = Path(sys.executable).with_name("py-spy")
    if not recorder.exists():
        raise BenchmarkError("--profile needs py-spy: pip install py-spy")
    folder = DATA / "profiles"
    folder.mkdir(parents=True, exist_ok=True)
    made = []
    for name in names:
        scenario = load(name)
        n_events = scenario.events if events is None else events
        with _prepared(name, scenario, n_events, tell) as shared, _work(name) as work:
            side = next(iter(scenario.sides))
            tell(f"{name}: profile, {side}")
            path = folder / f"{name}.speedscope.json"
            command = [str(recorder), "record", "--rate", "500", "--format", "speedscope", "--output", str(path), "--"]
            command += side_command(name, side, replace(shared, work=work), time.monotonic_ns())
            done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        if not path.exists():
            raise BenchmarkError(f"{name}: py-spy wrote no profile: {done.stderr.strip()}")
        made.append(path)
    return made


@contextmanager
def _prepared(name: str, scenario: Scenario, events: int, tell: Tell) -> Iterator[Setup]:
    """What all repetitions share; each has a folder of its own besides."""
    with ExitStack() as stack:
        setup = Setup(events, _bids(scenario, events, tell), DATA)
        if scenario.needs_broker:
            from .kafka_broker import running_broker

            tell(f"{name}: starting a broker")
            setup = replace(setup, broker=stack.enter_context(running_broker(name, one_core=scenario.one_core)))
        if scenario.needs_store:
            from .object_store import running_store

            tell(f"{name}: starting an object store")
            setup = replace(setup, store=stack.enter_context(running_store(name)))
        if scenario.prepare is not None:
            scenario.prepare(setup, tell)
        yield setup


@contextmanager
def _work(name: str) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix=f"{name}-", dir=DATA) as work:
        yield Path(work)


def _bids(scenario: Scenario, events: int, tell: Tell) -> Path:
    DATA.mkdir(exist_ok=True)
    if not scenario.reads_bids:
        return DATA / "none"
    tell(f"making or finding {events} bids")
    return bids_file(DATA, events)
