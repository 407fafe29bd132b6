"""Channels of real Faust apps, read by streams of theirs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tidegate.connectors import SinkError
from tidegate.connectors.faust import channel_sink
from tidegate.engine.testing.connector_suites import SinkSuite
from tidegate.engine.testing.contexts import ManualSinkContext
from tidegate.operators.batch import Batch

from .apps import Total, new_app, turns, waiting


class TestChannelSink(SinkSuite):
    """The contract of at-least-once sinks, held by a channel that a stream reads."""

    @pytest.fixture(autouse=True)
    def _place(self, app: Any) -> None:
        self._channel = app.channel()
        self._stream = aiter(self._channel)
        self._seen: list[Any] = []

    def sink(self) -> Any:
        return channel_sink(self._channel)

    def visible(self) -> list[Any]:
        self._seen += waiting(self._stream)
        return self._seen


async def test_a_channel_gets_key_value_and_event_time(app: Any) -> None:
    """The key from a field or a function, the record as it is unless `value` makes something else of it."""
    channel = app.channel()
    stream = aiter(channel)
    batch = Batch([Total("a", 1)], timestamps=[2500])
    for sink in (
        channel_sink(channel, key="key", timestamp="event_time"),
        channel_sink(channel, key=lambda record: record.total, value=lambda record: record.key),
    ):
        writer = sink.writer(ManualSinkContext())
        await writer.open()
        await writer.write(batch)
        await writer.close()
    first, second = [stream.queue.get_nowait() for _ in range(2)]
    assert (first.key, first.value, first.message.timestamp) == ("a", Total("a", 1), 2.5)
    assert (second.key, second.value) == (1, "a")


async def test_writing_waits_while_the_reader_of_a_channel_is_behind(app: Any) -> None:
    """Backpressure reaches the topology."""
    channel = app.channel(maxsize=2)
    stream = aiter(channel)
    writer = channel_sink(channel).writer(ManualSinkContext())
    async with asyncio.TaskGroup() as group:
        writing = group.create_task(writer.write(Batch([1, 2, 3, 4])))
        await turns()
        assert not writing.done()
        got = waiting(stream)
        await turns()
        got += waiting(stream)
    assert got == [1, 2, 3, 4]


async def test_a_channel_that_nobody_reads_is_waited_for_then_named(app: Any) -> None:
    """Faust would drop the records; the job fails with the remedy instead."""
    channel = app.channel()
    context = ManualSinkContext()
    writer = channel_sink(channel, wait_for_subscriber=1).writer(context)
    with pytest.raises(SinkError, match="nobody has read the channel for 1 s"):
        await writer.write(Batch([1]))
    stream = aiter(channel)
    await writer.write(Batch([2]))
    assert (waiting(stream), context.time_ms) == ([2], 1000)


@pytest.mark.parametrize(
    ("end", "message"),
    [
        (lambda app: app._stopped.set(), "has stopped; stop the job before the app"),
        (lambda app: app._crash(RuntimeError("boom")), r"has crashed: RuntimeError\('boom'\)"),
    ],
    ids=["stopped", "crashed"],
)
async def test_an_app_that_has_ended_takes_nothing(app: Any, end: Callable[[Any], None], message: str) -> None:
    """The job fails at once and is not restarted."""
    writer = channel_sink(app.topic("totals")).writer(ManualSinkContext())
    end(app)
    with pytest.raises(SinkError, match=message) as caught:
        await writer.write(Batch([1]))
    assert not caught.value.retriable


async def test_an_app_with_transactions_of_its_own_is_refused(tmp_path: Path) -> None:
    """Its transactions do not end with checkpoints, so nothing could be promised."""
    app = new_app(tmp_path, processing_guarantee="exactly_once")
    with pytest.raises(SinkError, match=r"write with kafka\.sink"):
        await channel_sink(app.topic("totals")).writer(ManualSinkContext()).open()


async def test_event_time_that_is_not_there_is_an_error(app: Any) -> None:
    """The remedy is at the source."""
    channel = app.channel()
    stream = aiter(channel)
    writer = channel_sink(channel, timestamp="event_time").writer(ManualSinkContext())
    with pytest.raises(SinkError, match="give the source event_time="):
        await writer.write(Batch([1]))
    assert waiting(stream) == []


async def test_a_key_that_a_record_does_not_have_is_an_error(app: Any) -> None:
    """It is named, and trying again is no use."""
    channel = app.channel()
    stream = aiter(channel)
    writer = channel_sink(channel, key="account").writer(ManualSinkContext())
    with pytest.raises(SinkError, match=r"a record cannot be sent: .*account") as caught:
        await writer.write(Batch([{"amount": 1}]))
    assert (caught.value.retriable, waiting(stream)) == (False, [])
