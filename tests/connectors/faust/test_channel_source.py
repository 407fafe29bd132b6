"""Channels of real Faust apps without a broker, and a topic's queue with messages put in by hand."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tidegate.connectors import SourceError
from tidegate.connectors.faust import channel_source

from .apps import close_consumer, new_app, opened, send_all, turns, waiting

# ------------------------------------------------------------ a channel as a source


async def test_events_come_with_their_timestamps_and_wake_the_job(app: Any) -> None:
    """A record is an event's value, its event time the message's, in milliseconds."""
    channel = app.channel()
    source = channel_source(channel, type=str)
    reader, context = await opened(source)
    assert (await reader.read("faust", 10)).values == []
    await channel.send(key="k", value="a", timestamp=1.5)
    await channel.send(value="b", timestamp=2.0015)
    assert context.wakes == 2
    assert reader.lag("faust").records == 2  # type: ignore[union-attr]
    fetch = await reader.read("faust", 10)
    assert (fetch.values, fetch.timestamps, fetch.positions) == (["a", "b"], [1500, 2002], [1, 2])
    assert (fetch.end, source.type, source.has_timestamps, source.replayable) == (False, str, True, False)
    await reader.close()


async def test_a_value_without_an_event_comes_with_the_time_of_reading(app: Any) -> None:
    """What is put into a channel as it is, is a record too."""
    channel = app.channel()
    reader, _ = await opened(channel_source(channel))
    await channel.put("bare")
    fetch = await reader.read("faust", 10)
    assert (fetch.values, fetch.timestamps) == (["bare"], [7])


async def test_select_chooses_what_becomes_the_record(app: Any) -> None:
    """Keys and headers are there; what select raises costs its own record only."""
    channel = app.channel()
    reader, _ = await opened(channel_source(channel, select=lambda event: (event.key, 10 // event.value)))
    for value in (1, 0, 5):
        await channel.send(key=f"k{value}", value=value)
    fetch = await reader.read("faust", 10)
    assert fetch.values == [("k1", 10), ("k5", 2)]
    (bad,) = fetch.rejected
    assert (bad.raw, bad.position) == (b"0", 2)
    assert bad.reason == "select: ZeroDivisionError: integer division or modulo by zero"


async def test_senders_wait_while_the_queue_is_full(app: Any) -> None:
    """Backpressure reaches the agent that feeds the channel."""
    channel = app.channel()
    reader, _ = await opened(channel_source(channel, capacity=2))
    async with asyncio.TaskGroup() as group:
        sending = group.create_task(send_all(channel, range(5)))
        got: list[int] = []
        while len(got) < 5:
            await turns()
            assert not sending.done() or len(got) >= 3
            got += (await reader.read("faust", 1)).values
    assert got == [0, 1, 2, 3, 4]


async def test_close_ends_the_stream_and_lets_senders_go(app: Any) -> None:
    """What waits is still read, then the stream ends; nobody waits for a closed source."""
    channel = app.channel()
    source = channel_source(channel, capacity=2)
    reader, context = await opened(source)
    async with asyncio.TaskGroup() as group:
        group.create_task(send_all(channel, range(9)))
        await turns()
        source.close()
        source.close()
    assert context.wakes == 4
    first = await reader.read("faust", 1)
    second = await reader.read("faust", 9)
    assert [(first.values, first.end), (second.values, second.end)] == [([0], False), ([1], True)]


async def test_a_restarted_job_is_given_again_what_no_checkpoint_contains(app: Any) -> None:
    """Events stay in memory until `checkpointed`; a reader opened at an offset goes on behind it."""
    channel = app.channel()
    source = channel_source(channel)
    reader, _ = await opened(source)
    await send_all(channel, "abcde")
    first = await reader.read("faust", 2)
    await reader.read("faust", 2)
    await reader.checkpointed({"faust": first.offset})
    await reader.close()
    await channel.send(value="f")
    reader, _ = await opened(source, msgspec.json.decode(msgspec.json.encode(first.offset)))
    again = await reader.read("faust", 9)
    assert (again.values, again.positions) == (["c", "d", "e", "f"], [3, 4, 5, 6])
    await reader.close()
    reader, _ = await opened(source)  # a start from nothing: all that is still there
    anew = await reader.read("faust", 9)
    assert anew.values == ["c", "d", "e", "f"]
    await reader.checkpointed({"faust": anew.offset})
    assert list(source._held) == []


async def test_a_checkpoint_older_than_what_was_acknowledged_is_refused(app: Any) -> None:
    """Events that will not come again are missed loudly; a new source goes on without them."""
    channel = app.channel()
    source = channel_source(channel)
    reader, _ = await opened(source)
    await send_all(channel, "abc")
    old, new = await reader.read("faust", 1), await reader.read("faust", 2)
    await reader.checkpointed({"faust": new.offset})
    await reader.close()
    with pytest.raises(SourceError, match="older than what Faust was told is done: 2 events behind it") as caught:
        await opened(source, old.offset)
    assert not caught.value.retriable
    reader, _ = await opened(channel_source(channel), old.offset)
    assert (await reader.read("faust", 9)).values == []


async def test_a_source_belongs_to_one_job(app: Any) -> None:
    """A second reader is refused while the first is open."""
    source = channel_source(app.channel())
    reader, _ = await opened(source)
    with pytest.raises(SourceError, match="being read already"):
        await opened(source)
    await reader.close()
    await opened(source)


async def test_a_crashed_app_fails_the_job(app: Any) -> None:
    """What arrived before is read first."""
    channel = app.channel()
    reader, _ = await opened(channel_source(channel))
    await channel.send(value="last")
    app._crash(RuntimeError("an agent raised"))
    assert (await reader.read("faust", 9)).values == ["last"]
    with pytest.raises(SourceError, match=r"'bridge' has crashed: RuntimeError\('an agent raised'\)"):
        await reader.read("faust", 9)


# ------------------------------------------------------------ a topic as a source


class Delivered:
    """A topic source, and messages delivered to it as Faust's conductor does it."""

    def __init__(self, app: Any, **settings: Any) -> None:
        self.app = app
        self.topic = app.topic("orders", value_type=int, key_type=str)
        self.source = channel_source(self.topic, **settings)
        (self._subscription,) = app.topics
        app.topics.acking_topics.add("orders")

    def message(self, offset: int, payload: bytes, partition: int = 0) -> Any:
        from faust.types.tuples import ConsumerMessage

        generation = self.app.consumer_generation_id
        return ConsumerMessage("orders", partition, offset, 1.0, 1, None, b"k", payload, None, generation_id=generation)

    async def deliver(self, offset: int, payload: bytes, partition: int = 0) -> Any:
        message = self.message(offset, payload, partition)
        message.incref()
        event = await self._subscription.decode(message, propagate=True)
        self._subscription.queue.put_nowait_enhanced(
            value=event, on_pressure_high=lambda: None, on_pressure_drop=lambda: None
        )
        return message


async def test_an_event_is_acknowledged_when_a_checkpoint_contains_it(app: Any) -> None:
    """Neither when it is read, nor with the checkpoint before."""
    orders = Delivered(app)
    reader, context = await opened(orders.source)
    messages = [await orders.deliver(n, b"%d" % n) for n in (4, 5, 6)]
    first = await reader.read("faust", 2)
    await reader.read("faust", 2)
    assert (first.values, first.positions) == ([4, 5], [["orders", 0, 4], ["orders", 0, 5]])
    assert [message.acked for message in messages] == [False, False, False]
    await reader.checkpointed({"faust": first.offset})
    assert [message.acked for message in messages] == [True, True, False]
    assert context.wakes == 3


async def test_messages_that_faust_gives_again_are_seen_once(app: Any) -> None:
    """When partitions have moved, and after a restart of the process; the next checkpoint acknowledges the repeats."""
    orders = Delivered(app)
    reader, _ = await opened(orders.source)
    for offset in (0, 1):
        await orders.deliver(offset, b"%d" % offset)
    fetch = await reader.read("faust", 9)
    repeat = await orders.deliver(1, b"1")
    await orders.deliver(0, b"50", partition=1)
    assert (await reader.read("faust", 9)).values == [50]
    await reader.close()

    later = Delivered(new_app(Path(app.conf.datadir)))
    reader, _ = await opened(later.source, msgspec.json.decode(msgspec.json.encode(fetch.offset)))
    known = [await later.deliver(offset, b"%d" % offset) for offset in (0, 1)]
    await later.deliver(2, b"2")
    fetch = await reader.read("faust", 9)
    assert fetch.values == [2]
    assert [repeat.acked, *[message.acked for message in known]] == [False, False, False]
    await reader.checkpointed({"faust": fetch.offset})
    assert [message.acked for message in known] == [True, True]
    close_consumer(later.app)


async def test_a_start_from_nothing_takes_what_comes(app: Any) -> None:
    """Without a checkpoint there is nothing that was seen."""
    orders = Delivered(app)
    reader, _ = await opened(orders.source)
    await orders.deliver(0, b"0")
    assert (await reader.read("faust", 9)).values == [0]
    await reader.close()
    reader, _ = await opened(orders.source)
    await orders.deliver(1, b"1")
    assert (await reader.read("faust", 9)).values == [0, 1]


async def test_undecodable_payloads_are_rejected_records(app: Any) -> None:
    """One costs its neighbours nothing, says where it stands, and is acknowledged as they are."""
    orders = Delivered(app)
    reader, _ = await opened(orders.source)
    messages = [await orders.deliver(n, payload) for n, payload in enumerate((b"1", b"oops", b"3"))]
    fetch = await reader.read("faust", 9)
    (bad,) = fetch.rejected
    assert (fetch.values, bad.raw, bad.position) == ([1, 3], b"oops", ["orders", 0, 1])
    assert bad.reason.startswith("ValueDecodeError: ")
    assert [message.acked for message in messages] == [False, False, False]
    await reader.checkpointed({"faust": fetch.offset})
    assert [message.acked for message in messages] == [True, True, True]


class InOrder(set[Any]):
    """A set that is iterated over in a given order."""

    def __init__(self, *items: Any) -> None:
        super().__init__(items)
        self._items = items

    def __iter__(self) -> Iterator[Any]:
        return iter(self._items)


@pytest.mark.parametrize("ours_first", [True, False])
async def test_an_agent_of_the_same_topic_sees_no_rejected_record(app: Any, ours_first: bool) -> None:
    """Faust decodes once for subscribers of the same types; whoever comes first, the agent gets Faust's error, and the job
    a rejected record."""
    from faust.exceptions import ValueDecodeError
    from faust.transport.conductor import ConductorCompiler
    from faust.types import TP

    orders = Delivered(app)
    reader, _ = await opened(orders.source)
    ours, agents = orders._subscription, orders.topic.clone(is_iterator=True)
    channels = InOrder(ours, agents) if ours_first else InOrder(agents, ours)
    deliver = ConductorCompiler().build(app.topics, TP("orders", 0), channels)
    for offset, payload in enumerate((b"1", b"oops")):
        await deliver(orders.message(offset, payload))
    fetch = await reader.read("faust", 9)
    assert (fetch.values, [bad.raw for bad in fetch.rejected]) == ([1], [b"oops"])
    with pytest.raises(ValueDecodeError):
        agents.queue.get_nowait()
    assert waiting(agents) == [1]


async def test_nothing_is_taken_while_partitions_move(app: Any) -> None:
    """What waits then is dropped: Faust reads it again, for this process or another. What was taken stays."""
    orders = Delivered(app)
    reader, _ = await opened(orders.source)
    await orders.deliver(0, b"0")
    await orders.deliver(1, b"1")
    assert (await reader.read("faust", 1)).values == [0]
    app.flow_control.suspend()
    assert (await reader.read("faust", 9)).values == []
    app.flow_control.resume()
    app.consumer_generation_id += 1
    assert (await reader.read("faust", 9)).values == []
    await orders.deliver(0, b"0")
    await orders.deliver(1, b"1")
    assert (await reader.read("faust", 9)).values == [1]


async def test_a_message_of_an_old_assignment_is_passed_over(app: Any) -> None:
    """One that slipped through while partitions moved belongs to somebody else now, or comes again."""
    orders = Delivered(app)
    reader, _ = await opened(orders.source)
    stale = await orders.deliver(0, b"0")
    app.consumer_generation_id += 1
    await orders.deliver(1, b"1")
    fetch = await reader.read("faust", 9)
    await reader.checkpointed({"faust": fetch.offset})
    assert (fetch.values, stale.acked) == ([1], False)
