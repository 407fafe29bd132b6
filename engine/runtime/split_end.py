"""Where a replay ends a split: at the offset that another checkpoint has of it, or one that the user names. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from ...connectors.source import Offset
from ...operators.time import MIN_WATERMARK


@dataclass(frozen=True, slots=True)
class SplitEnd:
    """The end of a split: what stands behind it is not read.

    Attributes:
        offset: where. Opaque, but those that hold one whole number are taken to grow with it: `1500`, `{"byte": 4096}`.
        records: how many records the split had given there since its beginning; None where that is not known.
        ended: the split had no more records there: then this is its end of stream. Else it is held there, as at a barrier.
        watermark_ms: the split's watermark there, which may have moved on with the clock.
        idle: the split was idle there, and held no watermark back.
    """

    offset: Offset
    records: int | None = None
    ended: bool = False
    watermark_ms: int = MIN_WATERMARK
    idle: bool = False

    def reached(self, offset: Offset, records: int) -> bool:
        """Whether a split that stands at `offset`, behind so many records, has come to it."""
        if self.records is not None and records != self.records:
            return records > self.records
        at, end = ordinal(offset), ordinal(self.offset)
        # Behind the last record there may be some that were rejected: the offset has the last word where it can be read.
        if at is not None and end is not None:
            return at >= end
        return self.records is not None or offset == self.offset

    def passed(self, offset: Offset, records: int) -> bool:
        """Whether a fetch that leads there has brought records from behind the end."""
        if self.records is not None:
            return records > self.records
        at, end = ordinal(offset), ordinal(self.offset)
        return at is not None and end is not None and at > end

    def most(self, offset: Offset, records: int) -> int:
        """How many records may come at most before it; at least 1."""
        if self.records is not None:
            return max(1, self.records - records)
        at, end = ordinal(offset), ordinal(self.offset)
        return max(1, end - at) if at is not None and end is not None else 1


def ordinal(offset: Offset) -> int | None:
    """The one whole number in an offset; 0 at the beginning of a split, None where there is not one."""
    if offset is None:
        return 0
    numbers = [
        value
        for value in (offset.values() if isinstance(offset, dict) else [offset])
        if isinstance(value, int) and not isinstance(value, bool)
    ]
    return numbers[0] if len(numbers) == 1 else None
