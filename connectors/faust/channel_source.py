"""A channel or topic of a Faust app as a source."""

from __future__ import annotations

import asyncio
import secrets
from collections import deque
from collections.abc import Callable, Mapping
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final

from ..source import Fetch, Lag, Offset, Rejected, SourceContext, SourceError, Split
from .channel import described, reason
from .hand_over_queue import hand_over_queue

if TYPE_CHECKING:
    # The library: absolute imports never mean this package.
    from faust.types import AppT, ChannelT, EventT

_SPLIT: Final = "faust"
_RAW_LIMIT_BYTES: Final = 64 * 1024
_ACKS_AT_ONCE: Final = 500


def channel_source(
    channel: ChannelT[Any],
    *,
    type: Any = None,
    select: Callable[[EventT[Any]], Any] | None = None,
    capacity: int = 4096,
) -> ChannelSource:
    """Read what arrives in a channel or topic of a Faust app. Records have the timestamps of Faust's messages.

        orders = faust_app.topic("orders", value_type=Order)
        topology.source("orders", channel_source(orders))

    Make it before the app starts: it subscribes at once, and a running app notices a new topic only after 45 s. From
    then on it must be read: `capacity` events wait, then Faust waits, the agents that send into the channel included.

    A topic: an event is acknowledged when a checkpoint that contains it is complete, so whatever ends the process, Faust gives
    the others again; those that the restored checkpoint has already seen are left out. So the state counts every message once
    while its partitions stay with this process. Where Faust moves a partition to another worker, events without a checkpoint
    are seen by both: at least once.

    A channel has nothing behind it: what the restored checkpoint does not contain is lost with the process (at most once).

    A restart of the job alone loses nothing in either case: events are kept in memory until a checkpoint contains them.

    Args:
        channel: `app.channel()`, or `app.topic(...)` of an app that runs in this event loop.
        type: the type of the records, where typed keys or `map_async` need it.
        select: what of an event (`key`, `value`, `headers`, `message`) becomes the record; None for its value. What it raises
            makes the event a rejected record, as undecodable payloads of a topic are.
        capacity: how many events may wait to be read.

    Raises:
        ValueError: this is no channel or topic, or the capacity is below one.
    """
    return ChannelSource(channel, type, select, capacity)


class ChannelSource:
    """See `channel_source`. Holds the events between Faust and the job, so it belongs to one job at a time."""

    bounded = False
    finds_splits = False
    replayable = False
    has_timestamps = True
    poll_interval_ms = 100

    def __init__(
        self, channel: ChannelT[Any], type: Any, select: Callable[[EventT[Any]], Any] | None, capacity: int
    ) -> None:
        self.type = type
        self.capacity = capacity
        self._label, self._is_topic = described(channel, "channel_source")
        if capacity < 1:
            raise ValueError(f"faust.channel_source({self._label}, capacity={capacity}): at least 1")
        self._select: Callable[[Any], Any] = attrgetter("value") if select is None else select
        self._app: AppT = channel.app
        self._run = secrets.token_hex(8)  # offsets of another one count other events
        self._reader: ChannelReader | None = None
        self._closed = False
        self._taken = 0
        self._acknowledged = 0
        self._highest: dict[tuple[str, int], int] = {}
        self._held: deque[tuple[int, Any]] = deque()
        self._again: deque[Any] = deque()
        self._queue: Any = hand_over_queue(self._app if self._is_topic else None, capacity, self._arrived)
        self._subscription = self._subscribe(channel)

    def close(self) -> None:
        """No more records: the job sees the end of the stream after what waits now. Faust never waits for this source again;
        what arrives later is dropped, and of a topic not acknowledged. May be called twice."""
        self._closed = True
        self._queue.end()
        self._arrived()

    async def discover(self, context: SourceContext, known: frozenset[str]) -> list[Split]:
        return [] if _SPLIT in known else [Split(_SPLIT)]

    def reader(self, context: SourceContext) -> ChannelReader:
        return ChannelReader(self, context)

    def describe(self) -> str:
        kept = "at least once" if self._is_topic else "lost with the process"
        return f"faust.channel_source({self._label}) (not replayable, {kept})"

    def _subscribe(self, channel: Any) -> Any:
        subscription: Any = channel.clone_using_queue(self._queue)
        if self._is_topic:
            decode = subscription.decode

            async def decode_or_reject(message: Any, *, propagate: bool = False) -> Any:
                from faust.exceptions import KeyDecodeError, ValueDecodeError

                try:
                    return await decode(message, propagate=True)
                except (KeyDecodeError, ValueDecodeError) as error:
                    return self._app.create_event(None, _rejected(message, error), message.headers, message)

            async def reject(error: Exception, message: Any) -> None:
                # Another subscriber of the topic failed first, and Faust has acknowledged the message for all.
                self._queue.force_put_nowait(_rejected(message, error))

            subscription.decode = decode_or_reject
            subscription.on_key_decode_error = subscription.on_value_decode_error = reject
            # Faust gives events decoded for one subscriber to all of the same types: not this one's rejects.
            subscription.value_type = self
            self._app.topics.add(subscription)
        return subscription

    def _arrived(self) -> None:
        if self._reader is not None:
            self._reader.context.wake()

    # ------------------------------------------------------ for the reader

    def _open(self, reader: ChannelReader, offset: Offset | None) -> None:
        if self._reader is not None:
            raise SourceError(
                f"faust source {self._label}: it is being read already; make a channel_source of its own for each job",
                retriable=False,
            )
        taken = 0
        if offset is not None and offset["run"] == self._run:
            taken = offset["taken"]
            if taken < self._acknowledged:
                raise SourceError(
                    f"faust source {self._label}: the restored checkpoint is older than what Faust was told is done: "
                    f"{self._acknowledged - taken} events behind it will not come again; to go on without them, "
                    "start the job with a new channel_source",
                    retriable=False,
                )
            self._taken = taken
        again = [item for n, item in self._held if n > taken]
        self._held = deque((n, item) for n, item in self._held if n <= taken)
        self._again.extendleft(reversed(again))
        self._highest = {} if offset is None else _positions(offset["highest"])
        self._reader = reader

    def _read(self, limit: int, now_ms: int) -> Fetch[Any]:
        positions: list[Any] = []
        fetch: Fetch[Any] = Fetch([], None, timestamps=[], positions=positions)
        for _ in range(limit):
            item = self._next()
            if item is None:
                break
            self._taken += 1
            self._held.append((self._taken, item))
            if isinstance(item, Rejected):
                fetch.rejected.append(item)
                continue
            message = getattr(item, "message", None)
            position: Any = self._taken
            if self._is_topic and message is not None:
                tp, offset = message.tp, message.offset
                if offset <= self._highest.get(tp, -1):
                    continue  # Faust gives it again, and the state has it; it is held to be acknowledged
                self._highest[tp] = offset
                position = [*tp, offset]
            self._decode(fetch, positions, item, message, position, now_ms)
        fetch.offset = {
            "run": self._run,
            "taken": self._taken,
            "highest": {f"{topic}/{partition}": offset for (topic, partition), offset in self._highest.items()},
        }
        fetch.end = self._closed and not self._again and self._queue.empty()
        if not fetch.values and not fetch.end:
            self._check_app()
        return fetch

    def _next(self) -> Any:
        """The next event that waits; None when there is none."""
        if self._again:
            return self._again.popleft()
        app, queue = self._app, self._queue
        while not queue.empty():
            if not self._is_topic:
                return queue.get_nowait()
            if not app.flow_control.is_active():
                break  # partitions are moving; what waits here comes again to whom it belongs
            item = queue.get_nowait()
            if isinstance(item, Rejected) or item.message.generation_id == app.consumer_generation_id:
                return item
        return None

    def _decode(
        self, fetch: Fetch[Any], positions: list[Any], item: Any, message: Any, position: Any, now_ms: int
    ) -> None:
        if message is None:
            value, timestamp = item, None  # put into the channel without an event around it
        elif isinstance(item.value, Rejected):
            fetch.rejected.append(item.value)
            return
        else:
            timestamp = message.timestamp
            try:
                value = self._select(item)
            except Exception as error:
                why = f"select: {error.__class__.__name__}: {error}"
                raw = message.value if isinstance(message.value, bytes) else repr(message.value).encode()
                fetch.rejected.append(Rejected(raw[:_RAW_LIMIT_BYTES], why, position))
                return
        fetch.values.append(value)
        positions.append(position)
        assert fetch.timestamps is not None
        fetch.timestamps.append(round(timestamp * 1000) if timestamp else now_ms)

    def _check_app(self) -> None:
        app: Any = self._app
        if app.crashed:
            raise SourceError(
                f"faust source {self._label}: the Faust app {app.conf.id!r} has crashed: {app.crash_reason!r}; "
                "start the process again",
                retriable=False,
            )

    async def _acknowledge(self, offset: Offset) -> None:
        if offset is None or offset["run"] != self._run:
            return
        done = self._acknowledged = max(self._acknowledged, offset["taken"])
        acks = 0
        while self._held and self._held[0][0] <= done:
            _, item = self._held.popleft()
            # An event in a channel is acknowledged by whoever put it there.
            if self._is_topic and not isinstance(item, Rejected):
                item.ack()
                acks += 1
                if acks % _ACKS_AT_ONCE == 0:
                    await asyncio.sleep(0)


class ChannelReader:
    """Takes events out of the queue that Faust fills. The offset counts them and leads back within the process; it also
    notes the highest Kafka offset taken of each partition."""

    def __init__(self, source: ChannelSource, context: SourceContext) -> None:
        self.context = context
        self._source = source

    async def open(self, split: Split, offset: Offset | None) -> None:
        self._source._open(self, offset)

    async def read(self, split_id: str, limit: int) -> Fetch[Any]:
        return self._source._read(limit, self.context.now_ms())

    def lag(self, split_id: str) -> Lag | None:
        return Lag(records=self._source._queue.qsize() + len(self._source._again))

    async def checkpointed(self, offsets: Mapping[str, Offset]) -> None:
        """Acknowledge to Faust what the checkpoint contains; Faust commits it in its own time."""
        await self._source._acknowledge(offsets.get(_SPLIT))

    async def close(self) -> None:
        if self._source._reader is self:
            self._source._reader = None


def _rejected(message: Any, error: Exception) -> Rejected:
    raw = message.value if message.value is not None else b""
    return Rejected(raw[:_RAW_LIMIT_BYTES], reason(error), [message.topic, message.partition, message.offset])


def _positions(highest: Mapping[str, int]) -> dict[tuple[str, int], int]:
    found = {}
    for name, offset in highest.items():
        topic, _, partition = name.rpartition("/")
        found[topic, int(partition)] = offset
    return found
