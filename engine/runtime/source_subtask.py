"""A subtask fed by a source: one asyncio task that chooses splits, reads them and drives its chain."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from math import inf
from typing import Any

from ...connectors.source import Fetch, Offset, SourceError, SourceReader, Split
from ...operators.batch import Batch, Origin
from ...operators.errors import DeadLetter
from ...operators.time import MAX_WATERMARK, MIN_WATERMARK
from ...operators.watermarks import Watermarks
from ..clock import Clock
from ..errors import OperatorError, RecordError
from ..metrics.measures import OperatorMeasures, SplitMeasures
from .bounds import Bounds
from .chain import Chain, Reporter
from .elements import Barrier
from .event_time import EventTime
from .node import Target
from .pace import BatchSize, Pace, RecordBudget
from .replaying import Replaying
from .split_end import SplitEnd
from .split_progress import SplitProgress
from .watermarks import lowest


class SourceSubtask:
    """Reads the split whose watermark is lowest, so that splits advance together in event time and state stays small;
    puts watermarks between the records where they matter, and barriers between fetches."""

    def __init__(
        self,
        chain: Chain,
        operator_id: str,
        reader: SourceReader[Any],
        splits: Sequence[SplitProgress],
        *,
        bounded: bool,
        finds_splits: bool,
        poll_interval_ms: int,
        event_time: EventTime | None,
        own_timestamps: bool,
        watermarks: Watermarks,
        on_error: str,
        rate_limit: float | None,
        linger_s: float,
        max_batch: int,
        until_ms: int | None,
        wants_watermarks: bool,
        measures: OperatorMeasures,
        split_measures: Callable[[str], SplitMeasures],
        targets: Sequence[Target],
        failed_targets: Sequence[Target],
        clock: Clock,
        reporter: Reporter,
        attempt: int,
        budget: RecordBudget,
        replay: Replaying | None,
    ) -> None:
        self.name = chain.name
        self.chain = chain
        self.operator_id = operator_id
        self.reader = reader
        self.ended = False
        self.reached = False
        self.splits = {progress.split.id: progress for progress in splits}
        self.merged = MIN_WATERMARK
        self.draining = False
        self._bounded = bounded
        self._finds_splits = finds_splits
        self._poll_s = poll_interval_ms / 1000
        self._event_time = event_time
        self._own_timestamps = own_timestamps
        self._watermarks = watermarks
        self._on_error = on_error
        self._pace = Pace(rate_limit)
        self._size = BatchSize(max_batch)
        self._linger_s = linger_s
        self._until_ms = until_ms
        self._wants_watermarks = wants_watermarks
        self._measures = measures
        self._split_measures = split_measures
        self._targets = targets
        self._failed_targets = failed_targets
        self._clock = clock
        self._reporter = reporter
        self._attempt = attempt
        self._budget = budget
        self._replay = replay
        self._closing: dict[str, SourceReader[Any]] = {}
        self._woken = asyncio.Event()
        self._wakes = 0
        self._barriers: list[Barrier] = []
        self._completed = 0
        self._offsets_at: dict[int, dict[str, Offset]] = {}
        self._checkpointed: Callable[[Mapping[str, Offset]], Awaitable[None]] | None
        # A replay tells nobody how far it has come: the job's own progress is what the outside world sees.
        self._checkpointed = None if replay is not None else getattr(reader, "checkpointed", None)
        self._found: list[Split] = []
        self._released = False
        self._told_idle = False
        self._idle_since: float | None = None

    # ------------------------------------------------- called by the worker

    def trigger(self, barrier: Barrier) -> None:
        """Put a barrier after what has been read so far."""
        self._barriers.append(barrier)
        self.wake()

    def overtake(self, checkpoint_id: int) -> None:
        """Where the barrier of a checkpoint is still waiting, it waits no longer for room in the channels."""
        if any(barrier.checkpoint_id == checkpoint_id for barrier in self._barriers):
            self.chain.hurry()

    def completed(self, checkpoint_id: int) -> None:
        """A checkpoint is complete: the reader may tell the outside world."""
        self._completed = checkpoint_id
        if self._checkpointed is not None:
            self._woken.set()

    def drain(self) -> None:
        """Read no more."""
        self.draining = True
        self.wake()

    def release(self) -> None:
        """The job has ended: return from `run`."""
        self._released = True
        self.wake()

    def add_splits(self, splits: Sequence[Split]) -> None:
        """Splits found while running."""
        self._found.extend(splits)
        self.wake()

    def wake(self) -> None:
        """Look again."""
        self._wakes += 1
        for progress in self.splits.values():
            progress.parked_until = -inf
        self._woken.set()

    # ------------------------------------------------------------- the task

    async def run(self) -> None:
        """Until released or cancelled. The chain and the reader are closed in either case."""
        try:
            await self.chain.open()
            now = self._clock.monotonic()
            for progress in self.splits.values():
                progress.last_record = now
                progress.end_if_reached()
                if not progress.ended and not progress.held:
                    await self._open(progress)
            await self._raise_watermark(now)
            while not self._released:
                await self._step()
            await self._tell_reader()
        finally:
            self.chain.close()
            try:
                for reader in (self.reader, *self._closing.values()):
                    await reader.close()
            finally:
                await self.chain.close_sinks()

    async def _step(self) -> None:
        clock, measures = self._clock, self.chain.measures
        while self._barriers:
            await self._barrier(self._barriers.pop(0))
            if self.chain.hurried and not self._barriers:
                await self.chain.settle()
        await self._tell_reader()
        while self._found:
            split = self._found.pop(0)
            progress = SplitProgress(split, None, self._watermarks, self._split_measures(split.id))
            progress.last_record = clock.monotonic()
            self.splits[split.id] = progress
            await self._open(progress)
        until_timer = await self.chain.tick()
        started = clock.monotonic()
        progress_or_none = None if self.draining else self._choose(started)
        if progress_or_none is None:
            if not self._finds_splits and not self.ended and not self.draining and self.exhausted:
                await self._end()
                return
            if self._replay is not None and self._replay.bounded and not self.reached and self._at_ends:
                self.reached = True
                self._replay.on_reached()
            await self._check_idle(started)
            await self._sleep(started, until_timer)
            measures.idle_s += clock.monotonic() - started
            return
        backpressured = measures.backpressured_s
        count = await self._read(progress_or_none)
        took = clock.monotonic() - started - (measures.backpressured_s - backpressured)
        measures.busy_s += took
        self._size.observe(count, took)
        wait_s = self._pace.delay(count, clock.monotonic())
        if not count and progress_or_none.ready(started):
            return
        if not self._bounded and 0 < count < self._size.small:
            # The others need not wait until more has come in this one.
            progress_or_none.lingers_until = clock.monotonic() + self._linger_s
        await clock.sleep(wait_s)
        measures.idle_s += wait_s

    @property
    def exhausted(self) -> bool:
        """Whether it has nothing more to read, as far as it knows: it has no split, or they have all ended."""
        return all(progress.ended for progress in self.splits.values())

    @property
    def _at_ends(self) -> bool:
        # Only until a time, a split that has had nothing for long is taken to have nothing before that time.
        exact = self._replay is None or self._replay.exact
        return all(p.ended or p.held or (p.idle and not exact) for p in self.splits.values())

    def _choose(self, now: float) -> SplitProgress | None:
        best: SplitProgress | None = None
        for progress in self.splits.values():
            if progress.ended or progress.held or not progress.ready(now):
                continue
            if best is None or progress.watermark.watermark_ms < best.watermark.watermark_ms:
                best = progress
        if best is not None and self._event_time is None and not self._own_timestamps:
            # Without event time all stand level: take turns.
            self.splits[best.split.id] = self.splits.pop(best.split.id)
        return best

    async def _sleep(self, now: float, until_timer: float | None) -> None:
        waits = [] if until_timer is None else [until_timer]
        if not self.draining:
            waits += [
                max(progress.parked_until, progress.lingers_until) - now
                for progress in self.splits.values()
                if not progress.ended and not progress.held
            ]
            idle_ms = self._watermarks.idle_timeout_ms
            if idle_ms is not None and not self._bounded:
                waits.append(max(idle_ms / 4000, 0.01))
        if await self._clock.wait(self._woken, max(0.0, min(waits)) if waits else None):
            self._woken.clear()

    async def _open(self, progress: SplitProgress) -> None:
        reader = self._closing.get(progress.split.id, self.reader)
        try:
            await reader.open(progress.split, progress.offset)
        except SourceError as error:
            raise OperatorError(self.operator_id, error, progress.split.id, progress.offset) from error

    async def _read(self, progress: SplitProgress) -> int:
        """One fetch, through the chain; how many records it brought."""
        wakes = self._wakes
        limit = self._budget.take(self._limit(progress))
        if not limit:  # others have asked for what is left: they may not find it
            progress.parked_until = self._clock.monotonic() + self._poll_s
            return 0
        try:
            fetch = await self._closing.get(progress.split.id, self.reader).read(progress.split.id, limit)
        except BaseException as error:
            self._budget.settle(limit, 0)
            if not isinstance(error, Exception):
                raise
            raise OperatorError(self.operator_id, error, progress.split.id, progress.offset) from error
        if progress.end is not None and progress.end.passed(fetch.offset, progress.records + len(fetch.values)):
            self._budget.settle(limit, 0)
            await self._close_in(progress, progress.end, fetch, limit)
            return 0
        arrived = self._clock.monotonic()
        count = len(fetch.values)
        # From here to the end of the walk nothing waits: a barrier sees the records and their offset, or neither.
        progress.offset = fetch.offset
        progress.ended = fetch.end
        progress.records += count
        progress.measures.records = progress.records
        self._measures.bytes_in += fetch.n_bytes
        self._measures.records_in += count
        if fetch.rejected:
            self._reject(
                progress,
                [(r.raw.decode("utf-8", "backslashreplace"), r.raw, r.reason, r.position) for r in fetch.rejected],
            )
        if count:
            progress.last_record = arrived
            progress.idle = self._told_idle = False
            self._idle_since = None
            for batch, watermark_ms in self._pieces(progress, fetch):
                if watermark_ms is not None:
                    self._send_watermark(watermark_ms)
                if batch is not None:
                    self._measures.records_out += len(batch)
                    for target in self._targets:
                        target.process(batch)
        elif not fetch.end and wakes == self._wakes:
            progress.parked_until = arrived + self._poll_s
        progress.end_if_reached()
        if progress.complete_ms is not None:
            progress.watermark.raise_to(progress.complete_ms)
        if progress.ended or progress.held:
            progress.measures.watermark_ms = progress.watermark.watermark_ms
        progress.measures.ended, progress.measures.idle = progress.ended, progress.idle
        self._send_watermark(self._lowest())
        await self.chain.flush(arrived)
        lag = self.reader.lag(progress.split.id)
        if lag is not None:
            measures = progress.measures
            measures.record_lag, measures.byte_lag = lag.records, lag.n_bytes
            measures.event_time_lag_ms = lag.event_time_ms
        self._budget.settle(limit, count)
        return count

    def _limit(self, progress: SplitProgress) -> int:
        limit = self._pace.limit(self._size.limit)
        if progress.end is None:
            return limit
        if progress.most is not None:
            limit = min(limit, progress.most)
        return min(limit, progress.end.most(progress.offset, progress.records))

    async def _close_in(self, progress: SplitProgress, end: SplitEnd, fetch: Fetch[Any], limit: int) -> None:
        """A fetch has gone beyond the end of its split: forget it and read again from where it began, less at a time."""
        split_id, count = progress.split.id, len(fetch.values) + len(fetch.rejected)
        if limit == 1:
            # Nothing is left before the end, or it stands inside of what cannot be read in parts.
            if count > 1 or (end.records is not None and progress.records < end.records):
                error = SourceError(
                    f"{count} records come at once, and the end at {end.offset} is among them: end at a checkpoint instead",
                    retriable=False,
                )
                raise OperatorError(self.operator_id, error, split_id, progress.offset) from error
            progress.stop_at(end)
            return
        progress.most = max(1, min(limit, count) // 2)
        assert self._replay is not None
        before = self._closing.pop(split_id, None)
        if before is not None:
            await before.close()
        self._closing[split_id] = self._replay.new_reader()
        await self._open(progress)

    # ------------------------------------------------- records and event time

    def _pieces(self, progress: SplitProgress, fetch: Fetch[Any]) -> list[tuple[Batch[Any] | None, int | None]]:
        """The batches of a fetch, each with the watermark that must be told before it."""
        batch: Batch[Any] = Batch(
            fetch.values, fetch.timestamps, fetch.keys, None, Origin(progress.split.id, fetch.positions)
        )
        if self._event_time is None:
            return [(batch, None)]
        now_ms = self._clock.now_ms()
        if self._own_timestamps and fetch.timestamps is not None:
            times = self._event_time.check(fetch.timestamps, now_ms)
        else:
            times = self._event_time.extract(fetch.values, now_ms)
        batch.timestamps = times.timestamps
        bounds = times.bounds
        if times.bad:
            self._reject(
                progress,
                [(repr(fetch.values[i]), None, reason, batch.locate(i)[1]) for i, reason in times.bad.items()],
            )
            batch = batch.select([i not in times.bad for i in range(len(batch))])
        if self._until_ms is not None and bounds.highest >= self._until_ms:
            batch = self._before(progress, batch, self._until_ms)
        timestamps = batch.timestamps
        if not timestamps:
            return []
        if len(batch) < len(times.timestamps):
            bounds = Bounds(timestamps)
        if self._wants_watermarks:
            running = progress.watermark.running(timestamps, batch.values)
            merged, others = self.merged, self._others(progress)
            batch.watermarks = [max(merged, min(mark, others)) for mark in running]
        cuts = progress.watermark.advance(timestamps, batch.values, bounds)
        progress.measures.watermark_ms = progress.watermark.watermark_ms
        if not cuts:
            return [(batch, None)]
        others = self._others(progress)
        pieces: list[tuple[Batch[Any] | None, int | None]] = []
        start, told = 0, None
        for index, watermark_ms in cuts:
            mark = min(watermark_ms, others)
            if index > start:
                pieces.append((batch.slice(start, index), told))
            elif told is not None:
                pieces.append((None, told))
            start, told = index, mark
        pieces.append((batch.slice(start, len(batch)), told))
        return pieces

    def _others(self, progress: SplitProgress) -> int:
        """How far the other splits let the watermark rise."""
        alone = all(other is progress or other.ended for other in self.splits.values())
        return MAX_WATERMARK if alone else self._lowest(besides=progress)

    def _before(self, progress: SplitProgress, batch: Batch[Any], until_ms: int) -> Batch[Any]:
        """The records before `until_ms`; the split ends once its watermark says that no more of them will come. In a replay
        it is held there: windows that reach beyond have not got all their records, so they must not fire."""
        timestamps = batch.timestamps or []
        if timestamps and max(timestamps) - until_ms >= progress.watermark.slack_ms:
            if self._replay is None:
                progress.ended = True
            elif not progress.ended:
                progress.held, progress.complete_ms = True, until_ms - 1
        return batch.select([timestamp < until_ms for timestamp in timestamps])

    def _reject(self, progress: SplitProgress, records: list[tuple[str, bytes | None, str, Any]]) -> None:
        """Records that cannot be used: (text, bytes where they were not decoded, reason, position)."""
        self._measures.count("errors", len(records))
        if self._on_error == "fail":
            _, _, reason, position = records[0]
            raise RecordError(self.operator_id, progress.split.id, position, reason)
        if self._on_error == "skip":
            self._measures.count("skipped", len(records))
            return
        self._measures.count("dead_letters", len(records))
        letters = [
            DeadLetter(
                value=text,
                error=reason,
                operator=self.operator_id,
                attempt=self._attempt,
                split=progress.split.id,
                offset=position,
                raw=raw,
            )
            for text, raw, reason, position in records
        ]
        timestamps = [self._clock.now_ms()] * len(letters) if self._event_time is not None else None
        for target in self._failed_targets:
            target.process(Batch(letters, timestamps))

    # -------------------------------------------------------------- control

    def _send_watermark(self, watermark_ms: int) -> None:
        if watermark_ms > self.merged:
            self.merged = watermark_ms
            self._measures.watermark_ms = watermark_ms
            for target in (*self._targets, *self._failed_targets):
                target.watermark(watermark_ms)

    async def _raise_watermark(self, arrived: float) -> None:
        """Tell the merged watermark where it has risen."""
        merged = self._lowest()
        if merged > self.merged:
            self._send_watermark(merged)
            await self.chain.flush(arrived)

    def _lowest(self, besides: SplitProgress | None = None) -> int:
        """The watermark of the splits that have not ended, or of those `besides` one of them."""
        return lowest(
            [
                (progress.watermark.watermark_ms, progress.idle)
                for progress in self.splits.values()
                if progress is not besides and not progress.ended
            ]
        )

    async def _check_idle(self, now: float) -> None:
        """Splits that have had nothing for `idle_timeout` leave the minimum; when all have, time itself moves it. A subtask
        that has none to read is idle from the start: the others do not wait for it."""
        if self.draining or self.ended:
            return
        idle_ms = self._watermarks.idle_timeout_ms
        waiting = [progress for progress in self.splits.values() if not progress.ended]
        held = all(progress.held and progress.idle for progress in waiting)
        if held:  # or there is none
            self._tell_idle()
            await self.chain.flush(now)
            return
        if self._replay is not None and self._replay.exact:
            return  # how long ago a record came says nothing of the time when it was read first
        if idle_ms is None or self._bounded:
            return
        for progress in waiting:
            if not progress.idle and not progress.held and (now - progress.last_record) * 1000 >= idle_ms:
                progress.idle = progress.measures.idle = True
        if waiting and all(progress.idle for progress in waiting):
            since = self._idle_since if self._idle_since is not None else max(p.last_record for p in waiting)
            passed_ms = int((now - since) * 1000)
            if passed_ms > 0:
                for progress in waiting:
                    progress.watermark.pass_time(passed_ms)
                self._idle_since = since + passed_ms / 1000
            self._tell_idle()
        await self._raise_watermark(now)

    def _tell_idle(self) -> None:
        if not self._told_idle:
            self._told_idle = True
            for target in (*self._targets, *self._failed_targets):
                target.idle()

    async def _barrier(self, barrier: Barrier) -> None:
        positions = {split_id: progress.position() for split_id, progress in self.splits.items()}
        if self._checkpointed is not None:
            self._offsets_at[barrier.checkpoint_id] = {split_id: p.offset for split_id, p in positions.items()}
        await self.chain.barrier(barrier, {self.operator_id: positions})

    async def _tell_reader(self) -> None:
        """Give the reader the offsets of the newest complete checkpoint, once."""
        offsets = self._offsets_at.get(self._completed)
        if offsets is not None and self._checkpointed is not None:
            self._offsets_at = {n: kept for n, kept in self._offsets_at.items() if n > self._completed}
            await self._checkpointed(offsets)

    async def _end(self) -> None:
        self.ended = True
        if self._event_time is not None:
            self._send_watermark(MAX_WATERMARK)
        for target in (*self._targets, *self._failed_targets):
            target.end()
        await self.chain.flush(self._clock.monotonic())
        self._reporter.ended(self.name)
        if self._replay is not None:
            self.reached = True
            self._replay.on_reached()
