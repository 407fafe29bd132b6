"""Channels: bounded queues between subtasks, and the gate that reads several of them."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Protocol

from ...operators.batch import Batch
from ..clock import Clock
from ..errors import CheckpointError
from .alignment import Aligner, Overtaking
from .elements import Barrier, Element
from .recording import Recording, UnrecordableChannelError


class Channel(Protocol):
    """The sending end of a channel. An interface, for a channel may lead into another process."""

    async def send(self, element: Element, arrived: float) -> None:
        """Hand over an element; waits while the channel is full. `arrived` is when the records, or what made the control
        element, came into the job (seconds of the job's monotonic clock)."""
        ...

    def hurry(self, on: bool) -> None:
        """While it is on, nobody waits for room: `send` puts batches past the capacity."""
        ...

    async def room(self) -> None:
        """Until no more is in the channel than it should hold, or `hurry` is on."""
        ...


class Gate:
    """The receiving end of all channels of a subtask.

    Gives elements in the order in which they came, channel by channel, and nothing from channels that the aligner holds
    back. Only batches count against a channel's capacity, so control elements cannot be stuck behind a full channel.

    A barrier that may overtake is acted on where it lies: what stands before it is recorded and stays in its place.

    Attributes:
        on_due: called when a barrier is to overtake now: `due` says which. It must be acted on before the next `poll`.
        on_refused: called when a record has been met that cannot be recorded.
    """

    def __init__(self, channels: int, capacity: int) -> None:
        self.channels = channels
        self.aligner = Aligner(channels)
        self.on_due: Callable[[], None] = lambda: None
        self.on_refused: Callable[[UnrecordableChannelError], None] = lambda error: None
        self._overtaking = Overtaking(channels)
        self._recording: Recording | None = None
        self._hurried = [False] * channels
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
            while self._batches[index] >= self._capacity and not self._hurried[index]:
                self._room[index].clear()
                await self._room[index].wait()
        self.append(index, element, arrived)

    def append(self, index: int, element: Element, arrived: float) -> None:
        """Put in an element, whether there is room or not."""
        if isinstance(element, Batch):
            self._batches[index] += 1
        if self._recording is not None:
            self._record(self._recording, index, element)
        self._queues[index].append((element, arrived))
        self._woken.set()
        if type(element) is Barrier and self._overtaking.came(index, element, self.aligner.passed):
            self.on_due()

    def hurry(self, index: int, on: bool) -> None:
        self._hurried[index] = on
        self._room[index].set()

    async def room(self, index: int) -> None:
        while self._batches[index] > self._capacity and not self._hurried[index]:
            self._room[index].clear()
            await self._room[index].wait()

    # ------------------------------------------------------------ barriers that overtake

    @property
    def due(self) -> Barrier | None:
        """The barrier that is to overtake now."""
        return self._overtaking.due

    def allow_overtaking(self, checkpoint_id: int) -> None:
        """The barrier of a checkpoint, and of none but that, may overtake from now on."""
        if self._overtaking.allow(checkpoint_id, self.aligner.passed):
            self.on_due()
            self._woken.set()

    def forbid_overtaking(self, checkpoint_id: int) -> None:
        """The checkpoint was given up: its barrier means nothing any more, and nobody waits for what is being recorded."""
        self._overtaking.forbid(checkpoint_id)
        if self._recording is not None and self._recording.checkpoint_id <= checkpoint_id:
            self._recording.fail(CheckpointError("it was given up while what was in flight was being recorded"))
            self._recording = None

    def overtake(self, recording: Recording) -> bool:
        """Record what stands before the barrier that is due, and from now on what still comes before it. False when there is a
        record among it that cannot be recorded: then the barrier waits for its turn, and so do all later ones."""
        checkpoint_id = recording.checkpoint_id
        try:
            for index, queue in enumerate(self._queues):
                if self.aligner.taken(index, checkpoint_id):
                    recording.close(index)
                    continue
                for element, _ in queue:
                    if isinstance(element, Barrier) and element.checkpoint_id == checkpoint_id:
                        recording.close(index)
                        break
                    recording.add(index, element)
        except UnrecordableChannelError as error:
            self._refuse(error)
            return False
        self.aligner.overtake(checkpoint_id)
        self._overtaking.forbid(checkpoint_id)
        self._recording = None if recording.ended.is_set() else recording
        return True

    def _record(self, recording: Recording, index: int, element: Element) -> None:
        if isinstance(element, Barrier):
            if element.checkpoint_id > recording.checkpoint_id:
                self.forbid_overtaking(recording.checkpoint_id)
                return
            if element.checkpoint_id == recording.checkpoint_id:
                recording.close(index)
        else:
            try:
                recording.add(index, element)
            except UnrecordableChannelError as error:
                recording.fail(CheckpointError(str(error)))
                self._refuse(error)
        if recording.ended.is_set():
            self._recording = None

    def _refuse(self, error: UnrecordableChannelError) -> None:
        self._overtaking.refuse()
        self.on_refused(error)


class LocalChannel:
    """A channel inside the process."""

    __slots__ = ("_gate", "_index")

    def __init__(self, gate: Gate, index: int) -> None:
        self._gate = gate
        self._index = index

    async def send(self, element: Element, arrived: float) -> None:
        await self._gate.put(self._index, element, arrived)

    def hurry(self, on: bool) -> None:
        self._gate.hurry(self._index, on)

    async def room(self) -> None:
        await self._gate.room(self._index)
