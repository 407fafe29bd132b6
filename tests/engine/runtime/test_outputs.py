"""The ends of a chain."""

from __future__ import annotations

import asyncio
from typing import Any

from tidegate.engine.metrics.measures import Histogram, OperatorMeasures
from tidegate.engine.runtime.channel import Gate
from tidegate.engine.runtime.elements import Barrier
from tidegate.engine.runtime.outputs import ChannelOutput, SinkLeaf
from tidegate.engine.runtime.partitioners import Broadcast
from tidegate.engine.testing.clock import ManualClock
from tidegate.operators.batch import Batch, joined


class NotingWriter:
    """Notes what each write brings."""

    def __init__(self) -> None:
        self.writes: list[list[Any]] = []

    async def write(self, batch: Batch[Any]) -> None:
        self.writes.append(batch.values)


async def test_what_one_walk_leaves_to_a_sink_is_one_write():
    """That is how long a barrier may have to wait for it."""
    writer, measures = NotingWriter(), OperatorMeasures("out", 0)
    leaf = SinkLeaf("out", writer, measures, Histogram(), ManualClock(), transactional=False)  # type: ignore[arg-type]  # writes only
    for values in ([1, 2], [3], [4, 5]):
        leaf.process(Batch(values))
    await leaf.flush(0.0)
    leaf.process(Batch([6]))
    await leaf.flush(0.0)
    assert writer.writes == [[1, 2, 3, 4, 5], [6]]
    assert (measures.records_in, measures.records_out) == (6, 6)


def test_batches_are_joined_where_they_carry_the_same_lists():
    """In their order; nothing is lost or invented."""
    batches = [
        Batch([1], [10], ["a"]),
        Batch([2, 3], [20, 30], ["b", "c"]),
        Batch([4], [40]),
        Batch([5], [50]),
        Batch([6], [60], None, [7]),
    ]
    found = [(b.values, b.timestamps, b.keys, b.watermarks) for b in joined(batches)]
    assert found == [
        ([1, 2, 3], [10, 20, 30], ["a", "b", "c"], None),
        ([4, 5], [40, 50], None, None),
        ([6], [60], None, [7]),
    ]


async def test_in_a_hurry_what_is_pending_goes_past_the_capacity_and_the_barrier_behind_it():
    """So that nothing is left with the sender; then it waits until there is room again."""
    gates = [Gate(1, 1), Gate(1, 1)]
    output = ChannelOutput(Broadcast(2), [gate.channel(0) for gate in gates])
    for number in range(3):
        output.process(Batch([number]))
    async with asyncio.TaskGroup() as group:
        flushing = group.create_task(output.flush(0.0))
        for _ in range(5):
            await asyncio.sleep(0)
        assert not flushing.done()
        output.hurry(True)
        await flushing
        output.barrier(Barrier(1))
        await output.flush(0.0)
        assert [gate.queued for gate in gates] == [3, 3]
        output.hurry(False)
        waiting = group.create_task(output.room())
        for gate in gates:
            assert not waiting.done()
            for _ in range(2):
                gate.poll()
            for _ in range(5):
                await asyncio.sleep(0)
        assert waiting.done()
