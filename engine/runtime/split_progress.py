"""How far one split of a source has been read."""

from __future__ import annotations

from math import inf

from ...connectors.source import Offset, Split
from ...operators.time import MIN_WATERMARK
from ...operators.watermarks import Watermarks
from ..metrics.measures import SplitMeasures
from .chain import SplitPosition
from .split_end import SplitEnd
from .watermarks import SplitWatermark


class SplitProgress:
    """One split, its offset after the last record sent on, and its watermark.

    Attributes:
        end: where a replay ends it; None: where it ends by itself.
        held: it has come to that end and is not read any more, but its stream has not ended there.
        complete_ms: all its records up to this event time have been read, and it is held for that reason.
        most: how many records are asked for at once, when it comes near its end.
    """

    def __init__(
        self,
        split: Split,
        position: SplitPosition | None,
        watermarks: Watermarks,
        measures: SplitMeasures,
        end: SplitEnd | None = None,
    ) -> None:
        self.split = split
        self.end = end
        self.held = False
        self.complete_ms: int | None = None
        self.most: int | None = None
        self.offset: Offset = None if position is None else position.offset
        self.ended = position is not None and position.ended
        self.records = 0 if position is None else position.records
        self.watermark = SplitWatermark(watermarks, MIN_WATERMARK if position is None else position.watermark_ms)
        self.measures = measures
        self.idle = False
        self.last_record: float = 0.0
        self.parked_until = -inf
        self.lingers_until = -inf

    def ready(self, now: float) -> bool:
        """Neither parked because it had nothing, nor waiting for a batch to fill."""
        return self.parked_until <= now and self.lingers_until <= now

    def end_if_reached(self) -> None:
        """Stop at the end that was set for it, where it has come to that."""
        if self.end is not None and not self.ended and self.end.reached(self.offset, self.records):
            self.stop_at(self.end)

    def stop_at(self, end: SplitEnd) -> None:
        """Read no more. Where the stream has not ended the split stands as it stood there: its watermark counts, unless it
        was idle."""
        if end.ended:
            self.ended = True
            return
        self.held, self.idle, self.complete_ms = True, end.idle, end.watermark_ms

    def position(self) -> SplitPosition:
        mark = self.watermark.watermark_ms
        return SplitPosition(self.split, self.offset, self.ended, mark, self.records, self.idle)
