"""Python objects in and out: lists for tests and examples, channels for embedding."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Any, Generic, TypeVar

from ..operators.batch import Batch
from .sink import AtLeastOnce, Committable, Guarantee, SinkContext, SinkError
from .source import Fetch, Lag, Offset, SourceContext, SourceError, Split

T = TypeVar("T")


class ListSource(Generic[T]):
    """See `source`."""

    bounded = True
    finds_splits = False
    replayable = True
    has_timestamps = False
    poll_interval_ms = 100

    def __init__(self, values: Sequence[T], splits: int = 1, type: Any = None) -> None:
        if splits < 1:
            raise ValueError(f"memory.source(splits={splits}): at least 1")
        self.type = type
        self._parts = [list(values[i::splits]) for i in range(splits)]

    async def discover(self, context: SourceContext, known: frozenset[str]) -> list[Split]:
        ids = [str(i) for i in range(len(self._parts))]
        return [Split(id) for id in ids if id not in known]

    def reader(self, context: SourceContext) -> ListReader[T]:
        return ListReader(self._parts)

    def describe(self) -> str:
        return f"memory.source({sum(map(len, self._parts))} records)"


class ListReader(Generic[T]):
    """Reads lists; the offset is the index of the next record."""

    def __init__(self, parts: list[list[T]]) -> None:
        self._parts = parts
        self._next: dict[str, int] = {}

    async def open(self, split: Split, offset: Offset | None) -> None:
        if not split.id.isdigit() or int(split.id) >= len(self._parts):
            raise SourceError(
                f"memory source: split {split.id} is not there any more; start with as many splits as before",
                retriable=False,
            )
        self._next[split.id] = offset or 0

    async def read(self, split_id: str, limit: int) -> Fetch[T]:
        start = self._next[split_id]
        part = self._parts[int(split_id)]
        values = part[start : start + limit]
        stop = self._next[split_id] = start + len(values)
        return Fetch(values, stop, positions=range(start, stop), end=stop >= len(part))

    def lag(self, split_id: str) -> Lag | None:
        return Lag(records=len(self._parts[int(split_id)]) - self._next[split_id])

    async def close(self) -> None:
        pass


def source(values: Sequence[T], splits: int = 1, type: Any = None) -> ListSource[T]:
    """A bounded, replayable source of Python objects.

    The records are copied into lists when the source is made; the objects are not copied.

    Args:
        values: the records.
        splits: into how many splits they are dealt out, one by one in turn.
        type: the type of the records, where typed keys or `map_async` need it.
    """
    return ListSource(values, splits, type)


class ListSink(Generic[T]):
    """See `sink`.

    Attributes:
        values: the committed records, in the order of their commits.
    """

    guarantee: Guarantee = "exactly_once"

    def __init__(self) -> None:
        self.values: list[T] = []
        self._prepared: dict[str, list[T]] = {}
        self._committed: list[tuple[int, str, list[T]]] = []

    def writer(self, context: SinkContext) -> ListWriter[T]:
        return ListWriter(self._prepared, context)

    async def commit(self, context: SinkContext, committables: Sequence[Committable]) -> None:
        done = {name for _, name, _ in self._committed}
        for committable in committables:
            name = committable["name"]
            if name in done:
                continue
            if name not in self._prepared:
                raise SinkError(
                    f"memory sink: {name} is not in this process, so its records cannot be committed; "
                    "a memory sink does not outlive its process",
                    retriable=False,
                )
            self._committed.append((committable["checkpoint_id"], name, self._prepared.pop(name)))
        self._refresh()

    async def recover(
        self, context: SinkContext, checkpoint_id: int | None, committables: Sequence[Committable]
    ) -> None:
        await self.commit(context, committables)
        self._prepared.clear()
        kept = -1 if checkpoint_id is None else checkpoint_id
        self._committed = [entry for entry in self._committed if entry[0] <= kept]
        self._refresh()

    def describe(self) -> str:
        return "memory.sink()"

    def _refresh(self) -> None:
        self.values[:] = [value for _, _, values in self._committed for value in values]


class ListWriter(Generic[T]):
    """Keeps what it is given until the checkpoint is complete."""

    def __init__(self, prepared: dict[str, list[T]], context: SinkContext) -> None:
        self._prepared = prepared
        self._context = context
        self._values: list[T] = []

    async def open(self) -> None:
        pass

    async def write(self, batch: Batch[T]) -> None:
        self._values += batch.values

    async def prepare_commit(self, checkpoint_id: int) -> list[Committable]:
        if not self._values:
            return []
        name = f"{self._context.attempt}-{self._context.subtask}-{checkpoint_id}"
        self._prepared[name] = self._values
        self._values = []
        return [{"name": name, "checkpoint_id": checkpoint_id}]

    async def close(self) -> None:
        self._values = []


def sink() -> ListSink[Any]:
    """A sink whose `values` are the committed records.

    Exactly once while the process lives: records appear when their checkpoint is complete, and those of a checkpoint
    that a restore goes back behind are taken away again. It keeps nothing over a restart of the process.
    """
    return ListSink()


class Channel(AtLeastOnce, Generic[T]):
    """See `channel`."""

    bounded = False
    finds_splits = False
    replayable = False
    has_timestamps = False
    poll_interval_ms = 1000

    def __init__(self, capacity: int = 1024, type: Any = None) -> None:
        if capacity < 1:
            raise ValueError(f"memory.channel(capacity={capacity}): at least 1")
        self.type = type
        self.capacity = capacity
        self._values: deque[T] = deque()
        self._taken = 0
        self._closed = False
        self._changed = asyncio.Event()
        self._wake: SourceContext | None = None

    async def send(self, value: T) -> None:
        """Put a record in; waits while `capacity` records are waiting to be read.

        Raises:
            ValueError: the channel is closed.
        """
        await self._room()
        self._values.append(value)
        self._notify()

    async def close(self) -> None:
        """No more records: the job that reads sees the end of the stream, `async for` ends. May be called twice."""
        self._closed = True
        self._notify()

    def __aiter__(self) -> Channel[T]:
        return self

    async def __anext__(self) -> T:
        while not self._values:
            if self._closed:
                raise StopAsyncIteration
            await self._change()
        value = self._values.popleft()
        self._notify()
        return value

    async def discover(self, context: SourceContext, known: frozenset[str]) -> list[Split]:
        return [] if "channel" in known else [Split("channel")]

    def reader(self, context: SourceContext) -> ChannelReader[T]:
        return ChannelReader(self, context)

    def writer(self, context: SinkContext) -> ChannelWriter[T]:
        return ChannelWriter(self)

    def describe(self) -> str:
        return f"memory.channel(capacity={self.capacity}) (not replayable)"

    async def _room(self) -> None:
        while True:
            if self._closed:
                raise ValueError("the channel is closed: send before close, or make another channel")
            if len(self._values) < self.capacity:
                return
            await self._change()

    async def _change(self) -> None:
        # Whoever waits makes the event fresh; all waiters look again after each change.
        if self._changed.is_set():
            self._changed.clear()
        await self._changed.wait()

    def _notify(self) -> None:
        self._changed.set()
        if self._wake is not None:
            self._wake.wake()


class ChannelReader(Generic[T]):
    """Takes records out of a channel; the offset counts them and leads nowhere."""

    def __init__(self, channel: Channel[T], context: SourceContext) -> None:
        self._channel = channel
        self._context = context

    async def open(self, split: Split, offset: Offset | None) -> None:
        if offset is not None:
            self._channel._taken = max(self._channel._taken, offset)
        self._channel._wake = self._context

    async def read(self, split_id: str, limit: int) -> Fetch[T]:
        channel = self._channel
        waiting = channel._values
        values = [waiting.popleft() for _ in range(min(limit, len(waiting)))]
        start = channel._taken
        channel._taken += len(values)
        if values:
            channel._changed.set()
        return Fetch(
            values,
            channel._taken,
            positions=range(start, channel._taken),
            end=channel._closed and not waiting,
        )

    def lag(self, split_id: str) -> Lag | None:
        return Lag(records=len(self._channel._values))

    async def close(self) -> None:
        if self._channel._wake is self._context:
            self._channel._wake = None


class ChannelWriter(Generic[T]):
    """Puts records into a channel; waits while it is full, which is backpressure on the job."""

    def __init__(self, channel: Channel[T]) -> None:
        self._channel = channel

    async def open(self) -> None:
        pass

    async def write(self, batch: Batch[T]) -> None:
        channel = self._channel
        for value in batch.values:
            if channel._closed:
                raise SinkError("the channel is closed, and the job writes into it", retriable=False)
            while len(channel._values) >= channel.capacity and not channel._closed:
                await channel._change()
            channel._values.append(value)
            channel._changed.set()
        channel._notify()

    async def prepare_commit(self, checkpoint_id: int) -> list[Committable]:
        return []

    async def close(self) -> None:
        pass


def channel(capacity: int = 1024, type: Any = None) -> Channel[Any]:
    """A channel between a job and the program around it, on one event loop.

    As a source: `await channel.send(value)`, and `await channel.close()` for the end of the stream. It is not
    replayable: what the job took since its last checkpoint is lost when the job restarts (at most once). As a sink:
    `async for value in channel`; values come as they are written, and come again after a restart (at least once).
    The iteration ends after `close()`, which the program calls when the job has ended.

    Args:
        capacity: how many records may wait; beyond that the writing side waits.
        type: the type of the records, where typed keys or `map_async` need it.
    """
    return Channel(capacity, type)
