"""What the coordinator answers: every row that the sink relies on, asked of a real broker."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Callable

import pytest
from tidegate.connectors import SinkError
from tidegate.connectors.kafka.transactions import Described, Ended, FencedProducerError, ProducerId, Transactions

from .sinks import Asking


@pytest.fixture
async def transactions(kafka_servers: str) -> AsyncIterator[Transactions]:
    """A connection without a producer."""
    async with Asking(kafka_servers) as asking:
        yield asking.transactions


@pytest.fixture
def name() -> str:
    """A transactional id of the test's own."""
    return f"id-{secrets.token_hex(6)}"


@pytest.fixture
def place(new_topic: Callable[..., str]) -> tuple[str, int]:
    """A partition of the test's own."""
    return new_topic(), 0


async def _state(transactions: Transactions, name: str) -> Described:
    return (await transactions.describe([name]))[name]


async def test_an_id_that_was_never_used_begins_with_fence_0(transactions, name):
    """And the broker knows it from then on."""
    assert await transactions.describe([name]) == {}
    producer = await transactions.take_over(name, 60_000)
    assert producer.fence == 0
    assert await transactions.describe([name, name + "-other"]) == {name: Described("Empty", producer)}
    assert (await transactions.list())[name] == "Empty"


async def test_anybody_may_commit_and_once_more_is_no_harm(kafka_servers, transactions, name, place):
    """An open transaction is committed by another connection, which knows id, producer id and fence alone."""
    producer = await transactions.take_over(name, 60_000)
    await transactions.add(name, producer, [place])
    assert await _state(transactions, name) == Described("Ongoing", producer)
    async with Asking(kafka_servers) as other:
        for _ in range(3):
            assert await other.transactions.end(name, producer, commit=True) is Ended.DONE
    assert await _state(transactions, name) == Described("CompleteCommit", producer)


async def test_a_commit_is_complete_when_it_returns(transactions, name, new_topic):
    """Not merely decided: readers see the records now."""
    topic = new_topic(partitions=20)
    producer = await transactions.take_over(name, 60_000)
    await transactions.add(name, producer, [(topic, n) for n in range(20)])
    await transactions.end(name, producer, commit=True)
    assert (await _state(transactions, name)).state == "CompleteCommit"


async def test_an_abort_may_be_repeated_but_not_become_a_commit(transactions, name, place):
    """Nor can a commit become an abort."""
    producer = await transactions.take_over(name, 60_000)
    await transactions.add(name, producer, [place])
    assert [await transactions.end(name, producer, commit=False) for _ in range(2)] == [Ended.DONE] * 2
    assert await transactions.end(name, producer, commit=True) is Ended.UNKNOWN
    again = await transactions.renew(name, 60_000, producer)
    await transactions.add(name, again, [place])
    await transactions.end(name, again, commit=True)
    assert await transactions.end(name, again, commit=False) is Ended.UNKNOWN


async def test_an_empty_transaction_cannot_be_committed(transactions, name):
    """So the sink makes no committable without records."""
    producer = await transactions.take_over(name, 60_000)
    assert await transactions.end(name, producer, commit=True) is Ended.UNKNOWN


async def test_an_id_that_nobody_knows_cannot_be_committed(transactions, name):
    """A week after its last use, for instance."""
    assert await transactions.end(name, ProducerId(4711, 0), commit=True) is Ended.UNKNOWN


async def test_a_takeover_aborts_what_is_open_and_refuses_its_holder(transactions, name, place):
    """Whatever the old holder asks for: to add, to commit, to renew."""
    old = await transactions.take_over(name, 60_000)
    await transactions.add(name, old, [place])
    new = await transactions.take_over(name, 60_000)
    assert (new.id, new.fence > old.fence) == (old.id, True)
    assert await _state(transactions, name) == Described("Empty", new)
    assert await transactions.end(name, old, commit=True) is Ended.UNKNOWN
    with pytest.raises(FencedProducerError):
        await transactions.add(name, old, [place])
    with pytest.raises(FencedProducerError):
        await transactions.renew(name, 60_000, old)


async def test_renewing_raises_the_fence_once_however_often_it_is_asked(transactions, name, place):
    """The answer may get lost: asking again with the old fence gives the same new one."""
    first = await transactions.take_over(name, 60_000)
    await transactions.add(name, first, [place])
    await transactions.end(name, first, commit=True)
    second = await transactions.renew(name, 60_000, first)
    assert second == ProducerId(first.id, first.fence + 1)
    assert await transactions.renew(name, 60_000, first) == second
    assert await transactions.end(name, first, commit=True) is Ended.UNKNOWN


async def test_a_forgotten_id_is_renewed_as_a_new_one(transactions, name, place):
    """An id that lay unused for long goes on with another producer id."""
    producer = await transactions.renew(name, 60_000, ProducerId(4711, 3))
    assert (producer.id != 4711, producer.fence) == (True, 0)
    await transactions.add(name, producer, [place])


async def test_a_timeout_above_the_brokers_limit_is_refused(transactions, name):
    """The message names the broker's setting."""
    with pytest.raises(SinkError, match=r"transaction_timeout=1d is more .* raise their transaction\.max\.timeout\.ms"):
        await transactions.take_over(name, 86_400_000)


@pytest.mark.slow
async def test_adding_a_partition_that_there_is_not_names_the_topic(transactions, name):
    """It is waited for a little: brokers learn of topics one after the other."""
    producer = await transactions.take_over(name, 60_000)
    with pytest.raises(SinkError, match="topic 'no-such-topic' does not exist any more"):
        await transactions.add(name, producer, [("no-such-topic", 0)])


async def test_a_producer_without_transactions_gets_an_id(transactions):
    """Each one another."""
    first, second = await transactions.anonymous(), await transactions.anonymous()
    assert (first.id != second.id, first.fence, second.fence) == (True, 0, 0)
