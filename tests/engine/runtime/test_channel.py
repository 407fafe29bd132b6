"""Channels and the gate that reads them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tidegate.engine.clock import SystemClock
from tidegate.engine.runtime.channel import Gate
from tidegate.engine.runtime.elements import Barrier, EndOfStream, Idle, Watermark
from tidegate.engine.runtime.recording import FILE_NAME, InputEdge, Recording, read_recording
from tidegate.engine.runtime.watermarks import InputWatermarks
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


class Overtaken:
    """A gate with a recording of checkpoint 1, and what it told."""

    def __init__(self, channels: int) -> None:
        self.gate = Gate(channels, 2)
        self.due: list[Any] = []
        self.refused: list[Any] = []
        self.gate.on_due = lambda: self.due.append(self.gate.due)
        self.gate.on_refused = self.refused.append
        self.recording = Recording(1, [InputEdge("the way", channels, {})], InputWatermarks([False] * channels))

    def put(self, channel: int, *elements: Any) -> None:
        for element in elements:
            self.gate.append(channel, element, 0.0)

    def recorded(self, folder: Any) -> list[list[Any]]:
        self.recording.write("c", 0, folder)
        channels = read_recording(folder / FILE_NAME, [InputEdge("the way", len(self.gate._queues), {})])
        return [
            [element.values if isinstance(element, Batch) else element for element in channel] for channel in channels
        ]

    def polled(self) -> list[Any]:
        found = []
        while (item := self.gate.poll()) is not None:
            found.append(item[1].values if isinstance(item[1], Batch) else item[1])
        return found


def test_a_barrier_overtakes_what_stands_before_it(tmp_path):
    """That is recorded, and stays in its place; what stands behind the barrier is not recorded."""
    stage = Overtaken(2)
    stage.put(0, Batch([1]), Watermark(5), Barrier(1), Batch([2]))
    stage.put(1, Batch([3]), EndOfStream(), Barrier(1))
    assert stage.due == []
    stage.gate.allow_overtaking(1)
    assert stage.due == [Barrier(1)]
    assert stage.gate.overtake(stage.recording)
    assert stage.gate.due is None
    assert stage.recording.ended.is_set()
    assert stage.recorded(tmp_path / "it") == [[[1], Watermark(5)], [[3]]]
    left = [[1], [3], Watermark(5), EndOfStream(), Barrier(1), Barrier(1), [2]]
    assert stage.polled() == left


def test_what_comes_before_a_late_barrier_is_recorded_too(tmp_path):
    """The barrier has come on one channel only when the snapshot is taken."""
    stage = Overtaken(3)
    stage.gate.allow_overtaking(1)
    stage.put(1, Batch([1]))
    stage.put(0, Barrier(1))
    assert stage.due == [Barrier(1)]
    assert stage.gate.overtake(stage.recording)
    stage.put(1, Batch([2]), Barrier(1), Batch([3]))
    assert stage.gate.poll() is not None
    assert not stage.recording.ended.is_set()
    stage.put(2, Idle(), Barrier(1), Batch([4]))
    assert stage.recording.ended.is_set()
    assert stage.recorded(tmp_path / "it") == [[], [[1], [2]], [Idle()]]


def test_of_a_channel_whose_barrier_was_taken_nothing_is_recorded(tmp_path):
    """It was held back: all that is in it came behind the barrier."""
    stage = Overtaken(2)
    stage.put(0, Batch([1]))
    stage.put(1, Batch([2]))
    stage.gate.aligner.arrive(0, 1)
    stage.gate.allow_overtaking(1)
    stage.put(1, Barrier(1))
    assert stage.gate.overtake(stage.recording)
    assert stage.recorded(tmp_path / "it") == [[], [[2]]]
    assert stage.polled() == [[1], [2], Barrier(1)]


def test_barriers_of_checkpoints_that_were_given_up_are_passed_by(tmp_path):
    """They may still stand in a channel."""
    stage = Overtaken(1)
    stage.recording = Recording(2, [InputEdge("the way", 1, {})], InputWatermarks([False]))
    stage.put(0, Batch([1]), Barrier(1), Batch([2]), Barrier(2))
    stage.gate.allow_overtaking(2)
    assert stage.gate.overtake(stage.recording)
    assert stage.recorded(tmp_path / "it") == [[[1], [2]]]


@pytest.mark.parametrize("how", ["given up", "a newer barrier"])
def test_a_recording_that_nobody_wants_any_more_ends(how):
    """The checkpoint was given up before all barriers had come."""
    stage = Overtaken(2)
    stage.put(0, Barrier(1))
    stage.gate.allow_overtaking(1)
    assert stage.gate.overtake(stage.recording)
    if how == "given up":
        stage.gate.forbid_overtaking(1)
    else:
        stage.put(0, Barrier(2))
    assert "was given up" in str(stage.recording.failure)
    stage.put(1, Batch([1]), Barrier(1))
    assert stage.recording.records == 0


def test_word_of_a_checkpoint_given_up_takes_the_leave_back():
    """Its barrier waits for its turn, if it comes at all."""
    stage = Overtaken(2)
    stage.gate.allow_overtaking(1)
    stage.gate.forbid_overtaking(1)
    stage.put(0, Barrier(1))
    assert stage.due == []


def test_a_record_that_cannot_be_recorded_makes_the_barrier_wait():
    """Nothing has changed: it is aligned, and so are all later ones."""
    stage = Overtaken(1)
    stage.put(0, Batch([object()]), Barrier(1))
    stage.gate.allow_overtaking(1)
    assert not stage.gate.overtake(stage.recording)
    assert stage.gate.due is None
    assert [error.type_name for error in stage.refused] == ["builtins.object"]
    stage.gate.poll()
    assert stage.gate.aligner.arrive(0, 1)
    stage.put(0, Barrier(2))
    stage.gate.allow_overtaking(2)
    assert stage.gate.due is None


def test_a_record_that_cannot_be_recorded_and_comes_later_fails_the_checkpoint():
    """The snapshot has been taken: it is too late to wait."""
    stage = Overtaken(2)
    stage.put(0, Barrier(1))
    stage.gate.allow_overtaking(1)
    assert stage.gate.overtake(stage.recording)
    stage.put(1, Batch([object()]))
    assert "builtins.object" in str(stage.recording.failure)
    assert len(stage.refused) == 1


async def test_who_is_in_a_hurry_does_not_wait_for_room():
    """A sender that waits goes on at once; afterwards it waits until no more is in the channel than should be."""
    gate = Gate(1, 2)
    channel = gate.channel(0)
    sent: list[int] = []

    async def send() -> None:
        for number in range(5):
            await channel.send(Batch([number]), 0.0)
            sent.append(number)

    async def turns() -> None:
        for _ in range(4):
            await asyncio.sleep(0)

    async with asyncio.TaskGroup() as group:
        group.create_task(send())
        await turns()
        assert sent == [0, 1]
        channel.hurry(True)
        await turns()
        assert sent == [0, 1, 2, 3, 4]
        await channel.room()  # nobody waits in a hurry
        channel.hurry(False)
        settling = group.create_task(channel.room())
        for _ in range(2):
            gate.poll()
            await turns()
            assert not settling.done()
        gate.poll()
        await turns()
        assert settling.done()
        channel.hurry(False)
        await channel.send(Watermark(1), 0.0)
