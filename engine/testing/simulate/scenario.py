"""One simulation: processes of a job come, die, stop and come back, until the job has ended."""

from __future__ import annotations

import asyncio
import dataclasses
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, Final

from ...checkpoint.storage import CheckpointStorage
from ...config import RunConfig
from ...errors import FencedError
from ...executor import InlineExecutor
from ...job import Job, JobStatus
from ...restart import fixed_delay, never
from ...topology import Topology
from .blocking import Threads
from .outcome import Outcome, SimulationError
from .process import Fate, Process
from .rewire import ledger_of, rewired
from .streams import Topic
from .weather import Weather, draw
from .world import World

_LOCATION: Final = "simulated://checkpoints"
_MOST_STARTS: Final = 20
"""After the weather has cleared up."""
_MOST_SECONDS: Final = 300.0
"""Less than the longest timeout of a checkpoint: a barrier that got lost is found."""
_FAIR: Final = Weather()


@dataclass(frozen=True)
class Reference:
    """A run without trouble.

    Attributes:
        expected: per sink, what it shows.
        awaits: how many callbacks it took.
        calls: how many calls to the outside world it made.
    """

    expected: Mapping[str, Counter[str]]
    awaits: int
    calls: int


class Scenario:
    """A topology to be simulated, with what its sources give.

    Args:
        build: makes the topology; called once for each process.
        inputs: source → for each split its records, each with its event time or None.
        config: the settings of the job; checkpoints, interval and a few more are the simulation's.
    """

    def __init__(
        self, build: Callable[[], Topology], inputs: Mapping[str, Sequence[Sequence[Any]]], config: RunConfig
    ) -> None:
        self._build = build
        self._inputs = inputs
        self._config = config
        self._sinks = [node.name for node in build().nodes if node.kind == "sink"]
        self._reference: Reference | None = None

    @property
    def reference(self) -> Reference:
        """The run without trouble, made when first asked for.

        Raises:
            SimulationError: something is wrong even then.
        """
        if self._reference is None:
            run = _Run(self, 0, _FAIR, None, None)
            outcome = run.to_its_end()
            if outcome.violation is not None:
                raise SimulationError(outcome)
            process = run.processes[0]
            expected = {name: ledger_of(run.world, name).seen for name in self._sinks}
            self._reference = Reference(expected, process.awaits, process.calls)
        return self._reference

    def run(self, seed: int, on_line: Callable[[str], None] | None = None) -> Outcome:
        """One simulation; equal seeds give equal ones."""
        weather = draw(Random(f"weather {seed}"))
        if len(self._sinks) > 1:
            # Between the commits of two sinks the output of one may get lost for good: the job refuses to go on then.
            weather = dataclasses.replace(weather, forgets_after_s=None)
        return _Run(self, seed, weather, self.reference, on_line).to_its_end()


class _Run:
    """One simulation under way."""

    def __init__(
        self,
        scenario: Scenario,
        seed: int,
        weather: Weather,
        reference: Reference | None,
        on_line: Callable[[str], None] | None,
    ) -> None:
        self._scenario = scenario
        self._seed = seed
        self._dice = Random(f"scenario {seed}")
        self._reference = reference
        self._threads = Threads(64, thread_name_prefix="simulated")
        expected = None if reference is None else dict(reference.expected)
        self.world = World(Random(f"world {seed}"), weather, expected, self._threads, on_line)
        self._folder = Path(tempfile.mkdtemp(prefix="tidegate-simulation-"))
        self.processes: list[Process] = []
        self._deaths = 0
        self._stops = 0
        self._checkpoints = 0
        self._unaligned = 0
        self._steps = 0
        self._failed_starts = 0
        self._start_at: float | None = 0.0
        self._finished = False
        self._settings = self._draw_settings()
        self._topics = {name: self._topic(splits) for name, splits in scenario._inputs.items()}

    # ------------------------------------------------------------------ chance

    def _draw_settings(self) -> dict[str, Any]:
        if self._reference is None:
            # In memory whatever the others use: what a topology shows does not depend on it, and the threads that a
            # database starts would not be there in processes forked later, which wait for them.
            return {"checkpoint_interval": "1h", "state_backend": "dict"}
        dice = self._dice
        # What takes longer than it may is given up for ever.
        shortest_ms = 300 if self.world.weather.call_s < 0.01 else 20_000
        return {
            "checkpoint_interval": f"{dice.choice((5, 20, 50, 200, 1000))}ms",
            "alignment_timeout": self._draw_alignment_timeout(),
            "checkpoint_min_pause": f"{dice.choice((0, 0, 10, 100))}ms",
            "memory_budget": dice.choice(("1MiB", "256MiB")),
            "checkpoint_timeout": f"{dice.choice((shortest_ms, 600_000))}ms",
            "retain": dice.choice((1, 1, 2, 3)),
            "max_batch": dice.choice((1, 3, 16, 2048)),
            "channel_capacity": dice.choice((1, 2, 8)),
            "linger": f"{dice.choice((0, 1, 5))}ms",
            "restart": dice.choice((never(), fixed_delay(3, "20ms"), fixed_delay(30, "20ms"))),
        }

    def _draw_alignment_timeout(self) -> str | None:
        # What is in flight cannot be dealt out anew: whoever rescales without a savepoint keeps to aligned checkpoints.
        if self.world.weather.rescales:
            return None
        return Random(f"overtaking {self._seed}").choice((None, "0ms", "0ms", "2ms", "20ms", "100ms"))

    def _topic(self, splits: Sequence[Sequence[Any]]) -> Topic:
        dice = self._dice
        # All there from the beginning, or coming in over a second or two.
        gap = 0.0 if self._reference is None else dice.choice((0.0, 0.01, 0.03))
        arrivals: list[list[float]] = []
        for split in splits:
            now, times = 0.0, []
            for _ in split:
                now += gap * dice.random()
                times.append(now)
            arrivals.append(times)
        stamped = any(time is not None for split in splits for _, time in split)
        return Topic(
            [[value for value, _ in split] for split in splits],
            [[time for _, time in split] for split in splits] if stamped else None,
            arrivals,
        )

    def _fate(self) -> Fate | None:
        """How the next process ends."""
        reference, dice, weather = self._reference, self._dice, self.world.weather
        if reference is None or self._deaths + self._stops >= weather.crashes:
            return None
        stops_s = dice.choice((0.05, 1.0, 5.0)) if dice.random() < weather.stops else None
        kind, most = dice.choice((("await", reference.awaits), ("call", reference.calls)))
        return Fate("await" if kind == "await" else "call", int(most * dice.random() * 1.2), stops_s)

    # --------------------------------------------------------------- processes

    def _start(self) -> None:
        self._start_at = None
        for process in self.processes:
            process.superseded = True
        skew_ms = self._dice.randint(-3_600_000, 3_600_000) if self.world.weather.jumps else 0
        process = Process(self.world, len(self.processes) + 1, self._fate(), skew_ms, self._dice.getrandbits(32))
        self.processes.append(process)
        settings = dict(self._settings)
        settings["parallelism"] = self._dice.randint(1, 3) if self.world.weather.rescales else self._config.parallelism
        config = dataclasses.replace(
            self._config, checkpoints=_LOCATION, state_dir=self._folder, metrics_port=None, **settings
        )
        topology = rewired(self._scenario._build(), process, self._topics)
        self.world.tell(process, f"starts with parallelism {settings['parallelism']}")

        def on_event(name: str, facts: dict[str, Any]) -> None:
            if name == "checkpoint_completed":
                self._checkpoints += 1
                self._unaligned += facts["in_flight_records"] > 0
            if not process.dead:
                self.world.tell(process, f"{name} {_told(facts)}")

        async def main() -> JobStatus:
            job = Job(
                topology,
                config,
                clock=process.clock,
                executor=process.executor,
                on_event=on_event,
                store=process.store,
                random=process.dice,
            )
            async with job:
                return await job.wait()

        process.begin(main)

    @property
    def _config(self) -> RunConfig:
        return self._scenario._config

    def _look_after(self, process: Process) -> None:
        """After a step: has it died, stopped or ended?"""
        newest = process is self.processes[-1]
        if process.dead:
            self._deaths += 1
            process.bury()
            self._check_storage()
        elif process.over:
            self.world.tell(process, f"ends: {process.result or repr(process.error)}")
            if process.result is JobStatus.FINISHED:
                self._finished = True
            elif newest and process.error is not None:
                self._judge_error(process.error)
            process.bury()
        elif process.stopped_until > self.world.time.now and newest and self._start_at is None:
            self._stops += 1
        else:
            return
        if newest and not self._finished:
            self._start_at = self.world.time.now + self._dice.choice((0.0, 0.05, 0.5))

    def _judge_error(self, error: BaseException) -> None:
        self._failed_starts += self.world.time.now > self.world.weather.clears_at_s
        if self._failed_starts > _MOST_STARTS:
            self.world.violate(f"the job does not come up: {error}")
        elif isinstance(error, FencedError) and not self._stops:
            self.world.violate(f"the only process was fenced off: {error}")

    # ------------------------------------------------------------------- turns

    def to_its_end(self) -> Outcome:
        """Turn the world until the job has ended and every process with it."""
        try:
            while self.world.violation is None and self._turn():
                self._steps += 1
                if self.world.time.now > _MOST_SECONDS:
                    self.world.violate(f"no end after {_MOST_SECONDS:.0f} s: {_waiting(self.processes)}")
            if self.world.violation is None:
                self._check_output()
                self._check_storage()
        finally:
            for process in self.processes:
                process.bury()
            self._threads.shutdown()
            shutil.rmtree(self._folder, ignore_errors=True)
        world = self.world
        return Outcome(
            self._seed,
            world.violation,
            world.weather,
            tuple(world.last_lines),
            world.digest,
            self._deaths,
            self._stops,
            self._checkpoints,
            self._unaligned,
            self._steps,
        )

    def _turn(self) -> bool:
        """One step of one process, or time moves on; False when there is nothing left to happen."""
        time = self.world.time
        if self._start_at is not None and self._start_at <= time.now:
            self._start()
        live = [process for process in self.processes if not process.over]
        ready = []
        for process in live:
            if process.stopped_until <= time.now:
                process.loop.make_due_ready()
                if process.loop.ready:
                    ready.append(process)
        if ready:
            process = self._dice.choice(ready) if len(ready) > 1 else ready[0]
            process.step(self._next(len(process.loop.ready)))
            time.now += self.world.weather.step_s * self._dice.random()
            self._look_after(process)
            return True
        if not live and self._start_at is None:
            if not self._finished:
                self.world.violate("the job is over and has not finished")
            return False
        return self._wait(live)

    def _next(self, count: int) -> int:
        order = self.world.weather.order
        if count == 1 or order == "first":
            return 0
        if order == "last" and self._dice.random() < 0.9:
            return count - 1
        return self._dice.randrange(count)

    def _wait(self, live: Sequence[Process]) -> bool:
        """Nothing is ready: time jumps to what comes next."""
        time = self.world.time
        moments = [] if self._start_at is None else [self._start_at]
        for process in live:
            if process.stopped_until > time.now:
                moments.append(process.stopped_until)
            elif (due := process.loop.next_due) is not None:
                moments.append(due)
        if not moments:
            self.world.violate(f"stuck: {_waiting(live)}")
            return False
        time.now = max(time.now, min(moments))
        return True

    # ------------------------------------------------------------------ checks

    def _check_output(self) -> None:
        if self._reference is None:
            return
        for name, expected in self._reference.expected.items():
            missing = expected - ledger_of(self.world, name).seen
            if missing:
                text = next(iter(missing))
                self.world.violate(f"sink {name!r} lacks {missing.total()} records, one is {text}")

    def _check_storage(self) -> None:
        """Every content that a manifest names is there and whole."""
        world = self.world
        storage = CheckpointStorage(
            _LOCATION,
            self._config.job or self._scenario._build().name,
            InlineExecutor(),
            self.processes[0].clock,
            store=world.objects,
        )

        async def check() -> None:
            for info in await storage.list():
                if info.left is not None:
                    continue
                if info.manifest is None:
                    if not world.weather.torn:
                        world.violate(f"{info.title} is damaged: {info.problem}")
                    continue
                problems = await storage.verify(info.name or info.manifest.checkpoint_id)
                if problems:
                    world.violate(f"{info.title} is not whole: {problems[0]}")

        asyncio.run(check())


def _told(facts: Mapping[str, Any]) -> str:
    return " ".join(f"{name}={value}" for name, value in facts.items() if name != "duration_ms")


def _waiting(live: Sequence[Process]) -> str:
    tasks = [task for process in live for task in process.loop.unfinished]
    return "; ".join(f"{task.get_name()} at {_where(task)}" for task in tasks) or "nothing is under way"


def _where(task: asyncio.Task[Any]) -> str:
    stack = task.get_stack(limit=1)
    return f"{Path(stack[0].f_code.co_filename).name}:{stack[0].f_lineno}" if stack else "its end"
