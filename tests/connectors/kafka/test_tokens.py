"""The ledger: what became of transactions that no longer say so themselves."""

from __future__ import annotations

import asyncio
import secrets

import pytest
from tidegate.connectors import SinkError
from tidegate.connectors.kafka.tokens import PARTITION, History, Ledger, Raw, Start, Token, as_raw

from .sinks import Asking


def _token(checkpoint: int, slot: int = 0, attempt: int = 1, prefix: str = "p") -> Token:
    return Token(prefix, f"{prefix}-a{attempt}-s0-{slot}", 7, checkpoint, checkpoint, attempt, 0)


def _history(*batches: Raw) -> History:
    history = History("p")
    for batch in batches:
        history.add(batch)
    return history


COMMIT, ABORT = Raw(7, True, ()), Raw(7, False, ())


def test_a_token_counts_when_its_transaction_is_committed():
    """Committed, aborted, open, or never seen."""
    token = as_raw([(5, _token(1))], producer_id=7)
    name = _token(1).transactional_id
    assert _history(token, COMMIT).committed(name, 5) is True
    assert _history(token, ABORT).committed(name, 5) is False
    assert _history(token).committed(name, 5) is None
    assert _history().committed(name, 5) is False
    assert _history(token, Raw(8, True, ())).committed(name, 5) is None


def test_a_later_token_of_the_same_id_proves_the_earlier_commit():
    """An id is used again only after its transaction was committed, so what compaction has removed is not missed."""
    later = as_raw([(9, _token(4))], producer_id=7)
    name = _token(1).transactional_id
    assert _history(later, COMMIT).committed(name, 5) is True
    assert _history(later, COMMIT).committed(name, 10) is False
    assert _history(later, ABORT).committed(name, 5) is False


def test_tokens_of_other_sinks_are_not_looked_at():
    """Many jobs share a ledger."""
    foreign = as_raw([(1, _token(50, prefix="p2")), (2, _token(60, prefix="other"))], producer_id=7)
    assert _history(foreign, COMMIT).newer_than(0) is None


def test_newer_output_is_what_is_committed_after_the_checkpoint():
    """The newest is named; aborted and open transactions are none."""
    first, second = as_raw([(1, _token(3))], 7), as_raw([(3, _token(4, slot=1))], 7)
    third = as_raw([(5, _token(5, slot=2))], 7)
    history = _history(first, COMMIT, second, COMMIT, third)
    assert [history.newer_than(n) for n in (0, 3, 4)] == [4, 4, None]
    history.add(ABORT)
    assert history.newer_than(4) is None


def test_a_start_accepts_what_was_visible_before_it():
    """What lies behind a start is repeated by permission; it does not count as newer at the next one."""
    token = as_raw([(1, _token(57))], 7)
    start = as_raw([(3, Start("p", 1, 2, 0))])
    again = as_raw([(4, _token(2, slot=1))], 7)
    assert _history(token, COMMIT, start).newer_than(0) is None
    assert _history(token, COMMIT, start, again, COMMIT).newer_than(0) == 2
    assert _history(token, COMMIT, as_raw([(3, Start("p", 2, 2, 57))])).newer_than(50) == 57


def test_a_start_fences_those_before_it():
    """A late start of an older attempt does not make a newer one forgotten; one from nothing fences all."""

    def starts(*found: tuple[int, int]) -> dict[int, int]:
        entries = [(n, Start("p", attempt, 4, restored)) for n, (attempt, restored) in enumerate(found)]
        return _history(as_raw(entries)).unfenced()

    assert starts((1, 0)) == {1: 4}
    assert starts((1, 0), (2, 5), (3, 9)) == {3: 4}
    assert starts((1, 0), (6, 5), (5, 5)) == {6: 4, 5: 4}
    assert starts((1, 0), (6, 5), (5, 5), (7, 6)) == {7: 4}
    assert starts((1, 0), (6, 5), (1, 0)) == {1: 4}


def test_bytes_that_are_no_entry_are_passed_over():
    """Somebody's mistake in the topic stops nobody."""
    history = _history(Raw(-1, None, ((0, b"token:p-a1-s0-0", b"{"), (1, b"start:p-a1", b'{"kind":"x"}'))))
    assert (history.newer_than(0), history.unfenced()) == (None, {})


async def test_the_ledger_reads_past_the_open_transactions_of_others(kafka_servers):
    """A committed token is found behind one whose transaction is still open: a reader of committed records would wait."""
    topic, prefix = f"ledger-{secrets.token_hex(4)}", f"p{secrets.token_hex(4)}"
    async with Asking(kafka_servers) as asking:
        ledger = Ledger(asking.cluster, topic, prefix, asyncio.sleep, 30_000)
        await ledger.ensure()
        await ledger.ensure()
        open_, done = f"{prefix}-a1-s0-0", f"{prefix}-a1-s1-0"
        producers = {name: await asking.transactions.take_over(name, 60_000) for name in (open_, done)}
        offsets = {}
        for name, producer in producers.items():
            await asking.transactions.add(name, producer, [(topic, PARTITION)])
            token = Token(prefix, name, producer.id, producer.fence, 1, 1, 0)
            offsets[name] = await asking.write_token(topic, token)
        await asking.transactions.end(done, producers[done], commit=True)
        history = await ledger.read(through=offsets[done])
        assert [history.committed(name, offsets[name]) for name in (open_, done)] == [None, True]
        await asking.transactions.end(open_, producers[open_], commit=False)
        assert (await ledger.read()).committed(open_, offsets[open_]) is False
        await ledger.write(Start(prefix, 2, 3, 1), 0)
        assert (await ledger.read()).unfenced() == {2: 3}
        with pytest.raises(SinkError, match="the topic was deleted or emptied"):
            await ledger.read(through=1000)
