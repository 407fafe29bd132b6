"""Timers as state: two window tables whose namespaces are the times at which the timers are due."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ...operators.state import WindowTable
from .key_groups import encode_key


class TimerService:
    """The timers of one operator in one subtask. Implements `Timers` for the operator; the rest is for the runtime.

    Args:
        event: the table of the event-time timers.
        processing: the table of the processing-time timers.
    """

    def __init__(self, event: WindowTable[Any, bool], processing: WindowTable[Any, bool]) -> None:
        self._event = event
        self._processing = processing

    def set_event(self, timestamp_ms: int, key: Any) -> None:
        _set(self._event, timestamp_ms, key)

    def set_processing(self, timestamp_ms: int, key: Any) -> None:
        _set(self._processing, timestamp_ms, key)

    def remove_event(self, timestamp_ms: int, key: Any) -> None:
        self._event.remove(timestamp_ms, key)

    def remove_processing(self, timestamp_ms: int, key: Any) -> None:
        self._processing.remove(timestamp_ms, key)

    def due_event(self, watermark_ms: int) -> Iterator[tuple[int, list[Any]]]:
        """The event-time timers up to `watermark_ms`, ascending by time, each removed as it is given out.

        Keys of one time come in the order of their encodings, the same in every run. Timers set meanwhile for times
        already due are given in the same pass.
        """
        return _due(self._event, watermark_ms)

    def due_processing(self, now_ms: int) -> Iterator[tuple[int, list[Any]]]:
        """The processing-time timers up to `now_ms`; as `due_event`."""
        return _due(self._processing, now_ms)

    def next_event(self) -> int | None:
        """When the next event-time timer is due; None when there is none."""
        return self._event.first()

    def next_processing(self) -> int | None:
        """When the next processing-time timer is due; None when there is none."""
        return self._processing.first()


def _set(table: WindowTable[Any, bool], timestamp_ms: int, key: Any) -> None:
    due = table.live.get(timestamp_ms)
    if due is None:
        due = table.open(timestamp_ms)
    due[key] = True


def _due(table: WindowTable[Any, bool], until_ms: int) -> Iterator[tuple[int, list[Any]]]:
    while True:
        timestamp_ms = table.first()
        if timestamp_ms is None or timestamp_ms > until_ms:
            return
        keys = list(table.take(timestamp_ms))
        yield timestamp_ms, sorted(keys, key=encode_key) if len(keys) > 1 else keys
