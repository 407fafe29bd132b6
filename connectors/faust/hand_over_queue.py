"""Where Faust puts events for a topology, and what happens to them when partitions move."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def hand_over_queue(app: Any, capacity: int, arrived: Callable[[], None]) -> Any:
    """The queue that Faust puts events into. With an app it obeys its flow control, as any topic's queue must: when partitions
    move it is emptied, for Faust reads its messages again. Those of a channel are nowhere else."""
    from mode.utils.queues import FlowControlEvent, ThrowableQueue

    class HandOverQueue(ThrowableQueue[Any]):
        ended = False

        def end(self) -> None:
            """Let nobody wait; take nothing more."""
            self.ended = True
            self._maxsize = 0
            for resume in self._pending_pressure_drop_callbacks:
                resume()
            self._pending_pressure_drop_callbacks.clear()
            while self._putters:
                self._wakeup_next(self._putters)  # type: ignore[attr-defined]  # of asyncio.Queue

        def in_pressure_high_state(self, callback: Callable[[], None]) -> bool:
            return not self.ended and super().in_pressure_high_state(callback)

        def _put(self, item: Any) -> None:
            if not self.ended:
                super()._put(item)
                arrived()

    flow_control = FlowControlEvent(initially_suspended=False) if app is None else app.flow_control
    return HandOverQueue(capacity, flow_control=flow_control, clear_on_resume=app is not None)
