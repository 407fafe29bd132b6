"""Channels and the gate that reads them."""

from __future__ import annotations

import asyncio

from tidegate.engine.clock import SystemClock
from tidegate.engine.runtime.channel import Gate
from tidegate.engine.runtime.elements import Barrier, EndOfStream, Watermark
from tidegate.operators.batch import Batch


async def test_a_channel_keeps_the_order_of_its_elements():
    """Batches and control elements come out as they went in, each with its arrival."""
    gate = Gate(1, 8)
    elements = [Batch([1]), Watermark(5), Batch([2]), EndOfStream()]
    for number, element in enumerate(elements):
        await gate.channel(0).send(element, float(number))
    assert [gate.poll() for _ in elements] == [(0, element, float(n)) for n, element in enumerate(elements)]
    assert gate.poll() is None


async def test_channels_are_read_in_turn():
    """A busy channel does not keep the others waiting."""
    gate = Gate(2, 8)
    for channel in (0, 0, 1, 1):
        await gate.channel(channel).send(Batch([channel]), 0.0)
    assert [gate.poll()[0] for _ in range(4)] == [0, 1, 0, 1]


async def test_a_blocked_channel_gives_nothing():
    """What the aligner holds back stays in the channel."""
    gate = Gate(2, 8)
    await gate.channel(0).send(Batch([1]), 0.0)
    gate.aligner.arrive(0, 1)
    assert gate.poll() is None
    gate.aligner.arrive(1, 1)
    assert gate.poll() is not None


async def test_a_full_channel_makes_the_sender_wait_and_lets_control_through():
    """Batches wait for room, barriers do not: a checkpoint is never stuck behind backpressure."""
    gate = Gate(1, 2)
    channel = gate.channel(0)
    sent = []

    async def send() -> None:
        for number in range(3):
            await channel.send(Batch([number]), 0.0)
            sent.append(number)

    async with asyncio.TaskGroup() as group:
        group.create_task(send())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert sent == [0, 1]
        assert gate.queued == 2
        await channel.send(Barrier(1), 0.0)
        gate.poll()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert sent == [0, 1, 2]


async def test_waiting_ends_with_an_element_or_a_wake():
    """Neither is missed when it came before the waiting began."""
    gate, clock = Gate(1, 2), SystemClock()
    await gate.channel(0).send(Watermark(1), 0.0)
    await gate.wait(clock, None)
    gate.wake()
    await gate.wait(clock, None)
