"""What window operators have in common: gathering results, and the lines of a trigger."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Optional

from .batch import Batch
from .windows import Trigger, Window, on_watermark

PENDING: Final = "_pending"
"""The slot that says how many records have come since the window last fired."""


CUSTOM: Final = "_custom"
"""The slot of a custom trigger's state."""


class WindowOutput:
    """The results of one step, on their way into a batch.

    Args:
        make: makes of (key, window, result) the values to give out; None gives out the result itself.
    """

    def __init__(self, make: Callable[[Any, Window, Any], Any] | None) -> None:
        self._make = make
        self._clear()

    def add(self, results: list[Any], keys: list[Any], window: Window) -> None:
        """Results of a window, one per key. Their timestamp is the last moment of the window."""
        if self._make is not None:
            made = [list(self._make(key, window, r)) for key, r in zip(keys, results, strict=True)]
            keys = [key for key, values in zip(keys, made, strict=True) for _ in values]
            results = [value for values in made for value in values]
        self._values += results
        self._keys += keys
        self._timestamps += [window.end_ms - 1] * len(keys)

    def take(self, *, timed: bool = True) -> Batch[Any] | None:
        """What was added since the last call; None when there is nothing. Without timestamps when not
        `timed`."""
        if not self._values:
            return None
        batch = Batch(self._values, self._timestamps if timed else None, self._keys)
        self._clear()
        return batch

    def _clear(self) -> None:
        self._values: list[Any] = []
        self._timestamps: list[int] = []
        self._keys: list[Any] = []


def trigger_marks(trigger: Trigger) -> dict[str, tuple[Any, str]]:
    """The slots of an accumulator that the lines need."""
    marks: dict[str, tuple[Any, str]] = {}
    if trigger != on_watermark():
        marks[PENDING] = (int, "0")
    if trigger.custom is not None:
        marks[CUSTOM] = (Optional[trigger.custom.state_type], "None")  # noqa: UP045  # the type is a value here
    return marks


def trigger_functions(trigger: Trigger) -> dict[str, Callable[..., Any]]:
    """The functions that the lines need."""
    if trigger.custom is None:
        return {}
    on_record = trigger.custom.on_record

    def asks(acc: Any, value: Any, timestamp_ms: int) -> bool:
        acc._custom, fires = on_record(acc._custom, value, timestamp_ms)
        return fires

    return {"asks": asks}


def trigger_lines(trigger: Trigger, fire: str) -> list[str]:
    """The lines of an inner loop that count or schedule, after a record has gone into `acc`."""
    if trigger.custom is not None:
        return ["if asks(acc, value, t):", f"    {fire}"]
    if trigger.every_count is not None:
        return ["acc._pending += 1", f"if acc._pending >= {trigger.every_count}:", f"    {fire}"]
    if trigger.every_ms is not None:
        return ["if not acc._pending:", "    acc._pending = 1", "    schedule(key)"]
    return []
