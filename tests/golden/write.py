"""Writes the golden checkpoints and savepoints: `python tests/golden/write.py`.

    tests/golden/checkpoints/<format version>/<backend>/    native checkpoints, by the version of the manifest
    tests/golden/savepoints/<format version>/portable/      savepoints, by the version of the portable format
        state/      the checkpoint directory
        out/        what the file sink had written
        rows.json   every entry of the state

What is there is never written again: it shows that what a released version wrote can be read for ever. Run it once when a
format gets a new version, look at `rows.json`, and commit what is new.
"""

from __future__ import annotations

import asyncio
import datetime
import enum
import shutil
import sys
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

import msgspec
from tidegate.connectors import files, formats
from tidegate.engine import RunConfig, Topology, start
from tidegate.engine.checkpoint import manifest
from tidegate.engine.checkpoint.storage import CheckpointStorage
from tidegate.engine.executor import InlineExecutor
from tidegate.engine.state import portable
from tidegate.engine.state.export import StateRow, read_rows
from tidegate.engine.testing import Pause, ScriptedSource
from tidegate.engine.testing.faults import StoppedClock
from tidegate.operators import (
    ListState,
    MapState,
    ProcessFunction,
    ReducingState,
    ValueState,
    Watermarks,
    agg,
    windows,
)

HERE = Path(__file__).parent
NAME = "golden"


class Reading(msgspec.Struct, frozen=True):
    """A record."""

    key: str
    at: int
    value: int


class Level(enum.Enum):
    """A choice that is stored."""

    LOW = "low"
    HIGH = "high"


class Latest(msgspec.Struct):
    """A value of many types."""

    n: int
    text: str
    ratio: float
    raw: bytes
    pair: tuple[int, str]
    counts: dict[str, int]
    level: Level
    seen_at: datetime.datetime
    missing: int | None = None


class Keeper(ProcessFunction[Reading, Any]):
    """Keeps every shape of state and sets timers of both kinds."""

    LATEST = ValueState("latest", Latest)
    BRIEF = ValueState("brief", float, ttl="1h")
    BY_VALUE = MapState("by value", int, str)
    BRIEF_BY_VALUE = MapState("brief by value", str, int, ttl="1h")
    VALUES = ListState("values", int)
    TOTAL = ReducingState("total", int, lambda a, b: a + b)

    def states(self) -> Any:
        return [self.LATEST, self.BRIEF, self.BY_VALUE, self.BRIEF_BY_VALUE, self.VALUES, self.TOTAL]

    def open(self, context: Any) -> None:
        self.latest, self.brief = context.state(self.LATEST), context.state(self.BRIEF)
        self.by_value, self.brief_by_value = context.state(self.BY_VALUE), context.state(self.BRIEF_BY_VALUE)
        self.values, self.total = context.state(self.VALUES), context.state(self.TOTAL)

    def process(self, value: Reading, context: Any) -> Iterator[Any]:
        at = datetime.datetime.fromtimestamp(value.at / 1000, datetime.UTC)
        level = Level.HIGH if value.value > 3 else Level.LOW
        self.latest.set(
            Latest(value.value, value.key, value.value / 4, b"\x00\xff", (value.value, "x"), {"a": 1}, level, at)
        )
        self.brief.set(value.value / 2)
        self.by_value.put(value.value, value.key * 2)
        self.brief_by_value.put(str(value.value), value.at)
        self.values.add(value.value)
        context.timers.set_event(value.at + 45_000)
        context.timers.set_processing(context.now_ms() + 60_000)
        yield ("total", value.key, self.total.add(value.value))

    def on_timer(self, timestamp_ms: int, context: Any) -> Iterator[Any]:
        latest = self.latest.get()
        assert latest is not None
        by_value, brief = sorted(self.by_value.items()), sorted(self.brief_by_value.items())
        yield ("timer", context.key, timestamp_ms, self.values.get(), self.brief.get(), latest.n, by_value, brief)


BEFORE = [
    Reading("a", 0, 1),
    Reading("x", 5_000, 2),
    Reading("ü", 40_000, 3),
    Reading("a", 65_000, 4),
    Reading("x", 66_000, 5),
    Reading("a", 90_000, 6),
]
AFTER = [Reading("x", 95_000, 7), Reading("c", 180_000, 8), Reading("a", 181_000, 9)]


class HeldSink:
    """A file sink whose first write waits until it is let go: meanwhile records pile up in front of it."""

    def __init__(self, sink: Any) -> None:
        self.let_go = asyncio.Event()
        self._sink = sink

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sink, name)

    def writer(self, context: Any) -> Any:
        writer = self._sink.writer(context)
        write = writer.write

        async def held(batch: Any) -> None:
            await self.let_go.wait()
            await write(batch)

        writer.write = held
        return writer


def _flat(kind: str) -> Any:
    return lambda r: (kind, r.key, r.start_ms, r.end_ms, r.n, r.mean)


def topology(source: Any, out: Path, answers: asyncio.Event, sink: Any = None) -> Topology:
    """A job with every kind of state. Calls whose value is even wait for `answers`. `sink` is in place of files in `out`."""

    async def ask(reading: Reading) -> tuple[str, str, int]:
        if reading.value % 2 == 0:
            await answers.wait()
        return ("answer", reading.key, reading.value * 10)

    made = Topology("golden", version="7")
    watermarks = Watermarks(out_of_orderness="10s")
    readings = made.source("readings", source, event_time="at", watermarks=watermarks)
    keyed = readings.key_by("key", name="by-key", key_type=str)
    kept = keyed.process(Keeper(), name="keeper")
    counted = keyed.aggregate(name="count", n=agg.count(), mean=agg.mean("value"))
    tumbling = keyed.window(windows.tumbling("1m"), allowed_lateness="20s")
    by_minute = tumbling.aggregate(name="minutes", n=agg.count(), mean=agg.mean("value"))
    session = keyed.window(windows.session("30s"))
    sessions = session.aggregate(name="sessions", n=agg.count(), mean=agg.mean("value"))
    answered = readings.map_async(ask, name="ask", input_type=Reading, timeout=None, ordered=False)
    flat_count = counted.map(lambda r: ("count", r.key, r.n, r.mean), name="flat-count")
    flat_minutes, flat_sessions = (
        by_minute.map(_flat("minute"), name="flat-minutes"),
        sessions.map(_flat("session"), name="flat-sessions"),
    )
    union = kept.union(flat_count, flat_minutes, flat_sessions, answered)
    union.sink("out", sink or files.lines(out, formats.json()))
    return made


def config(folder: Path, backend: Any, **more: Any) -> RunConfig:
    """The settings of every run over a golden folder."""
    return RunConfig(checkpoints=folder / "state", checkpoint_interval="1h", state_backend=backend, **more)


async def write(folder: Path, backend: str, *, portable_format: bool) -> None:
    """Run the job to a point where every kind of state holds something, and keep its checkpoint or savepoint. In front of the
    sink of a checkpoint there are records in flight."""
    source = ScriptedSource([*BEFORE, Pause()], fetch_sizes=[1], type=Reading)
    sink = HeldSink(files.lines(folder / "out", formats.json()))
    made = topology(source, folder / "out", asyncio.Event(), sink)
    settings = config(folder, backend, parallelism=2 if portable_format else 1, alignment_timeout="0ms")
    async with start(made, settings, clock=StoppedClock(), executor=InlineExecutor()) as job:
        if portable_format:
            sink.let_go.set()
        while not source.at_pause:
            await job.clock.sleep(0)
        for _ in range(100):
            await job.clock.sleep(0)
        async with asyncio.TaskGroup() as group:
            group.create_task(job.savepoint(NAME) if portable_format else job.checkpoint())
            for _ in range(100):
                await job.clock.sleep(0)
            sink.let_go.set()
        await job.cancel()
    job_folder = folder / "state" / made.name
    shutil.rmtree(job_folder / "work", ignore_errors=True)
    shutil.rmtree(job_folder / "staging", ignore_errors=True)
    shutil.rmtree(job_folder / "attempts")  # they tell of the machine
    (job_folder / ".lock").unlink(missing_ok=True)
    (folder / "rows.json").write_bytes(msgspec.json.format(msgspec.json.encode(await rows(folder)), indent=1) + b"\n")


async def rows(folder: Path) -> list[dict[str, Any]]:
    """Every entry of the state in a golden folder, as JSON values in a fixed order; of equal items one, with how many there
    are."""
    storage = CheckpointStorage(folder / "state", "golden", InlineExecutor(), StoppedClock())
    (info,) = await storage.list()
    assert info.manifest is not None
    found: list[StateRow] = []
    scratch = folder / "scratch"
    for entry in info.manifest.operators.values():
        for subtask in entry.subtasks:
            await storage.fetch_files(info.manifest.checkpoint_id, subtask.files, scratch)
            found += read_rows(subtask.snapshot, scratch)
            shutil.rmtree(scratch)
    told: list[dict[str, Any]] = []
    for row, equal in groupby(sorted(found, key=lambda row: (row.operator_id, row.state, row.time_ms or 0, repr(row)))):
        told.append(msgspec.json.decode(msgspec.json.encode(row)) | {"copies": len(list(equal))})
    return told


def targets() -> dict[Path, str]:
    """Where the golden folders of the present versions are, and the state backend that each job runs with."""
    native = HERE / "checkpoints" / str(manifest.FORMAT_VERSION)
    return {
        native / "dict": "dict",
        native / "rocksdb": "rocksdb",
        HERE / "savepoints" / str(portable.FORMAT_VERSION) / portable.BACKEND: "rocksdb",
    }


def main() -> int:
    """Write what is not there yet."""
    for folder, backend in targets().items():
        if folder.exists():
            print(f"{folder.relative_to(HERE)} is there and stays")
            continue
        asyncio.run(write(folder, backend, portable_format=folder.name == portable.BACKEND))
        print(f"{folder.relative_to(HERE)} written")
    return 0


if __name__ == "__main__":
    sys.exit(main())
