"""How long a large state takes to come back: from local files, and from an object store, by size."""

from __future__ import annotations

import asyncio
import hashlib
import random
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import msgspec
from tidegate.connectors import generator
from tidegate.engine import RunConfig, Topology, start

from ..probe import Look, ProbeSink
from ..scenario import BenchmarkError, Figures, Scenario, Setup, Side, Wanted
from ..stopwatch import Stopwatch

SHARES: Final = {"eighth": 8, "half": 2, "whole": 1}
_PAYLOAD_BYTES: Final = 8_000
_AT_ONCE: Final = 4


class Reading(msgspec.Struct, gc=False):
    """What a sensor says: bytes that cannot be compressed."""

    sensor: int
    number: int
    payload: bytes


def _newest(_: Reading, newest: Reading) -> Reading:
    return newest


def topology(n_sensors: int, look: Look) -> Topology:
    """The last reading of each sensor; they come without end."""

    def reading(number: int) -> Reading:
        return Reading(number % n_sensors, number, random.Random(number).randbytes(_PAYLOAD_BYTES))

    made = Topology("state-restore")
    readings = made.source("readings", generator.records(reading, type=Reading))
    readings.key_by("sensor").reduce(_newest, name="last").sink("out", ProbeSink(look))
    return made


def _n_sensors(setup: Setup, share: int) -> int:
    return setup.events * 1_000_000 // share // _PAYLOAD_BYTES


def _config(setup: Setup, name: str, **more: Any) -> RunConfig:
    values: dict[str, Any] = {
        "checkpoints": f"{setup.bucket.url}/{setup.run_name}-{name}",
        "checkpoint_store": setup.bucket.options,
        "checkpoint_interval": "1d",
        "state_dir": setup.work / f"state-{name}",
        "upload_concurrency": _AT_ONCE,
    }
    return RunConfig(**(values | more))


def _objects(setup: Setup, name: str) -> Path:
    """The folder in which the store has the objects: it is laid out as a local checkpoint directory."""
    return setup.bucket.folder / f"{setup.run_name}-{name}"


def _build(name: str, share: int) -> Side:
    def build(setup: Setup) -> Figures:
        return asyncio.run(_build_state(setup, name, share))

    return build


async def _build_state(setup: Setup, name: str, share: int) -> Figures:
    """Fill the state and take one checkpoint; its files are kept on this machine too."""
    is_filled = asyncio.Event()
    n_sensors, seen = _n_sensors(setup, share), 0
    events: dict[str, Any] = {}

    def look(values: list[Any]) -> None:
        nonlocal seen
        seen += len(values)
        if seen >= n_sensors:
            is_filled.set()

    watch = Stopwatch()
    made, config = topology(n_sensors, look), _config(setup, name, local_recovery=True)
    async with start(made, config, on_event=lambda event, facts: events.update({event: facts})) as job:
        await is_filled.wait()
        figures = watch.read()
        watch.start()
        await job.checkpoint()
        figures["checkpoint_s"] = watch.read()["run_s"]
        await job.cancel()
    figures["state_mb"] = events["checkpoint_completed"]["size_bytes"] / 1e6
    figures["upload_mb_per_s"] = figures["state_mb"] / figures["checkpoint_s"]
    return figures


def _restore(name: str, share: int, config: Callable[[Setup], RunConfig], *, linked: bool) -> Side:
    def restore(setup: Setup) -> Figures:
        return asyncio.run(_first_output(setup, share, config(setup), linked))

    return restore


async def _first_output(setup: Setup, share: int, config: RunConfig, linked: bool) -> Figures:
    """Start again; the first result is what counts."""
    came = asyncio.Event()
    first: list[Any] = []
    events: dict[str, Any] = {}

    def look(values: list[Any]) -> None:
        first.extend(values[:1])
        came.set()

    made = topology(_n_sensors(setup, share), look)
    watch = Stopwatch()
    began_ns = time.monotonic_ns()
    async with start(made, config, on_event=lambda event, facts: events.update({event: facts})) as job:
        await came.wait()
        first_ns = time.monotonic_ns()
        figures = watch.read()
        await job.cancel()
    restored = events["state_restored"]
    if first[0].number == first[0].sensor or (restored["linked_bytes"] == restored["total_bytes"]) is not linked:
        raise BenchmarkError(f"state-restore: not what was to be measured: {restored}, {first[0].number}")
    figures["from_start_s"] = (first_ns - began_ns) / 1e9
    figures["from_process_s"] = (first_ns - setup.spawned_ns) / 1e9
    figures["state_mb"] = restored["total_bytes"] / 1e6
    figures["files_s"] = restored["duration_ms"] / 1000
    return figures


def _fetch(name: str, share: int) -> Side:
    def fetch(setup: Setup) -> Figures:
        """What others do with the same objects before and after; the better rates count."""
        before = _by_hand(setup, name)
        figures = asyncio.run(_first_output(setup, share, _config(setup, name), False))
        figures["files_mb_per_s"] = figures["state_mb"] / figures["files_s"]
        after = _by_hand(setup, name)
        for rate in after:
            figures[f"{rate}_mb_per_s"] = max(before[rate], after[rate])
            figures[f"share_of_{rate}"] = figures["files_mb_per_s"] / figures[f"{rate}_mb_per_s"]
        return figures

    return fetch


def _by_hand(setup: Setup, name: str) -> Figures:
    """How fast the store gives the same objects, several at a time, to somebody who throws them away (`raw`), and to
    somebody who hashes them and writes them to files (`kept`): a loop over threads, with nothing around it."""
    from tidegate.engine.checkpoint.object_store import open_store
    from tidegate.engine.checkpoint.store_options import StoreSettings

    store = open_store(f"{setup.bucket.url}/{setup.run_name}-{name}", StoreSettings(setup.bucket.options))
    objects = [found["path"] for page in store.list("state-restore/files") for found in page]

    def throw_away(path: str) -> int:
        return sum(len(piece) for piece in store.get(path).stream(min_chunk_size=1 << 18))

    def keep(path: str) -> int:
        size, found = 0, hashlib.sha256()
        with (folder / path.rsplit("/", 1)[-1]).open("wb", buffering=0) as file:
            for piece in store.get(path).stream(min_chunk_size=1 << 18):
                found.update(piece)
                file.write(piece)
                size += len(piece)
        if not path.endswith(found.hexdigest()):
            raise BenchmarkError(f"state-restore: {path} is not what its name says")
        return size

    rates: Figures = {}
    with tempfile.TemporaryDirectory(dir=setup.work) as made, ThreadPoolExecutor(_AT_ONCE) as threads:
        folder = Path(made)
        for rate, take in (("raw", throw_away), ("kept", keep)):
            began_ns = time.monotonic_ns()
            total = sum(threads.map(take, objects))
            rates[rate] = total / 1e6 / ((time.monotonic_ns() - began_ns) / 1e9)
    return rates


def _sides() -> dict[str, Side]:
    sides: dict[str, Side] = {}
    for name, share in SHARES.items():

        def linked(setup: Setup, name: str = name) -> RunConfig:
            return _config(setup, name, local_recovery=True)

        def local(setup: Setup, name: str = name) -> RunConfig:
            return RunConfig(
                checkpoints=setup.work / f"local-{name}",
                restore_from=_objects(setup, name),
                checkpoint_interval="1d",
                state_dir=setup.bucket.folder.parent / f"work-{setup.run_name}-{name}",
            )

        sides[f"build-{name}"] = _build(name, share)
        sides[f"linked-{name}"] = _restore(name, share, linked, linked=True)
        sides[f"hashed-{name}"] = _restore(name, share, linked, linked=True)
        sides[f"local-{name}"] = _restore(name, share, local, linked=True)
        sides[f"fetched-{name}"] = _fetch(name, share)
    return sides


SCENARIO = Scenario(
    title="up to 2 GB of state: time to the first new result, files linked or fetched from an object store",
    sides=_sides(),
    events=2_000,
    wanted=(
        Wanted("linked-whole.from_start_s", "at_most", 2.0, "with files kept on this machine within 2 s"),
        Wanted("hashed-whole.from_start_s", "at_most", 2.0, "the same, every byte hashed, within 2 s"),
        Wanted("local-whole.from_start_s", "at_most", 2.0, "from a local checkpoint directory within 2 s"),
        Wanted("fetched-whole.share_of_raw", "at_least", 0.7, "from the object store at 0.70 of its raw read rate"),
        Wanted("fetched-whole.share_of_kept", "at_least", 0.7, "at 0.70 of a loop that hashes and writes by hand"),
    ),
    reads_bids=False,
    needs_store=True,
    one_core=False,
    repeat=3,
    warm_up=False,
    note="Events are megabytes of state. `linked` has the files of the checkpoint in its working directory, kept and hashed "
    "by an earlier process; `hashed` the same once more, so it does not trust them; `local` a checkpoint directory on the "
    "same file system; `fetched` has nothing. The last three hash every byte. All files are likely in the page cache. The "
    "store runs on the same machine.",
)
