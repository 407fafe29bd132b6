"""Where a chain ends: in channels to other subtasks, or in a sink's writer.

Both take elements synchronously while the chain is walked, and hand them over in `flush`, which may wait: that is where
backpressure is felt.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...connectors.sink import Committable, SinkWriter
from ...operators.batch import Batch, joined
from ..clock import Clock
from ..errors import JobError, OperatorError
from ..metrics.measures import Histogram, OperatorMeasures
from .channel import Channel
from .elements import Barrier, Control, Element, EndOfStream, Idle, Watermark
from .partitioners import Partitioner


class ChannelOutput:
    """The chain's end of one edge: a partitioner and the channels to the receiving subtasks."""

    def __init__(self, partitioner: Partitioner, channels: Sequence[Channel]) -> None:
        self._partitioner = partitioner
        self._channels = channels
        self._pending: list[tuple[int, Element]] = []

    def process(self, batch: Batch[Any]) -> None:
        self._pending.extend(self._partitioner.split(batch))

    def watermark(self, watermark_ms: int) -> None:
        self._everywhere(Watermark(watermark_ms))

    def idle(self) -> None:
        self._everywhere(Idle())

    def end(self) -> None:
        self._everywhere(EndOfStream())

    def barrier(self, barrier: Barrier) -> None:
        self._everywhere(barrier)

    def _everywhere(self, element: Control) -> None:
        self._pending.extend((channel, element) for channel in range(len(self._channels)))

    @property
    def pending(self) -> bool:
        return bool(self._pending)

    async def flush(self, arrived: float) -> None:
        pending, self._pending = self._pending, []
        for channel, element in pending:
            await self._channels[channel].send(element, arrived)

    def hurry(self, on: bool) -> None:
        """While it is on, what is handed over does not wait for room."""
        for channel in self._channels:
            channel.hurry(on)

    async def room(self) -> None:
        """Until no channel holds more than it should, or `hurry` is on."""
        for channel in self._channels:
            await channel.room()


class SinkLeaf:
    """The chain's end in a sink: one writer."""

    def __init__(
        self,
        operator_id: str,
        writer: SinkWriter[Any],
        measures: OperatorMeasures,
        latency: Histogram,
        clock: Clock,
        *,
        transactional: bool,
    ) -> None:
        self.operator_id = operator_id
        self.writer = writer
        self.measures = measures
        self.ended = False
        self._latency = latency
        self._clock = clock
        self._transactional = transactional
        self._pending: list[Batch[Any]] = []
        self._written: list[tuple[float, int]] = []

    def process(self, batch: Batch[Any]) -> None:
        self.measures.records_in += len(batch)
        self._pending.append(batch)

    def watermark(self, watermark_ms: int) -> None:
        self.measures.watermark_ms = watermark_ms

    def idle(self) -> None:
        """A sink has nobody to tell."""

    def end(self) -> None:
        self.ended = True

    @property
    def pending(self) -> bool:
        return bool(self._pending)

    async def open(self) -> None:
        with _SinkBoundary(self.operator_id):
            await self.writer.open()

    async def flush(self, arrived: float) -> None:
        pending, self._pending = self._pending, []
        if len(pending) > 1:
            # One write for each walk: that is how long a barrier may have to wait for a slow sink.
            pending = joined(pending)
        for batch in pending:
            with _SinkBoundary(self.operator_id):
                await self.writer.write(batch)
            self.measures.records_out += len(batch)
            if self._transactional:
                self._written.append((arrived, len(batch)))
            else:
                self._latency.add(self._clock.monotonic() - arrived, len(batch))

    async def prepare_commit(self, checkpoint_id: int) -> tuple[list[Committable], list[tuple[float, int]]]:
        """The committables of everything written so far, and when it had arrived: (seconds, records)."""
        with _SinkBoundary(self.operator_id):
            committables = await self.writer.prepare_commit(checkpoint_id)
        written, self._written = self._written, []
        return list(committables), written

    async def close(self) -> None:
        await self.writer.close()


class _SinkBoundary:
    """Whatever a writer raises leaves as an `OperatorError` that names the sink."""

    __slots__ = ("_operator_id",)

    def __init__(self, operator_id: str) -> None:
        self._operator_id = operator_id

    def __enter__(self) -> None:
        pass

    def __exit__(self, _type: object, error: BaseException | None, _traceback: object) -> None:
        if isinstance(error, Exception) and not isinstance(error, JobError):
            raise OperatorError(self._operator_id, error) from error
