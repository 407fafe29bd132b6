"""The bridge to faust-streaming: a channel or topic of a Faust app as a source or a sink, in one process and one event loop.

Faust keeps what it is good at: the consumer group, its agents, its serializers. A topology takes a stream from it, computes
with checkpointed state, and hands results back. What a topology can read from Kafka itself, `kafka.source` reads faster
and exactly once; this is for what a Faust app has in its hands.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from operator import attrgetter, itemgetter
from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec

from ..operators.batch import Batch
from .sink import AtLeastOnce, Committable, SinkContext, SinkError
from .source import Fetch, Lag, Offset, Rejected, SourceContext, SourceError, Split

if TYPE_CHECKING:
    # The library: absolute imports never mean this module.
    from faust.types import AppT, ChannelT, EventT

Timestamp = Literal["event_time"] | None

_SPLIT: Final = "faust"
_RAW_LIMIT_BYTES: Final = 64 * 1024
_ACKS_AT_ONCE: Final = 500
_SUBSCRIBER_POLL_S: Final = 0.02


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


def channel_sink(
    channel: ChannelT[Any],
    *,
    key: str | Callable[[Any], Any] | None = None,
    value: Callable[[Any], Any] | None = None,
    timestamp: Timestamp = None,
    max_in_flight: int = 1000,
    wait_for_subscriber: float = 30.0,
) -> ChannelSink:
    """Hand records to a channel or topic of a Faust app, at least once.

        topology....sink("totals", channel_sink(faust_app.topic("totals"), key="account"))

    A topic: a checkpoint completes when the broker has confirmed everything before it. After a restart what was sent since
    the last checkpoint is sent again.

    A channel: a record is handed over when it is in the queue of every agent and stream that reads the channel; a full one
    makes the topology wait. What happens to it then is Faust's, and it is gone with the process. Faust drops what is sent
    into a channel that nobody reads, so the sink waits for a reader.

    Args:
        channel: `app.channel()`, or `app.topic(...)` of an app that runs in this event loop.
        key: a field's name, or value -> key, written by the topic's key serializer.
        value: record -> what is sent, written by the topic's value serializer. None sends the record; into a topic a
            `msgspec.Struct`, as windows and aggregations give, goes as a dict.
        timestamp: `"event_time"` sends the event time of each record, None the time of sending.
        max_in_flight: how many sends may wait for the broker before the topology waits.
        wait_for_subscriber: seconds that a channel may be without a reader before the job fails.

    Raises:
        ValueError: this is no channel or topic, or a limit is below one.
    """
    return ChannelSink(channel, key, value, timestamp, max_in_flight, wait_for_subscriber)


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
        self._label, self._is_topic = _described(channel, "channel_source")
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
        self._queue: Any = _queue(self._app if self._is_topic else None, capacity, self._arrived)
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
                reason = f"select: {error.__class__.__name__}: {error}"
                raw = message.value if isinstance(message.value, bytes) else repr(message.value).encode()
                fetch.rejected.append(Rejected(raw[:_RAW_LIMIT_BYTES], reason, position))
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


class ChannelSink(AtLeastOnce):
    """See `channel_sink`."""

    def __init__(
        self,
        channel: ChannelT[Any],
        key: str | Callable[[Any], Any] | None,
        value: Callable[[Any], Any] | None,
        timestamp: Timestamp,
        max_in_flight: int,
        wait_for_subscriber: float,
    ) -> None:
        self._label, is_topic = _described(channel, "channel_sink")
        if max_in_flight < 1:
            raise ValueError(f"faust.channel_sink({self._label}, max_in_flight={max_in_flight}): at least 1")
        self.channel: Any = channel
        self.is_topic = is_topic
        self.key_of = _reader_of(key)
        self.value_of = value if value is not None else _sendable if is_topic else None
        self.event_time = timestamp == "event_time"
        self.max_in_flight = max_in_flight
        self.wait_for_subscriber = wait_for_subscriber

    def writer(self, context: SinkContext) -> ChannelWriter:
        return ChannelWriter(self, context)

    def describe(self) -> str:
        return f"faust.channel_sink({self._label}) (at least once)"

    def error(self, what: str, *, retriable: bool = True) -> SinkError:
        """A failure that names this sink."""
        return SinkError(f"faust sink {self._label}: {what}", retriable=retriable)


class ChannelWriter:
    """Sends records one by one and keeps what the broker has not confirmed."""

    def __init__(self, sink: ChannelSink, context: SinkContext) -> None:
        self._sink = sink
        self._context = context
        self._in_flight: deque[asyncio.Future[Any]] = deque()

    async def open(self) -> None:
        conf = self._sink.channel.app.conf
        if self._sink.is_topic and conf.processing_guarantee.value == "exactly_once":
            raise self._sink.error(
                'the Faust app has processing_guarantee="exactly_once": its transactions end when Faust wants it, not with '
                "our checkpoints; write with kafka.sink, which is exactly once",
                retriable=False,
            )

    async def write(self, batch: Batch[Any]) -> None:
        sink = self._sink
        self._check_app()
        if not sink.is_topic:
            await self._wait_for_subscriber()
        if sink.event_time and batch.timestamps is None:
            raise sink.error(
                'timestamp="event_time", but the stream has no event time: give the source event_time=', retriable=False
            )
        channel, key_of, value_of, in_flight = sink.channel, sink.key_of, sink.value_of, self._in_flight
        times: Iterable[float | None] = (
            [ms / 1000 for ms in batch.timestamps or ()] if sink.event_time else [None] * len(batch)
        )
        for record, time in zip(batch.values, times, strict=True):
            try:
                key = None if key_of is None else key_of(record)
                value = record if value_of is None else value_of(record)
                # What `channel.send` does, but for its putting the send off until a source message is committed.
                sent = channel.as_future_message(key, value, timestamp=time)
                await channel.publish_message(sent)
            except Exception as error:
                wrong = isinstance(error, TypeError | ValueError | AttributeError | LookupError)
                raise sink.error(f"a record cannot be sent: {_reason(error)}", retriable=not wrong) from error
            if sink.is_topic:
                in_flight.append(sent)
                if len(in_flight) >= sink.max_in_flight:
                    await self._confirm(in_flight.popleft())

    async def prepare_commit(self, checkpoint_id: int) -> list[Committable]:
        while self._in_flight:
            await self._confirm(self._in_flight.popleft())
        return []

    async def close(self) -> None:
        for sent in self._in_flight:
            sent.add_done_callback(_seen)
        self._in_flight.clear()

    async def _confirm(self, sent: asyncio.Future[Any]) -> None:
        try:
            await sent
        except Exception as error:
            raise self._sink.error(f"the broker did not take a record: {_reason(error)}") from error

    def _check_app(self) -> None:
        app = self._sink.channel.app
        if app.crashed:
            raise self._sink.error(
                f"the Faust app {app.conf.id!r} has crashed: {app.crash_reason!r}; start the process again",
                retriable=False,
            )
        if app.should_stop:
            raise self._sink.error(
                f"the Faust app {app.conf.id!r} has stopped; stop the job before the app", retriable=False
            )

    async def _wait_for_subscriber(self) -> None:
        waited = 0.0
        while not self._sink.channel.subscriber_count:
            if waited >= self._sink.wait_for_subscriber:
                raise self._sink.error(
                    f"nobody has read the channel for {waited:.0f} s, and Faust drops what nobody reads; "
                    "let an agent read it, and start the app"
                )
            waited += _SUBSCRIBER_POLL_S
            await self._context.sleep(_SUBSCRIBER_POLL_S)
            self._check_app()


def _described(channel: Any, function: str) -> tuple[str, bool]:
    """What a plan calls it, and whether it is a topic."""
    from faust.types import ChannelT, TopicT

    if not isinstance(channel, ChannelT):
        raise ValueError(f"faust.{function}({channel!r}): pass app.channel() or app.topic(...)")
    is_topic = isinstance(channel, TopicT)
    return (f"topic {channel}" if is_topic else "channel"), is_topic


def _queue(app: Any, capacity: int, arrived: Callable[[], None]) -> Any:
    """The queue that Faust puts events into. With an app it obeys its flow control, as any topic's queue must: when partitions
    move it is emptied, for Faust reads its messages again. Those of a channel are nowhere else."""
    from mode.utils.queues import FlowControlEvent, ThrowableQueue

    class HandOverQueue(ThrowableQueue[Any]):
        ended = False

        def end(self) -> None:
            """Let nobody wait; take nothing more."""
            self.ended = True
            self._maxsize = 0
            for resume in self._pending_pressure_drop_callbacks:
                resume()
            self._pending_pressure_drop_callbacks.clear()
            while self._putters:
                self._wakeup_next(self._putters)  # type: ignore[attr-defined]  # of asyncio.Queue

        def in_pressure_high_state(self, callback: Callable[[], None]) -> bool:
            return not self.ended and super().in_pressure_high_state(callback)

        def _put(self, item: Any) -> None:
            if not self.ended:
                super()._put(item)
                arrived()

    flow_control = FlowControlEvent(initially_suspended=False) if app is None else app.flow_control
    return HandOverQueue(capacity, flow_control=flow_control, clear_on_resume=app is not None)


def _rejected(message: Any, error: Exception) -> Rejected:
    raw = message.value if message.value is not None else b""
    return Rejected(raw[:_RAW_LIMIT_BYTES], _reason(error), [message.topic, message.partition, message.offset])


def _reason(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def _positions(highest: Mapping[str, int]) -> dict[tuple[str, int], int]:
    found = {}
    for name, offset in highest.items():
        topic, _, partition = name.rpartition("/")
        found[topic, int(partition)] = offset
    return found


def _reader_of(key: str | Callable[[Any], Any] | None) -> Callable[[Any], Any] | None:
    if not isinstance(key, str):
        return key
    of_dict, of_object = itemgetter(key), attrgetter(key)
    return lambda record: of_dict(record) if isinstance(record, dict) else of_object(record)


def _sendable(record: Any) -> Any:
    return msgspec.to_builtins(record) if isinstance(record, msgspec.Struct) else record


def _seen(sent: asyncio.Future[Any]) -> None:
    # Taking the result keeps asyncio from reporting a failure that nobody waits for any more.
    if not sent.cancelled():
        sent.exception()
