"""What makes a stream of records a table: how each becomes the row of its key, or says that there is none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .batch import Batch
from .changes import Change
from .errors import Guard, OnError, check_on_error
from .time import Duration, duration_ms


@dataclass(frozen=True)
class TableInput:
    """How records become rows. Of an update stream a `Change` that adds brings the row, one that retracts takes it away.

    Args:
        row_type: the type of the rows, as they are stored.
        row: makes of a record the row of its key; None deletes it. Without it the record is the row.
        ttl: forget a row so long after it was last written, by processing time; None: never.
        on_error: what to do with a record that `row` fails on.

    Raises:
        ValueError: a setting is wrong.
    """

    row_type: Any
    row: Callable[[Any], Any] | None = None
    ttl: Duration | None = None
    on_error: OnError = "fail"

    def __post_init__(self) -> None:
        check_on_error(self.on_error)
        if self.ttl is not None and not duration_ms(self.ttl):
            raise ValueError("latest(ttl=...) must be longer than 0ms")

    def rows(self, batch: Batch[Any], guard: Guard) -> tuple[Batch[Any], list[Any]]:
        """The records that became rows, and the rows; None for a deletion."""
        if Change in set(map(type, batch.values)):
            rows, kept = guard.apply(self._of_change, batch)
        elif self.row is None:
            return batch, batch.values
        else:
            rows, kept = guard.apply(self.row, batch)
        return batch if kept is None else batch.take(kept), rows

    def _of_change(self, value: Any) -> Any:
        if type(value) is Change:
            if not value.adds:
                return None
            value = value.value
        return value if self.row is None else self.row(value)
