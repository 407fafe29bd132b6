"""The memory connector: lists and channels."""

import asyncio

import pytest
from tidegate.connectors import SinkError, Split, memory
from tidegate.engine.testing.connector_suites import SinkSuite, SourceSuite
from tidegate.engine.testing.contexts import ManualSinkContext, ManualSourceContext
from tidegate.operators.batch import Batch


class TestListSource(SourceSuite):
    """The contract of sources, held by a list."""

    def source(self):
        return memory.source([1, 2, 3, 4, 5, 6, 7], splits=2)

    def expected(self):
        return {"0": [1, 3, 5, 7], "1": [2, 4, 6]}


class TestEmptyListSource(SourceSuite):
    """An empty list has one split that ends at once."""

    def source(self):
        return memory.source([])

    def expected(self):
        return {"0": []}


class TestListSink(SinkSuite):
    """The contract of exactly-once sinks, held by a list."""

    def setup_method(self):
        self._sink = memory.sink()

    def sink(self):
        return self._sink

    def visible(self):
        return self._sink.values


class TestChannelSink(SinkSuite):
    """The contract of at-least-once sinks, held by a channel."""

    def setup_method(self):
        self._channel = memory.channel()
        self._seen = []

    def sink(self):
        return self._channel

    def visible(self):
        while self._channel._values:
            self._seen.append(self._channel._values.popleft())
        return self._seen


async def test_a_split_that_is_gone_is_a_clear_error():
    """A resume with fewer splits than before says so."""
    reader = memory.source([1]).reader(ManualSourceContext())
    with pytest.raises(Exception, match="split 3 is not there any more"):
        await reader.open(Split("3"), 0)


async def test_a_committable_of_another_process_cannot_be_committed():
    """A memory sink says that its records died with the process."""
    with pytest.raises(SinkError, match="does not outlive its process"):
        await memory.sink().commit(ManualSinkContext(), [{"name": "1-0-1", "checkpoint_id": 1}])


async def _open(channel):
    context = ManualSourceContext()
    (split,) = await channel.discover(context, frozenset())
    reader = channel.reader(context)
    await reader.open(split, None)
    return reader, split, context


async def test_sent_records_are_read_and_close_ends_the_stream():
    """What is sent comes out in order; the end comes after the last record."""
    channel = memory.channel()
    reader, split, context = await _open(channel)
    assert (await reader.read(split.id, 10)).values == []
    for value in "abc":
        await channel.send(value)
    assert context.wakes == 3
    fetch = await reader.read(split.id, 2)
    assert (fetch.values, fetch.offset, fetch.end) == (["a", "b"], 2, False)
    await channel.close()
    fetch = await reader.read(split.id, 2)
    assert (fetch.values, fetch.end) == (["c"], True)
    await reader.close()


async def test_send_waits_while_the_channel_is_full():
    """Backpressure: the sender goes on when a record was taken."""
    channel = memory.channel(capacity=1)
    reader, split, _ = await _open(channel)
    await channel.send(1)
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(channel.send(2))
        for _ in range(5):
            await asyncio.sleep(0)
        assert not waiting.done()
        assert (await reader.read(split.id, 10)).values == [1]
    assert (await reader.read(split.id, 10)).values == [2]


async def test_many_senders_and_one_reader_lose_nothing():
    """Waiting senders all get their turn."""
    channel = memory.channel(capacity=2)
    reader, split, _ = await _open(channel)
    got = []
    async with asyncio.TaskGroup() as group:
        for i in range(20):
            group.create_task(channel.send(i))
        while len(got) < 20:
            got += (await reader.read(split.id, 3)).values
            await asyncio.sleep(0)
    assert sorted(got) == list(range(20))


async def test_send_after_close_is_an_error():
    """A closed channel takes nothing more."""
    channel = memory.channel()
    await channel.close()
    await channel.close()
    with pytest.raises(ValueError, match="closed"):
        await channel.send(1)


async def test_a_job_writes_and_the_program_iterates():
    """As a sink, a channel hands each value to `async for` and holds the writer back when it is full."""
    channel = memory.channel(capacity=2)
    writer = channel.writer(ManualSinkContext())
    await writer.open()
    got = []

    async def consume():
        got.extend([value async for value in channel])

    async with asyncio.TaskGroup() as group:
        group.create_task(consume())
        await writer.write(Batch([1, 2, 3, 4, 5]))
        await writer.close()
        await channel.close()
    assert got == [1, 2, 3, 4, 5]


async def test_writing_into_a_closed_channel_fails_the_job():
    """The writer does not wait for a reader that has gone."""
    channel = memory.channel(capacity=1)
    await channel.close()
    with pytest.raises(SinkError, match="closed"):
        await channel.writer(ManualSinkContext()).write(Batch([1]))


@pytest.mark.parametrize("make", [lambda: memory.source([], splits=0), lambda: memory.channel(capacity=0)])
def test_wrong_settings_are_refused(make):
    """A count below one is an error at once."""
    with pytest.raises(ValueError, match="at least 1"):
        make()
