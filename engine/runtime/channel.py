"""Channels: bounded queues between subtasks, and the gate that reads several of them."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Protocol

from ...operators.batch import Batch
from ..clock import Clock
from .alignment import Aligner
from .elements import Element


class Channel(Protocol):
    """The sending end of a channel. An interface, for a channel may lead into another process."""

    async def send(self, element: Element, arrived: float) -> None:
        """Hand over an element; waits while the channel is full. `arrived` is when the records, or what made the control
        element, came into the job (seconds of the job's monotonic clock)."""
        ...


class Gate:
    """The receiving end of all channels of a subtask.

    Gives elements in the order in which they came, channel by channel, and nothing from channels that the aligner holds
    back. Only batches count against a channel's capacity, so control elements cannot be stuck behind a full channel.
    """

    def __init__(self, channels: int, capacity: int) -> None:
        self.channels = channels
        self.aligner = Aligner(channels)
        self._capacity = capacity
        self._queues: list[deque[tuple[Element, float]]] = [deque() for _ in range(channels)]
        self._batches = [0] * channels
        self._room = [asyncio.Event() for _ in range(channels)]
        self._woken = asyncio.Event()
        self._next = 0
        for room in self._room:
            room.set()

    def channel(self, index: int) -> LocalChannel:
        """The sending end of one channel."""
        return LocalChannel(self, index)

    @property
    def queued(self) -> int:
        """Batches waiting."""
        return sum(self._batches)

    def wake(self) -> None:
        """Make `wait` return: something other than an element needs attention."""
        self._woken.set()

    def poll(self) -> tuple[int, Element, float] | None:
        """The next element, with its channel; None when there is none that may be read."""
        queues = self._queues
        count = len(queues)
        for step in range(count):
            index = (self._next + step) % count
            queue = queues[index]
            if queue and not self.aligner.blocked(index):
                element, arrived = queue.popleft()
                if isinstance(element, Batch):
                    self._batches[index] -= 1
                    self._room[index].set()
                self._next = (index + 1) % count
                return index, element, arrived
        return None

    async def wait(self, clock: Clock, seconds: float | None) -> None:
        """Until `wake`, or an element has come, or `seconds` have passed."""
        await clock.wait(self._woken, seconds)
        self._woken.clear()

    async def put(self, index: int, element: Element, arrived: float) -> None:
        if isinstance(element, Batch):
            while self._batches[index] >= self._capacity:
                self._room[index].clear()
                await self._room[index].wait()
            self._batches[index] += 1
        self._queues[index].append((element, arrived))
        self._woken.set()


class LocalChannel:
    """A channel inside the process."""

    __slots__ = ("_gate", "_index")

    def __init__(self, gate: Gate, index: int) -> None:
        self._gate = gate
        self._index = index

    async def send(self, element: Element, arrived: float) -> None:
        await self._gate.put(self._index, element, arrived)
