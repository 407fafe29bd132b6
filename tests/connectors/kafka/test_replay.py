"""A replay of a job between topics ends at the offsets of a checkpoint, and the job's group and topics learn nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tidegate.connectors import formats, kafka, memory
from tidegate.engine import ReplayOf, RunConfig, Topology, start, start_replay

from .sources import DEADLINE_S, LiveSourceContext, produce, read_all

pytestmark = pytest.mark.slow


def doubled(servers: str, source: str, target: str, group: str) -> Topology:
    """Numbers of a topic, doubled into another."""
    topology = Topology(f"doubled-{source}")
    numbers = kafka.source(servers, source, format=formats.json(int), group=group)
    numbers_out = kafka.sink(servers, target, format=formats.json())
    topology.source("numbers", numbers).map(lambda n: 2 * n).sink("out", numbers_out)
    return topology


async def all_of(servers: str, topic: str) -> list[int]:
    """The committed records of a topic."""
    found = await read_all(kafka.source(servers, topic, format=formats.json(int), stop_at_end=True))
    return sorted(value for values in found.values() for value in values)


async def test_a_replay_tells_the_group_nothing_and_touches_no_topic_of_the_job(
    kafka_servers: str, new_topic: Callable[..., str], tmp_path: Path
) -> None:
    """While the job may run, with transactions of the same sink into a topic of its own."""
    source, target, shadow = new_topic(partitions=2), new_topic(), new_topic()
    group = f"group-of-{source}"
    of_group = kafka.source(kafka_servers, source, format=formats.json(int), start="committed", group=group)

    async def told() -> list[int | None]:
        return [split.where.get("start") for split in await of_group.discover(LiveSourceContext(), frozenset())]

    config = RunConfig(checkpoints=tmp_path, checkpoint_interval="5m", checkpoint_timeout="1m", retain=100)

    async def run(values: range, partition: int, job: Any) -> None:
        produce(kafka_servers, source, values, partition)
        for _ in range(100 * DEADLINE_S):
            if sum(split.records for split in job.measures.splits.values()) == values.stop:  # they are numbered
                break
            await asyncio.sleep(0.01)
        await job.checkpoint()

    async with start(doubled(kafka_servers, source, target, group), config) as job:
        await job.began.wait()
        await run(range(10), 0, job)
        await run(range(10, 30), 1, job)
        await run(range(30, 35), 0, job)
        for _ in range(100):  # a coordinator that is new may not answer at once
            if (before := await told()) == [15, 20]:
                break
            await job.checkpoint()
        written = await all_of(kafka_servers, target)
        own_sink = kafka.sink(kafka_servers, target, format=formats.json())
        for shadow_sink, of in (
            (own_sink.at(shadow), ReplayOf(start=1, to=2)),
            (
                captured := memory.sink(),
                ReplayOf(start=1, to_offsets={"numbers": {f"{source}-0": 12, f"{source}-1": 5}}),
            ),
        ):
            topology = doubled(kafka_servers, source, target, group)
            async with await start_replay(topology, config, of, {"out": shadow_sink}) as replay:
                async with asyncio.timeout(DEADLINE_S):
                    await replay.wait()
        assert await all_of(kafka_servers, shadow) == [2 * n for n in range(10, 30)]
        assert sorted(captured.values) == [2 * n for n in [*range(10, 15), 30, 31]]
        assert await told() == before == [15, 20]
        assert await all_of(kafka_servers, target) == written == [2 * n for n in range(35)]
        # The job's own transactions were left alone.
        await run(range(35, 40), 1, job)
        await job.stop()
    assert await all_of(kafka_servers, target) == [2 * n for n in range(40)]
