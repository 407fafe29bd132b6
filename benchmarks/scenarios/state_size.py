"""A large state of which little changes: what a checkpoint uploads, how long it holds the subtask up, what it costs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from hashlib import shake_128
from typing import Any, Final

import msgspec
from tidegate.connectors import generator, memory
from tidegate.engine import Job, RunConfig, Stream, Topology, start

from ..probe import Look, ProbeSink
from ..scenario import BenchmarkError, Figures, Scenario, Setup, Wanted
from ..stopwatch import Stopwatch

VALUE_BYTES: Final = 1000
SHARE: Final = 100
"""One key in so many is touched between two checkpoints."""
_STRIDE: Final = 7_368_787
"""A prime: neighbours in time are far apart in the database."""
_FULL_SPEED_S: Final = 30
_CHECKPOINTS: Final = 120
"""More than it takes until every key has been touched, and the database has put its files in order again."""


class Profile(msgspec.Struct, gc=False):
    """What is kept of a key: 1,000 bytes that do not compress, and how often it was touched."""

    n: int
    data: bytes


def touched(so_far: Profile | None, key: int) -> Profile:
    """A profile of a new key, or one touched once more."""
    if so_far is None:
        return Profile(1, shake_128(key.to_bytes(8, "big")).digest(VALUE_BYTES))
    return Profile(so_far.n + 1, so_far.data)


def epoch_key(epoch: int, index: int, n_keys: int) -> int:
    """One of the keys of an epoch; all keys have their turn before one comes again."""
    size = max(1, n_keys // SHARE)
    return (epoch * size + index % size) * _STRIDE % n_keys


def job(setup: Setup, made: Topology, keys: Stream[int], look: Look, interval: str | None) -> Job:
    """A profile per key, all of them in memory, with checkpoints every so often or without."""
    keys.key_by(int).fold(None, touched, type=Profile, name="profiles").sink("out", ProbeSink(look))
    if interval is None:
        config = RunConfig(memory_budget="16GB")
    else:
        config = RunConfig(checkpoints=setup.work / "checkpoints", checkpoint_interval=interval, memory_budget="16GB")
    return start(made, config, on_event=lambda name, facts: None)


def uploads(setup: Setup) -> Figures:
    """Exactly one key in a hundred is touched, then a checkpoint is taken; again and again."""
    return asyncio.run(_uploads(setup))


async def _uploads(setup: Setup) -> Figures:
    channel = memory.channel(capacity=10_000, type=int)
    seen = 0
    enough, wanted = asyncio.Event(), 0

    def look(values: list[Any]) -> None:
        nonlocal seen
        seen += len(values)
        if seen >= wanted:
            enough.set()

    made = Topology("state-size")
    uploaded, syncs = [], []
    watch = Stopwatch()
    async with job(setup, made, made.source("keys", channel), look, "1d") as running:
        for epoch in range(-1, _CHECKPOINTS):
            if epoch < 0:
                keys: Sequence[int] = range(setup.events)
            else:
                keys = [epoch_key(epoch, index, setup.events) for index in range(max(1, setup.events // SHARE))]
            wanted += len(keys)
            enough.clear()
            for key in keys:
                await channel.send(key)
            await enough.wait()
            await running.checkpoint()
            measures = running.measures.checkpoints
            if epoch >= 0:
                uploaded.append(measures.last_uploaded_bytes)
                syncs.append(measures.last_sync_ms)
        size = measures.last_size_bytes
        await running.cancel()
    state = setup.events * VALUE_BYTES
    return watch.read() | {
        "state_mb": state / 1e6,
        "size_mb": size / 1e6,
        "uploaded_share": sum(uploaded) / len(uploaded) / state,
        "uploaded_share_median": sorted(uploaded)[len(uploaded) // 2] / state,
        "uploaded_share_most": max(uploaded) / state,
        "sync_p99_ms": _p99(syncs),
    }


def with_checkpoints(setup: Setup) -> Figures:
    """A checkpoint begins every second, at full speed; about one key in a hundred is touched in a second."""
    return asyncio.run(_at_full_speed(setup, "1s"))


def without_checkpoints(setup: Setup) -> Figures:
    """The same without."""
    return asyncio.run(_at_full_speed(setup, None))


async def _at_full_speed(setup: Setup, interval: str | None) -> Figures:
    n_keys = setup.events
    seen = epoch = 0
    is_full = asyncio.Event()
    gaps: list[float] = []
    last = 0.0

    def key(index: int) -> int:
        return index if index < n_keys else epoch_key(epoch, index, n_keys)

    def look(values: list[Any]) -> None:
        nonlocal seen, last
        seen += len(values)
        now = time.monotonic()
        gaps.append((now - last) * 1000)
        last = now
        if seen >= n_keys:
            is_full.set()

    made = Topology("state-size")
    keys = made.source("keys", generator.records(key, type=int))
    syncs: list[float] = []
    async with job(setup, made, keys, look, interval) as running:
        await is_full.wait()
        checkpoints = running.measures.checkpoints
        if interval is not None:
            await running.checkpoint()  # the one that stores all of it
        gaps.clear()
        seen_before, known = seen, checkpoints.last_id
        watch = Stopwatch()
        for epoch in range(_FULL_SPEED_S):  # noqa: B007  # `key` reads it
            for _ in range(20):
                await asyncio.sleep(0.05)
                if checkpoints.last_id != known:
                    known = checkpoints.last_id
                    syncs.append(checkpoints.last_sync_ms)
        figures: Figures = watch.read() | {"events": float(seen - seen_before)}
        await running.cancel()
    if interval is not None and not syncs:
        raise BenchmarkError(f"state-size: no checkpoint in {figures['run_s']:.1f} s")
    ordered = sorted(gaps)
    figures |= {"gap_p99_ms": ordered[int(0.99 * (len(ordered) - 1))], "gap_worst_ms": ordered[-1]}
    return figures if interval is None else figures | {"checkpoints": float(len(syncs)), "sync_p99_ms": _p99(syncs)}


def _p99(values: list[float]) -> float:
    return sorted(values)[int(0.99 * (len(values) - 1) + 0.5)] if values else 0.0


SCENARIO = Scenario(
    title="1,000 bytes per key, one key in a hundred touched between checkpoints",
    sides={"with-checkpoints": with_checkpoints, "without": without_checkpoints, "uploads": uploads},
    events=200_000,
    reference="without",
    wanted=(
        Wanted("ratio", "at_least", 0.95, "with a checkpoint every second at least 0.95 of without"),
        Wanted("uploads.uploaded_share", "at_most", 0.05, "a checkpoint uploads 5 % of the state on average"),
        Wanted("uploads.sync_p99_ms", "at_most", 50, "it holds the subtask up for 50 ms, p99"),
        Wanted("with-checkpoints.sync_p99_ms", "at_most", 50, "the same at full speed"),
    ),
    reads_bids=False,
    one_core=False,
    repeat=3,
    warm_up=False,
    note="Events are keys: 2,000,000 of them are a state of 2 GB, and need 8 GB of memory. All of the state is in memory. "
    "At full speed other keys are touched each second; what is timed are the 30 s after the state was filled.",
)
