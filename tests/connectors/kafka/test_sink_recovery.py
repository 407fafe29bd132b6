"""Crashes, restarts and copies of a job: each record is seen once, or the engine is told why not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from tidegate.connectors import Committable, OutputLostError, SinkError, formats, kafka
from tidegate.connectors.kafka.kafka_sink import KafkaSink
from tidegate.connectors.kafka.slots import id_name

from .sinks import Asking, Batch, context, die, open_writer, read, until, until_ended, values, write_and_prepare


class Setting:
    """A sink, its topic, and what can be asked about them."""

    def __init__(self, servers: str, new_topic: Callable[..., str]) -> None:
        self.servers = servers
        self.topic = new_topic(partitions=2)

    def sink(self, **settings: Any) -> KafkaSink:
        given = {"format": formats.json(), "transactional_prefix": self.topic} | settings
        return kafka.sink(self.servers, self.topic, **given)

    def seen(self) -> list[Any]:
        return sorted(value["n"] for value in values(self.servers, self.topic))

    async def states(self) -> dict[str, str]:
        """The states of our transactional ids, without the prefix."""
        async with Asking(self.servers) as asking:
            found = await asking.transactions.list()
        return {
            name.removeprefix(self.topic): state for name, state in found.items() if name.startswith(f"{self.topic}-a")
        }

    async def fence(self, name: str) -> None:
        """Somebody takes an id over: what is open in it is aborted."""
        async with Asking(self.servers) as asking:
            await asking.transactions.take_over(name, 60_000)


@pytest.fixture
def setting(kafka_servers: str, new_topic: Callable[..., str]) -> Setting:
    """A place of the test's own."""
    return Setting(kafka_servers, new_topic)


def _records(*numbers: int) -> list[dict[str, int]]:
    return [{"n": n} for n in numbers]


async def test_a_prepared_transaction_is_committed_after_its_process_is_gone(setting):
    """A fresh client commits what a dead writer had prepared; what it had written since is aborted."""
    await setting.sink().recover(context(), None, [])
    writer = await open_writer(setting.sink(), context())
    prepared = await write_and_prepare(writer, _records(1, 2), 1)
    await writer.write(Batch(_records(3)))
    await die(writer)
    await setting.sink().recover(context(2), 1, prepared)
    assert setting.seen() == [1, 2]
    assert set((await setting.states()).values()) == {"Empty"}


@pytest.mark.slow
async def test_what_was_prepared_after_the_checkpoint_is_aborted(setting):
    """Prepared, but its manifest was never written: its records come again, so it must not be seen."""
    await setting.sink().recover(context(), None, [])
    writer = await open_writer(setting.sink(), context())
    first = await write_and_prepare(writer, _records(1), 1)
    await setting.sink().commit(context(), first)
    await write_and_prepare(writer, _records(2), 2)
    await write_and_prepare(writer, _records(3), 3)
    await die(writer)
    await setting.sink().recover(context(2), 1, first)
    assert setting.seen() == [1]
    writer = await open_writer(setting.sink(), context(2))
    again = await write_and_prepare(writer, _records(2, 3), 4)
    await setting.sink().commit(context(2), again)
    await writer.close()
    assert setting.seen() == [1, 2, 3]


async def test_a_crash_between_two_commits_of_one_checkpoint_is_repaired(setting):
    """One subtask's transaction was committed, the other's was not."""
    await setting.sink().recover(context(parallelism=2), None, [])
    writers = [await open_writer(setting.sink(), context(subtask=n, parallelism=2)) for n in (0, 1)]
    prepared = [c for n, writer in enumerate(writers) for c in await write_and_prepare(writer, _records(n), 1)]
    await setting.sink().commit(context(), prepared[:1])
    for writer in writers:
        await die(writer)
    await setting.sink().recover(context(2, parallelism=2), 1, prepared)
    assert setting.seen() == [0, 1]


@pytest.mark.slow
async def test_a_recovery_that_crashed_is_simply_done_again(setting):
    """However far it came: it committed, it fenced a part, it wrote its start; the next attempt ends in the same state."""
    await setting.sink().recover(context(parallelism=2), None, [])
    writers = [await open_writer(setting.sink(), context(subtask=n, parallelism=2)) for n in (0, 1)]
    prepared = [c for n, writer in enumerate(writers) for c in await write_and_prepare(writer, _records(n), 1)]
    for writer in writers:
        await writer.write(Batch(_records(9)))
        await die(writer)
    await setting.sink().commit(context(2), prepared[:1])
    await setting.fence(id_name(setting.topic, 1, 0, 1))
    for attempt in (2, 2, 3):
        await setting.sink().recover(context(attempt, parallelism=2), 1, prepared)
        assert setting.seen() == [0, 1]
    assert set((await setting.states()).values()) == {"Empty"}


async def test_committing_again_after_the_id_went_on_changes_nothing(setting):
    """A late repeat of an old commit must not commit what the same id holds open now."""
    await setting.sink().recover(context(), None, [])
    writer = await open_writer(setting.sink(), context())
    kept: list[list[Committable]] = []
    for checkpoint_id in range(1, 7):
        prepared = await write_and_prepare(writer, _records(checkpoint_id), checkpoint_id)
        await setting.sink().commit(context(), prepared)
        kept.append(prepared)
    assert len({prepared[0]["tid"] for prepared in kept}) < 6
    await writer.write(Batch(_records(7)))
    for prepared in kept:
        await setting.sink().commit(context(), prepared)
    await die(writer)
    assert setting.seen() == [1, 2, 3, 4, 5, 6]


async def test_ids_come_back_only_after_their_commit(setting):
    """While checkpoints are given up, each barrier takes another id; all of them are committed with the next."""
    await setting.sink().recover(context(), None, [])
    writer = await open_writer(setting.sink(), context())
    waiting = [c for n in range(1, 6) for c in await write_and_prepare(writer, _records(n), n)]
    assert len({committable["tid"] for committable in waiting}) == 5
    await setting.sink().commit(context(), waiting)
    later = []
    for n in range(6, 10):
        later += await write_and_prepare(writer, _records(n), n)
        await setting.sink().commit(context(), later[-1:])
    await writer.close()
    assert setting.seen() == list(range(1, 10))
    assert {committable["tid"] for committable in later} & {committable["tid"] for committable in waiting}
    assert len(await setting.states()) <= 7


@pytest.mark.slow
async def test_rescaling_leaves_nothing_of_the_old_subtasks(setting):
    """4 subtasks, then 2, then 6, each with transactions pending at the crash."""
    expected: list[int] = []
    prepared: list[Committable] = []
    restored: int | None = None
    number = 0
    for attempt, parallelism in enumerate((4, 2, 6, 1), 1):
        await setting.sink().recover(context(attempt, parallelism=parallelism), restored, prepared)
        assert setting.seen() == expected
        prepared = []
        restored = attempt
        for subtask in range(parallelism):
            writer = await open_writer(setting.sink(), context(attempt, subtask, parallelism))
            prepared += await write_and_prepare(writer, _records(number), attempt)
            expected.append(number)
            number += 1
            await write_and_prepare(writer, _records(-1), attempt + 100)
            await writer.write(Batch(_records(-2)))
            await die(writer)
    await setting.sink().recover(context(5), restored, prepared)
    assert setting.seen() == expected
    assert set((await setting.states()).values()) == {"Empty"}


async def test_a_zombie_is_refused_and_says_who_took_over(setting):
    """An older attempt that comes back to life can neither write nor prepare, and what it had open is gone."""
    await setting.sink().recover(context(parallelism=2), None, [])
    busy, idle = [await open_writer(setting.sink(), context(subtask=n, parallelism=2)) for n in (0, 1)]
    await busy.write(Batch(_records(1)))
    await setting.sink().recover(context(2), None, [])
    living = await open_writer(setting.sink(), context(2))
    for zombie in (busy, idle):
        with pytest.raises(SinkError, match=r"another copy of job 'job' has taken over: .* \(attempt 1\)") as failure:
            await write_and_prepare(zombie, _records(2), 1)
        assert not failure.value.retriable
        await zombie.close()
    await setting.sink().commit(context(2), await write_and_prepare(living, _records(5), 1))
    await living.close()
    assert setting.seen() == [5]


async def test_a_zombies_commit_is_lost_when_it_was_fenced(setting):
    """Two coordinators: the older one's commit comes after the newer one has aborted. It is told; nothing is seen twice."""
    await setting.sink().recover(context(), None, [])
    writer = await open_writer(setting.sink(), context())
    prepared = await write_and_prepare(writer, _records(1), 1)
    await setting.sink().recover(context(2), None, [])
    with pytest.raises(OutputLostError, match="another start of the job took over") as failure:
        await setting.sink().commit(context(), prepared)
    assert failure.value.partly is False
    await die(writer)
    assert setting.seen() == []


async def test_an_older_attempt_disturbs_no_newer_one(setting):
    """A recovery that was held up for long touches nothing of the attempt that runs."""
    await setting.sink().recover(context(6), None, [])
    writer = await open_writer(setting.sink(), context(6))
    prepared = await write_and_prepare(writer, _records(1), 1)
    await setting.sink().commit(context(6), prepared)
    await writer.write(Batch(_records(2)))
    await setting.sink().recover(context(5), 1, prepared)
    old = await open_writer(setting.sink(), context(5))
    await old.write(Batch(_records(-1)))
    await die(old)
    later = await writer.prepare_commit(2)
    await setting.sink().commit(context(6), later)
    await writer.close()
    await setting.sink().recover(context(7), 2, later)
    assert setting.seen() == [1, 2]
    assert set((await setting.states()).values()) == {"Empty"}


@pytest.mark.slow
async def test_output_whose_transaction_expired_is_lost_and_replayed(setting):
    """The broker aborted it while we were down. Recovery says so; from the checkpoint before, all is written again, once."""
    short = {"transaction_timeout": "1s", "restart_allowance": "0ms"}
    sink = setting.sink(**short)
    quick = {"checkpoint_interval_ms": 100, "checkpoint_timeout_ms": 100}
    await sink.recover(context(**quick), None, [])
    writer = await open_writer(sink, context(**quick))
    first = await write_and_prepare(writer, _records(1), 1)
    await sink.commit(context(**quick), first)
    second = await write_and_prepare(writer, _records(2, 3), 2)
    await die(writer)
    await until_ended(setting.servers, second[0]["tid"])
    with pytest.raises(OutputLostError, match=r"of checkpoint 2 \(2 records .* was aborted by the broker") as failure:
        await sink.recover(context(2, **quick), 2, second)
    assert (failure.value.partly, failure.value.retriable) == (False, True)
    await sink.recover(context(2, **quick), 1, first)
    writer = await open_writer(sink, context(2, **quick))
    await sink.commit(context(2, **quick), await write_and_prepare(writer, _records(2, 3), 3))
    await writer.close()
    assert setting.seen() == [1, 2, 3]


@pytest.mark.slow
async def test_a_writer_whose_transaction_expired_says_so(setting):
    """Checkpoints come too late for the timeout: the remedy is named, and it is worth another try."""
    quick = {"checkpoint_interval_ms": 100, "checkpoint_timeout_ms": 100}
    sink = setting.sink(transaction_timeout="1s", restart_allowance="0ms")
    await sink.recover(context(**quick), None, [])
    writer = await open_writer(sink, context(**quick))
    await writer.write(Batch(_records(1)))
    await writer._send_all()
    await until_ended(setting.servers, id_name(setting.topic, 1, 0, 0))
    with pytest.raises(SinkError, match="is older than transaction_timeout=1s: the broker has aborted it") as failure:
        await write_and_prepare(writer, _records(2), 1)
    assert failure.value.retriable
    await writer.close()


@pytest.mark.slow
async def test_an_old_prepared_transaction_raises_the_alarm(setting, caplog):
    """At half its timeout it is logged and counted; one that was committed is not."""
    quick = {"checkpoint_interval_ms": 100, "checkpoint_timeout_ms": 100}
    sink = setting.sink(transaction_timeout="1s", restart_allowance="0ms")
    await sink.recover(context(**quick), None, [])
    its_context = context(**quick)
    writer = await open_writer(sink, its_context)
    committed = await write_and_prepare(writer, _records(1), 1)
    await sink.commit(its_context, committed)
    waiting = await write_and_prepare(writer, _records(2), 2)
    await until(lambda: its_context.counts["old_transactions"] > 0)
    await writer.close()
    warnings = [r.getMessage() for r in caplog.records if "older than half of transaction_timeout=1s" in r.getMessage()]
    assert [waiting[0]["tid"] in text for text in warnings] == [True]
    assert its_context.counts["old_transactions"] == 1


async def test_nothing_is_committed_when_a_part_of_it_is_gone(setting):
    """At recovery all is looked at first: with one transaction gone, the others stay invisible, and a replay
    doubles nothing."""
    await setting.sink().recover(context(parallelism=2), None, [])
    writers = [await open_writer(setting.sink(), context(subtask=n, parallelism=2)) for n in (0, 1)]
    prepared = [c for n, writer in enumerate(writers) for c in await write_and_prepare(writer, _records(n), 1)]
    for writer in writers:
        await die(writer)
    await setting.fence(prepared[1]["tid"])
    with pytest.raises(OutputLostError) as failure:
        await setting.sink().recover(context(2, parallelism=2), 1, prepared)
    assert failure.value.partly is False
    await setting.sink().recover(context(2, parallelism=2), None, [])
    assert setting.seen() == []


async def test_to_ask_what_is_lost_changes_nothing(setting):
    """Neither where all can be committed, nor where a part is gone."""
    await setting.sink().recover(context(parallelism=2), None, [])
    writers = [await open_writer(setting.sink(), context(subtask=n, parallelism=2)) for n in (0, 1)]
    prepared = [c for n, writer in enumerate(writers) for c in await write_and_prepare(writer, _records(n), 1)]
    for writer in writers:
        await die(writer)
    await setting.sink().verify(context(2, parallelism=2), prepared)
    before = await setting.states()
    assert [before[it["tid"].removeprefix(setting.topic)] for it in prepared] == ["Ongoing", "Ongoing"]
    await setting.fence(prepared[1]["tid"])
    before = await setting.states()
    with pytest.raises(OutputLostError) as failure:
        await setting.sink().verify(context(2, parallelism=2), prepared)
    assert failure.value.partly is False
    assert await setting.states() == before
    await setting.sink().commit(context(2, parallelism=2), prepared[:1])
    await setting.sink().verify(context(2, parallelism=2), prepared[:1])
    assert setting.seen() == [0]


async def test_it_is_said_when_a_part_of_the_output_is_visible(setting):
    """One subtask's output was committed, the other's is gone: a replay would double the first."""
    await setting.sink().recover(context(parallelism=2), None, [])
    writers = [await open_writer(setting.sink(), context(subtask=n, parallelism=2)) for n in (0, 1)]
    prepared = [c for n, writer in enumerate(writers) for c in await write_and_prepare(writer, _records(n), 1)]
    for writer in writers:
        await die(writer)
    await setting.sink().commit(context(), prepared[:1])
    await setting.fence(prepared[1]["tid"])
    for call in (
        setting.sink().recover(context(2, parallelism=2), 1, prepared),
        setting.sink().commit(context(), prepared),
    ):
        with pytest.raises(OutputLostError) as failure:
            await call
        assert failure.value.partly is True
    assert setting.seen() == [0]


async def test_a_second_copy_with_a_store_of_its_own_is_refused_and_the_first_goes_on(setting):
    """It starts from nothing beside visible output: it is told before it has fenced anybody."""
    await setting.sink().recover(context(), None, [])
    first = await open_writer(setting.sink(), context())
    await setting.sink().commit(context(), await write_and_prepare(first, _records(1), 1))
    await first.write(Batch(_records(2)))
    with pytest.raises(SinkError, match="starting from nothing would write it again") as failure:
        await setting.sink().recover(context(), None, [])
    assert failure.value.retriable is False
    await setting.sink().commit(context(), await first.prepare_commit(2))
    await first.close()
    assert setting.seen() == [1, 2]


async def test_a_failed_batch_fails_the_checkpoint(setting, new_topic):
    """A record that is too large: nothing is prepared, and nothing of the transaction is ever seen."""
    small = new_topic(max_message_bytes=2000)
    sink = kafka.sink(
        setting.servers,
        format=formats.json(),
        topic_of=lambda value: small if value["n"] < 0 else setting.topic,
        transactional_prefix=setting.topic,
        key="k",
    )
    await sink.recover(context(), None, [])
    writer = await open_writer(sink, context())
    records = [{"n": 1, "k": "a"}, {"n": -1, "k": "big", "pad": "x" * 3000}]
    with pytest.raises(
        SinkError, match=rf"'{small}', partition 0: the record with key b'big' has 30\d\d bytes, more than"
    ):
        await write_and_prepare(writer, records, 1)
    with pytest.raises(SinkError, match=r"max\.message\.bytes"):
        await writer.prepare_commit(2)
    await writer.close()
    assert (setting.seen(), read(setting.servers, small)) == ([], [])
    assert set((await setting.states()).values()) <= {"Empty", "CompleteAbort"}


async def test_closing_aborts_what_is_open_and_leaves_what_is_prepared(setting):
    """Readers need not wait for a timeout, and the checkpoint's output stays good."""
    await setting.sink().recover(context(), None, [])
    writer = await open_writer(setting.sink(), context())
    prepared = await write_and_prepare(writer, _records(1), 1)
    await writer.write(Batch(_records(2)))
    await writer._send_all()
    assert sorted((await setting.states()).values()) == ["Empty", "Ongoing", "Ongoing"]
    await writer.close()
    states = await setting.states()
    assert states.pop(prepared[0]["tid"].removeprefix(setting.topic)) == "Ongoing"
    assert set(states.values()) <= {"Empty", "PrepareAbort", "CompleteAbort"}
    await setting.sink().commit(context(), prepared)
    assert setting.seen() == [1]


async def test_an_idle_writer_keeps_its_transaction_and_prepares_nothing(setting):
    """Checkpoints without records cost the broker nothing, and the next record goes on."""
    await setting.sink().recover(context(), None, [])
    writer = await open_writer(setting.sink(), context())
    assert [await writer.prepare_commit(n) for n in range(1, 20)] == [[]] * 19
    prepared = await write_and_prepare(writer, _records(1), 20)
    await setting.sink().commit(context(), prepared)
    assert [await writer.prepare_commit(n) for n in range(21, 30)] == [[]] * 9
    await writer.close()
    assert setting.seen() == [1]
    assert len(await setting.states()) <= 2
