"""Conformance suites for connectors: what the contracts ask, in executable form.

Subclass a suite in your test file, override its factory, and run it with pytest or anything else that calls methods
whose name begins with `test`:

    class TestMySource(SourceSuite):
        def source(self): return my.source(...)
        def expected(self): return {"split": [1, 2, 3]}

A source or sink that passes can be trusted with exactly-once recovery.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Coroutine, Mapping, Sequence
from typing import Any, TypeVar

import msgspec

from ...connectors.sink import Committable, Sink, SinkWriter
from ...connectors.source import Offset, Source, SourceReader, Split
from ...operators.batch import Batch
from .contexts import ManualSinkContext, ManualSourceContext

R = TypeVar("R")


class SourceSuite(ABC):
    """What holds for every replayable source. The outside world must not change while a test runs.

    Attributes:
        limits: the batch sizes tried.
        most_reads: reads without a record after which a test gives up.
    """

    limits: Sequence[int] = (1, 3, 1000)
    most_reads: int = 100

    @abstractmethod
    def source(self) -> Source[Any]:
        """A new description of the same source."""

    @abstractmethod
    def expected(self) -> Mapping[str, Sequence[Any]]:
        """The records of each split id, in order."""

    def context(self) -> ManualSourceContext:
        """What the source is given."""
        return ManualSourceContext()

    def test_the_description_answers_what_a_plan_asks(self) -> None:
        """The attributes of the contract are there, and it fits on one line."""
        source = self.source()
        for name in ("bounded", "finds_splits", "replayable", "has_timestamps"):
            assert isinstance(getattr(source, name, None), bool), f"the source must say {name}: True or False"
        assert source.replayable, "this suite is for replayable sources"
        assert source.poll_interval_ms > 0, "poll_interval_ms must be positive"
        text = source.describe()
        assert text, "describe() is empty"
        assert "\n" not in text, f"describe() has several lines: {text!r}"

    def test_discover_is_stable(self) -> None:
        """Two descriptions find the same splits in the same order, and none that is known."""

        async def check() -> None:
            first = await self.source().discover(self.context(), frozenset())
            second = await self.source().discover(self.context(), frozenset())
            assert first == second, "discover found other splits, or another order, the second time"
            ids = [split.id for split in first]
            assert len(set(ids)) == len(ids), f"split ids are not unique: {ids}"
            assert set(ids) == set(self.expected()), f"splits {ids}, expected {list(self.expected())}"
            assert _as_json(first, list[Split]) == first, "Split.where holds something that is not JSON"
            known = frozenset(ids[:1])
            rest = await self.source().discover(self.context(), known)
            assert rest == first[1:], "discover must leave out what is known and nothing else"
            assert await self.source().discover(self.context(), frozenset(ids)) == [], "all splits are known"

        _run(check())

    def test_every_record_comes_once_in_order(self) -> None:
        """Whatever the limit, each split gives its records once, in order."""

        async def check() -> None:
            for limit in self.limits:
                for split, expected in await self._splits():
                    got = [value for values, _ in await self._read(split, None, limit) for value in values]
                    assert got == expected, f"split {split.id} read with limit {limit}: {got}, expected {expected}"

        _run(check())

    def test_every_offset_resumes_with_the_rest(self) -> None:
        """A reader opened at the offset of any fetch gives exactly the records after it."""

        async def check() -> None:
            for limit in self.limits:
                for split, expected in await self._splits():
                    done = 0
                    for values, offset in await self._read(split, None, limit):
                        done += len(values)
                        assert _as_json(offset, Any) == offset, f"the offset {offset!r} is not JSON"
                        resumed = await self._read(split, _as_json(offset, Any), limit)
                        rest = [value for values, _ in resumed for value in values]
                        assert rest == expected[done:], (
                            f"split {split.id} resumed at {offset}: {rest}, expected {expected[done:]}"
                        )

        _run(check())

    def test_an_offset_does_not_change_when_reading_goes_on(self) -> None:
        """The offset of a fetch is a value, not a view of the reader's position."""

        async def check() -> None:
            for split, _ in await self._splits():
                reader = await self._open(split, None)
                first = await reader.read(split.id, 1)
                before = msgspec.json.encode(first.offset)
                if not first.end:
                    await reader.read(split.id, 1)
                assert msgspec.json.encode(first.offset) == before, "the offset changed after it was given out"
                await reader.close()

        _run(check())

    def test_parallel_lists_are_as_long_as_the_values(self) -> None:
        """Timestamps, keys and positions, where given, belong to the values one for one."""

        async def check() -> None:
            for split, _ in await self._splits():
                reader = await self._open(split, None)
                fetch = await reader.read(split.id, 1000)
                for name in ("timestamps", "keys", "positions"):
                    column = getattr(fetch, name)
                    assert column is None or len(column) == len(fetch.values), f"{name} has another length than values"
                if fetch.positions is not None:
                    assert all(fetch.positions[i] is not None for i in range(len(fetch.values))), "a position is None"
                await reader.close()

        _run(check())

    def test_close_at_any_time(self) -> None:
        """A reader can be closed before the first split, before the first read and between reads."""

        async def check() -> None:
            await self.source().reader(self.context()).close()
            for split, _ in await self._splits():
                for reads in range(3):
                    reader = await self._open(split, None)
                    for _ in range(reads):
                        if (await reader.read(split.id, 1)).end:
                            break
                    await reader.close()

        _run(check())

    def test_one_reader_reads_many_splits_in_turn(self) -> None:
        """Splits do not disturb each other in one reader, whichever is read next."""

        async def check() -> None:
            reader = self.source().reader(self.context())
            splits = await self._splits()
            got: dict[str, list[Any]] = {split.id: [] for split, _ in splits}
            for split, _ in splits:
                await reader.open(split, None)
            unfinished = [split.id for split, expected in splits if expected]
            reads = 0
            while unfinished:
                for split_id in list(unfinished):
                    fetch = await reader.read(split_id, 2)
                    got[split_id] += fetch.values
                    reads = 0 if fetch.values else reads + 1
                    if fetch.end or len(got[split_id]) >= len(self.expected()[split_id]):
                        unfinished.remove(split_id)
                assert reads < self.most_reads, f"no records in {reads} reads, and {unfinished} not at their end"
            assert got == {split.id: list(expected) for split, expected in splits}
            await reader.close()

        _run(check())

    async def _splits(self) -> list[tuple[Split, list[Any]]]:
        splits = await self.source().discover(self.context(), frozenset())
        expected = self.expected()
        return [(split, list(expected[split.id])) for split in splits]

    async def _open(self, split: Split, offset: Offset | None) -> SourceReader[Any]:
        reader = self.source().reader(self.context())
        await reader.open(split, offset)
        return reader

    async def _read(self, split: Split, offset: Offset | None, limit: int) -> list[tuple[list[Any], Offset]]:
        """All fetches of a split; of an unbounded source those up to the last expected record."""
        source = self.source()
        reader = source.reader(self.context())
        await reader.open(split, offset)
        fetches: list[tuple[list[Any], Offset]] = []
        empty = 0
        while empty < (self.most_reads if source.bounded else 3):
            fetch = await reader.read(split.id, limit)
            fetches.append((fetch.values, fetch.offset))
            empty = 0 if fetch.values or fetch.rejected else empty + 1
            if fetch.end:
                break
        else:
            assert not source.bounded, f"split {split.id} of a bounded source did not say its end"
        await reader.close()
        return fetches


class SinkSuite(ABC):
    """What holds for every sink, by the guarantee it promises.

    Each test begins with nothing written: make a new place in `setup_method`, or in a fixture.
    """

    @abstractmethod
    def sink(self) -> Sink[Any]:
        """A new description of the same sink. What it writes must outlive the description."""

    @abstractmethod
    def visible(self) -> Sequence[Any]:
        """The records that the outside world sees now, in any order."""

    def values(self, n: int) -> list[Any]:
        """`n` different records that the sink takes; override for a sink that does not take dicts."""
        return [{"n": i} for i in range(n)]

    def context(self, subtask: int = 0, attempt: int = 1) -> ManualSinkContext:
        """What the sink is given."""
        return ManualSinkContext(subtask=subtask, attempt=attempt, parallelism=2)

    @property
    def _exactly_once(self) -> bool:
        return self.sink().guarantee == "exactly_once"

    def test_records_are_visible_after_the_commit(self) -> None:
        """What was written before a barrier is there when its checkpoint is committed, once, from all subtasks."""

        async def check() -> None:
            values = self.values(6)
            first, second = await self._fresh(0), await self._writer(1)
            await first.write(Batch(values[:2]))
            await first.write(Batch(values[2:3]))
            await second.write(Batch(values[3:]))
            prepared = [*await first.prepare_commit(1), *await second.prepare_commit(1)]
            assert _as_json(prepared, list[Any]) == prepared, "a committable is not JSON"
            await self.sink().commit(self.context(), prepared)
            await first.close()
            await second.close()
            self._see(values)

        _run(check())

    def test_nothing_is_visible_before_the_commit(self) -> None:
        """Exactly once: neither written nor prepared records can be seen. At least once: prepared ones can."""

        async def check() -> None:
            values = self.values(2)
            writer = await self._fresh()
            await writer.write(Batch(values))
            if self._exactly_once:
                self._see([])
            prepared = await writer.prepare_commit(1)
            self._see([] if self._exactly_once else values)
            if not self._exactly_once:
                assert prepared == [], "an at-least-once sink has nothing to commit"
            await writer.close()

        _run(check())

    def test_no_records_no_committable(self) -> None:
        """A checkpoint without records has nothing to commit."""

        async def check() -> None:
            writer = await self._fresh()
            assert await writer.prepare_commit(1) == []
            await writer.write(Batch(self.values(1)))
            prepared = await writer.prepare_commit(2)
            assert await writer.prepare_commit(3) == []
            await self.sink().commit(self.context(), prepared)
            await writer.close()
            self._see(self.values(1))

        _run(check())

    def test_commit_may_be_repeated(self) -> None:
        """Committing again, through the same description or another, changes nothing."""

        async def check() -> None:
            values = self.values(3)
            writer = await self._fresh()
            await writer.write(Batch(values))
            prepared = await writer.prepare_commit(1)
            for _ in range(3):
                await self.sink().commit(self.context(), prepared)
            await self.sink().commit(self.context(), [])
            await writer.close()
            self._see(values)

        _run(check())

    def test_an_abandoned_checkpoint_is_committed_with_the_next(self) -> None:
        """Committables of a checkpoint that was given up stay good."""

        async def check() -> None:
            values = self.values(4)
            writer = await self._fresh()
            await writer.write(Batch(values[:2]))
            prepared = await writer.prepare_commit(1)
            await writer.write(Batch(values[2:]))
            prepared += await writer.prepare_commit(2)
            await self.sink().commit(self.context(), prepared)
            await writer.close()
            self._see(values)

        _run(check())

    def test_close_shows_nothing(self) -> None:
        """Exactly once: a writer closed after a failure leaves nothing visible."""

        async def check() -> None:
            writer = await self._fresh()
            await writer.close()
            writer = await self._writer()
            await writer.write(Batch(self.values(2)))
            await writer.close()
            if self._exactly_once:
                self._see([])

        _run(check())

    def test_recover_commits_what_the_checkpoint_holds(self) -> None:
        """A crash between manifest and commit: the next attempt commits, also when it was done already."""

        async def check() -> None:
            for committed in (False, True):
                values = self.values(4)
                writer = await self._fresh()
                await writer.write(Batch(values[:2]))
                prepared = await writer.prepare_commit(1)
                if committed:
                    await self.sink().commit(self.context(), prepared)
                await writer.write(Batch(values[2:]))
                await writer.prepare_commit(2)
                await writer.close()
                prepared = _as_json(prepared, list[Committable])
                await self.sink().recover(self.context(attempt=2), 1, prepared)
                if not self._exactly_once:
                    return
                self._see(values[:2])
                writer = await self._writer(attempt=2)
                await writer.write(Batch(values[2:]))
                await self.sink().commit(self.context(attempt=2), await writer.prepare_commit(2))
                await writer.close()
                self._see(values)

        _run(check())

    def test_recover_does_away_with_what_is_newer(self) -> None:
        """Exactly once: going back to an older checkpoint takes back what later ones had shown."""

        async def check() -> None:
            values = self.values(3)
            writer = await self._fresh()
            kept: list[Committable] = []
            for checkpoint_id, value in enumerate(values, 1):
                await writer.write(Batch([value]))
                prepared = await writer.prepare_commit(checkpoint_id)
                await self.sink().commit(self.context(), prepared)
                kept = prepared if checkpoint_id == 1 else kept
            await writer.close()
            self._see(values)
            await self.sink().recover(self.context(attempt=2), 1, kept)
            if self._exactly_once:
                self._see(values[:1])

        _run(check())

    def test_a_start_from_nothing_begins_empty(self) -> None:
        """Exactly once: what an earlier history of the job had written is not seen beside the new one."""

        async def check() -> None:
            writer = await self._fresh()
            await writer.write(Batch(self.values(2)))
            await self.sink().commit(self.context(), await writer.prepare_commit(1))
            await writer.close()
            writer = await self._fresh(attempt=2)
            if self._exactly_once:
                self._see([])
            await writer.close()

        _run(check())

    def test_describe_is_one_line(self) -> None:
        """A plan shows the description on one line."""
        text = self.sink().describe()
        assert text, "describe() is empty"
        assert "\n" not in text, f"describe() has several lines: {text!r}"

    async def _fresh(self, subtask: int = 0, attempt: int = 1) -> SinkWriter[Any]:
        """A writer after a start from nothing."""
        await self.sink().recover(self.context(subtask, attempt), None, [])
        return await self._writer(subtask, attempt)

    async def _writer(self, subtask: int = 0, attempt: int = 1) -> SinkWriter[Any]:
        writer = self.sink().writer(self.context(subtask, attempt))
        await writer.open()
        return writer

    def _see(self, values: Sequence[Any]) -> None:
        seen = sorted(map(repr, self.visible()))
        wanted = sorted(map(repr, values))
        if self._exactly_once:
            assert seen == wanted, f"visible: {seen}, expected {wanted}"
        else:
            assert set(wanted) <= set(seen), f"visible: {seen}, expected at least {wanted}"


def _as_json(value: Any, type: Any) -> Any:
    return msgspec.json.decode(msgspec.json.encode(value), type=type)


def _run(check: Coroutine[Any, Any, R]) -> R:
    return asyncio.run(check)
