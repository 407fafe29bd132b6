"""Snapshots that are written in portions, records and timers coming in between: exactly once all the same."""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress
from typing import Any

import pytest
from tidegate.connectors import memory
from tidegate.engine import CheckpointError, JobStatus, RunConfig, restart, start
from tidegate.engine.executor import InlineExecutor
from tidegate.engine.runtime.pace import SnapshotPace
from tidegate.engine.testing import CRASH, ScriptedSource

KINDS = ("keyed", "tumbling", "sliding", "session", "process")


@pytest.fixture
def portions(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Snapshots are written one entry at a time, one for each turn of the loop; what was asked for each of them."""
    asked: list[float] = []
    monkeypatch.setattr(SnapshotPace, "limit", lambda pace, others_s: asked.append(others_s) or 1)
    return asked


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_records_go_on_while_snapshots_are_written(kind, portions, build, expected, reading, tmp_path):
    """Checkpoints one after the other, and crashes at any time: every result comes once, however many entries the records
    change between the barrier and the end of the snapshot."""
    chance = random.Random(11)
    readings = [reading(f"key-{chance.randrange(30)}", n * 7 + chance.randrange(60), n) for n in range(1000)]
    script: list[Any] = list(readings)
    for place in sorted(chance.sample(range(200, 1000), 4), reverse=True):
        script[place:place] = [CRASH]
    source, sink = ScriptedSource(script, fetch_sizes=[1, 1, 2]), memory.sink()
    config = RunConfig(
        checkpoints=tmp_path,
        checkpoint_interval="1h",
        restart=restart.fixed_delay(100, "0ms"),
    )

    async def run() -> int:
        topology = build(kind, source, sink, out_of_orderness="1s")
        async with start(topology, config, executor=InlineExecutor()) as job, asyncio.TaskGroup() as group:

            async def take_checkpoints() -> None:
                while True:
                    with suppress(CheckpointError):
                        await job.checkpoint()
                    await asyncio.sleep(0)

            taking = group.create_task(take_checkpoints())
            try:
                await job.over.wait()
            finally:
                taking.cancel()
            assert await job.wait() is JobStatus.FINISHED
            return job.measures.checkpoints.completed

    completed = asyncio.run(run())
    assert sorted(sink.values) == expected(kind, readings, out_of_orderness=1000)
    assert completed >= 3
    assert len(portions) > 4 * completed
