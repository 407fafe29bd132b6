"""How a source makes watermarks: the description. The arithmetic is the engine's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from .time import Duration, duration_ms


class WatermarkStrategy(Protocol):
    """A watermark of your own making, one instance per split."""

    def observe(self, timestamp_ms: int, value: Any) -> int:
        """The watermark that holds after this record: no later record of the split is expected at or before it. Called
        for every record, in order. A lower value than before counts as the one before."""
        ...

    def restore(self, watermark_ms: int) -> None:
        """The watermark that held at the checkpoint that is restored; called before the first `observe`, only then."""
        ...


@dataclass(frozen=True)
class Watermarks:
    """When event time has passed, for each split of a source; the source's watermark is the lowest of them.

    The watermark follows every record: it is the highest timestamp seen in the split so far, less `out_of_orderness`,
    less one millisecond. Whether a record is late therefore depends on the records before it in its split, never on timing
    or on where batches were cut.

    Args:
        out_of_orderness: how much older than the newest record a record may be without being late.
        idle_timeout: a split without records for this long no longer holds the others back. When all are idle, the
            watermark moves on with the clock, so that windows close without waiting for the next record. None: never.
        max_ahead: a record further than this in the future of the clock is a bad record: it would make every good one
            late. None: no limit.
        strategy: makes a `WatermarkStrategy` for each split, in place of `out_of_orderness`.

    Raises:
        ValueError: a duration is not one.
    """

    out_of_orderness: Duration = "0ms"
    idle_timeout: Duration | None = "30s"
    max_ahead: Duration | None = "1d"
    strategy: Callable[[], WatermarkStrategy] | None = None

    def __post_init__(self) -> None:
        duration_ms(self.out_of_orderness)
        for limit in (self.idle_timeout, self.max_ahead):
            if limit is not None:
                duration_ms(limit)

    @property
    def out_of_orderness_ms(self) -> int:
        return duration_ms(self.out_of_orderness)

    @property
    def idle_timeout_ms(self) -> int | None:
        return None if self.idle_timeout is None else duration_ms(self.idle_timeout)

    @property
    def max_ahead_ms(self) -> int | None:
        return None if self.max_ahead is None else duration_ms(self.max_ahead)
