"""The arithmetic of watermarks: pure, no clock, no loop."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import accumulate

from ...operators.time import MIN_WATERMARK
from ...operators.watermarks import Watermarks, WatermarkStrategy
from .bounds import Bounds


class SplitWatermark:
    """The watermark of one split.

    It rises with every record. To a batch that costs one look at its bounds: only a record that stands *behind* the
    watermark implied by those before it can tell the difference, so the batch is cut there and nowhere else.
    """

    def __init__(self, watermarks: Watermarks, restored_ms: int = MIN_WATERMARK) -> None:
        self.watermark_ms = restored_ms
        self.slack_ms = watermarks.out_of_orderness_ms + 1
        self._strategy: WatermarkStrategy | None = None
        if watermarks.strategy is not None:
            self._strategy = watermarks.strategy()
            if restored_ms != MIN_WATERMARK:
                self._strategy.restore(restored_ms)

    def advance(self, timestamps: Sequence[int], values: Sequence[object], bounds: Bounds) -> list[tuple[int, int]]:
        """Take in a batch, with the bounds of its timestamps. The cuts it needs: (index, watermark) means
        that the records from `index` on must see `watermark`. `watermark_ms` is then the watermark after the batch."""
        if self._strategy is not None:
            return self._observed(timestamps, values)
        slack = self.slack_ms
        told = self.watermark_ms
        after = self.watermark_ms = max(told, bounds.highest - slack)
        if bounds.lowest > after:
            return []
        # A record can stand behind only if the lowest of its block is as far below the highest so far.
        cuts: list[tuple[int, int]] = []
        top = told + slack
        for number, (low, high) in enumerate(zip(bounds.lows, bounds.highs, strict=True)):
            reached = max(top, high)
            if low > reached - slack:
                top = reached
                continue
            start = number * bounds.block
            for index, timestamp in enumerate(timestamps[start : start + bounds.block], start):
                if timestamp > top:
                    top = timestamp
                elif timestamp <= top - slack and top - slack > told:
                    told = top - slack
                    cuts.append((index, told))
        return cuts

    def running(self, timestamps: Sequence[int], values: Sequence[object]) -> list[int]:
        """For each record the watermark before it; call it before `advance`, which must then be given the same batch.
        Not for a strategy of the user's: there the watermark before the batch stands for all."""
        if self._strategy is not None:
            return [self.watermark_ms] * len(timestamps)
        slack = self.slack_ms
        tops = list(accumulate(timestamps, max, initial=self.watermark_ms + slack))
        tops.pop()
        return [top - slack for top in tops]

    def pass_time(self, milliseconds: int) -> None:
        """Event time moves on with the clock while the whole source is idle."""
        if self.watermark_ms != MIN_WATERMARK:
            self.watermark_ms += milliseconds

    def raise_to(self, watermark_ms: int) -> None:
        """No record up to there is expected any more, whatever has come."""
        self.watermark_ms = max(self.watermark_ms, watermark_ms)

    def _observed(self, timestamps: Sequence[int], values: Sequence[object]) -> list[tuple[int, int]]:
        assert self._strategy is not None
        observe = self._strategy.observe
        told = self.watermark_ms
        cuts = []
        for index, (timestamp, value) in enumerate(zip(timestamps, values, strict=True)):
            if timestamp <= self.watermark_ms and self.watermark_ms > told:
                told = self.watermark_ms
                cuts.append((index, told))
            self.watermark_ms = max(self.watermark_ms, observe(timestamp, value))
        return cuts


def lowest(watermarks: Iterable[tuple[int, bool]]) -> int:
    """The watermark of several inputs, each (watermark, idle): the lowest of those that are not idle; when all are, the
    lowest of those that have one, which moves on with the clock at its source. `MIN_WATERMARK` when there are none."""
    pairs = list(watermarks)
    active = [watermark for watermark, idle in pairs if not idle]
    return min(active or [mark for mark, _ in pairs if mark != MIN_WATERMARK], default=MIN_WATERMARK)


class InputWatermarks:
    """The watermarks of a subtask's input channels, merged.

    Args:
        idle: for each channel, whether it is idle from the start, until records come.

    >>> inputs = InputWatermarks([False, False, True])
    >>> inputs.update(0, 50) is None, inputs.update(1, 30)
    (True, 30)
    >>> inputs.set_idle(1)
    50
    """

    def __init__(self, idle: Sequence[bool]) -> None:
        self.marks = [MIN_WATERMARK] * len(idle)
        self.idle_channels = list(idle)
        self.merged = MIN_WATERMARK

    @property
    def all_idle(self) -> bool:
        return all(self.idle_channels)

    def restore(self, merged: int, watermarks: Sequence[int], idle: Sequence[bool]) -> None:
        """Stand where they stood: the merged one, and per channel its own and whether it was idle."""
        self.merged, self.marks, self.idle_channels = merged, list(watermarks), list(idle)

    def update(self, channel: int, watermark_ms: int) -> int | None:
        """A channel's watermark has risen; the merged one if it rose."""
        self.marks[channel] = max(self.marks[channel], watermark_ms)
        return self._risen()

    def set_idle(self, channel: int) -> int | None:
        """A channel has gone idle; the merged watermark if it rose by that."""
        self.idle_channels[channel] = True
        return self._risen()

    def set_active(self, channel: int) -> None:
        """Records have come on a channel."""
        self.idle_channels[channel] = False

    def hold_back(self, channel: int, running: list[int]) -> list[int]:
        """The watermark before each record of a batch, ascending, as the sender of one channel sees it: held back to where the
        other channels stand.

        >>> inputs = InputWatermarks([False, False])
        >>> inputs.update(1, 30)
        >>> inputs.hold_back(0, [10, 50, 90])
        [10, 30, 30]
        """
        others = [
            mark
            for other, (mark, idle) in enumerate(zip(self.marks, self.idle_channels, strict=True))
            if other != channel and not idle
        ]
        reached = min(others, default=running[-1])
        if running[-1] <= reached and running[0] >= self.merged:
            return running
        merged = self.merged
        return [max(merged, min(mark, reached)) for mark in running]

    def _risen(self) -> int | None:
        merged = lowest(zip(self.marks, self.idle_channels, strict=True))
        if merged > self.merged:
            self.merged = merged
            return merged
        return None
