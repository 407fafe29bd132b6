"""A subtask fed by channels: one asyncio task that reads its gate and drives its chain."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ...operators.batch import Batch
from ...operators.operator import AsyncOperator
from ...operators.time import MIN_WATERMARK
from ..clock import Clock
from .chain import Chain, Reporter
from .channel import Gate
from .elements import Barrier, Element, EndOfStream, Idle, Watermark
from .node import Entry, OperatorNode, Target
from .recording import InputEdge, Recording, RestoredInputs
from .watermarks import InputWatermarks


class Subtask:
    """Reads elements in order, aligns barriers, merges watermarks, and walks its chain with every batch.

    Args:
        head: the chain's first node, which hears of everything but batches.
        entries: per channel, where its batches go: the head, or one of the head's inputs.
        edges: what leads into it, in the order of the channels.
    """

    def __init__(
        self,
        chain: Chain,
        gate: Gate,
        head: Target,
        entries: Sequence[Entry],
        *,
        edges: Sequence[InputEdge],
        idle_channels: Sequence[bool],
        clock: Clock,
        reporter: Reporter,
        spawn: Callable[[Any], Any],
    ) -> None:
        self.name = chain.name
        self.chain = chain
        self.gate = gate
        self.watermarks = InputWatermarks(idle_channels)
        self._head = head
        self._entries = entries
        self._edges = edges
        self._clock = clock
        self._reporter = reporter
        self._spawn = spawn
        self._open_channels = gate.channels
        self._ended = False
        self._released = False
        self._aligning_since: float | None = None
        self._must_tell_idle = False
        self._due: tuple[Barrier, float] | None = None
        self._async_node = head if isinstance(head, OperatorNode) and isinstance(head.operator, AsyncOperator) else None
        self._async: AsyncOperator[Any, Any] | None = (
            head.operator if isinstance(head, OperatorNode) and isinstance(head.operator, AsyncOperator) else None
        )
        gate.on_due = chain.hurry
        gate.on_refused = reporter.not_recordable

    def restore(self, restored: RestoredInputs) -> None:
        """Before `run`: stand where it stood when its snapshot was taken, with what was on its way to it."""
        self.watermarks.restore(restored.watermark_ms, restored.watermarks, restored.idle)
        arrived = self._clock.monotonic()
        for channel, elements in enumerate(restored.elements):
            for element in elements:
                self.gate.append(channel, element, arrived)

    def release(self) -> None:
        """The job has ended: return from `run`."""
        self._released = True
        self.gate.wake()

    async def run(self) -> None:
        """Until released or cancelled. The chain is closed in either case."""
        chain, gate, clock = self.chain, self.gate, self._clock
        measures = chain.measures
        try:
            await chain.open()
            if self._async is not None:
                self._async.start(self._spawn, gate.wake)
            await self._tell_restored()
            while not self._released:
                await self._collect()
                await self._snapshot_if_due()
                until_timer = await chain.tick()
                if chain.hurried:
                    await self._overtake()
                    continue
                takes_more = self._due is None and (self._async is None or self._async.ready)
                item = gate.poll() if takes_more else None
                if item is None:
                    if self._open_channels == 0 and not self._ended and self._drained:
                        await self._end()
                        continue
                    started = clock.monotonic()
                    await gate.wait(clock, until_timer)
                    measures.idle_s += clock.monotonic() - started
                    continue
                started = clock.monotonic()
                backpressured = measures.backpressured_s
                await self._take(*item)
                measures.busy_s += clock.monotonic() - started - (measures.backpressured_s - backpressured)
                await clock.sleep(0)
        finally:
            chain.close()
            await chain.close_sinks()

    @property
    def _drained(self) -> bool:
        return self._async is None or self._async.idle

    async def _take(self, channel: int, element: Element, arrived: float) -> None:
        if isinstance(element, Batch):
            self.watermarks.set_active(channel)
            self._must_tell_idle = False
            if element.watermarks and self.gate.channels > 1:
                held_back = self.watermarks.hold_back(channel, element.watermarks)
                element = Batch(element.values, element.timestamps, element.keys, held_back, element.origin)
            self._entries[channel].process(element)
            await self.chain.flush(arrived)
        elif isinstance(element, Watermark):
            await self._raise(self.watermarks.update(channel, element.timestamp_ms), arrived)
        elif isinstance(element, Barrier):
            await self._align(channel, element)
        elif isinstance(element, Idle):
            await self._raise(self.watermarks.set_idle(channel), arrived)
            self._must_tell_idle = self.watermarks.all_idle
            await self._tell_idle()
        elif isinstance(element, EndOfStream):
            self._open_channels -= 1

    async def _raise(self, merged: int | None, arrived: float) -> None:
        if merged is None:
            return
        if self._async_node is not None:
            self._async_node.raise_watermark(merged)
        else:
            self._head.watermark(merged)
        await self.chain.flush(arrived)

    async def _align(self, channel: int, barrier: Barrier) -> None:
        if barrier.checkpoint_id <= self.gate.aligner.passed:
            return  # it has overtaken what stood before it
        if self._aligning_since is None:
            self._aligning_since = self._clock.monotonic()
        if self.gate.aligner.arrive(channel, barrier.checkpoint_id):
            alignment_ms = (self._clock.monotonic() - self._aligning_since) * 1000
            self._aligning_since = None
            await self._collect()
            self._due = barrier, alignment_ms
            await self._snapshot_if_due()

    async def _overtake(self) -> None:
        """Take the snapshot now: what stands before the barrier is recorded, and worked on after it."""
        await self._collect()
        barrier = self.gate.due  # none where the checkpoint has been given up meanwhile
        if barrier is not None and self.gate.overtake(
            recording := Recording(barrier.checkpoint_id, self._edges, self.watermarks)
        ):
            since, self._aligning_since = self._aligning_since, None
            alignment_ms = 0.0 if since is None else (self._clock.monotonic() - since) * 1000
            await self.chain.barrier(barrier, {}, alignment_ms, recording)
        await self.chain.settle()

    async def _tell_restored(self) -> None:
        """After a restore: the watermark and the idleness that stand before what was in flight."""
        if self.watermarks.merged > MIN_WATERMARK:
            await self._raise(self.watermarks.merged, self._clock.monotonic())
        self._must_tell_idle = self.watermarks.all_idle
        await self._tell_idle()

    async def _snapshot_if_due(self) -> None:
        # Calls in flight are part of the state; where none is kept, the last barrier waits for them.
        if self._due is not None and (self._drained or not (self._due[0].stateless and self._due[0].last)):
            (barrier, alignment_ms), self._due = self._due, None
            await self.chain.barrier(barrier, {}, alignment_ms)

    async def _collect(self) -> None:
        if self._async is None or self._async_node is None:
            return
        for item in self._async.collect():
            if isinstance(item, Batch):
                self._async_node.emit(item)
            else:
                self._async_node.forward_watermark(item)
        await self.chain.flush(self._clock.monotonic())
        await self._tell_idle()

    async def _tell_idle(self) -> None:
        # While calls are in flight their results may still come: to say idle now would let others overtake them.
        if self._must_tell_idle and self._drained:
            self._must_tell_idle = False
            self._head.idle()
            await self.chain.flush(self._clock.monotonic())

    async def _end(self) -> None:
        await self._collect()
        self._head.end()
        await self.chain.flush(self._clock.monotonic())
        self._ended = True
        self._reporter.ended(self.name)
