"""A channel or topic of a Faust app as a sink."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from operator import attrgetter, itemgetter
from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec

from ...operators.batch import Batch
from ..sink import AtLeastOnce, Committable, SinkContext, SinkError
from .channel import described, reason

if TYPE_CHECKING:
    # The library: absolute imports never mean this package.
    from faust.types import ChannelT

Timestamp = Literal["event_time"] | None

_SUBSCRIBER_POLL_S: Final = 0.02


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
        self._label, is_topic = described(channel, "channel_sink")
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
                raise sink.error(f"a record cannot be sent: {reason(error)}", retriable=not wrong) from error
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
            raise self._sink.error(f"the broker did not take a record: {reason(error)}") from error

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
