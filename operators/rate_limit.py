"""No more than so many records per second."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from math import ceil
from typing import Any, Final, TypeVar

from .batch import Batch
from .in_flight import Call, InFlight, Line, gather
from .operator import AsyncOperator, OperatorContext
from .state import LocalListState

T = TypeVar("T")

_TICK_MS: Final = 10
"""So that thousands of records per second do not wake the subtask as often."""


class RateLimit(AsyncOperator[T, T]):
    """Lets records pass in their order, no more than so many per second, and holds those before it back meanwhile.

    The rate is that of all subtasks together: each takes its share. It is kept from the first record on; time in which
    none came is not saved up. Records go out one by one, or every 10 ms as many as are due.

    What is held are the records of one batch: they are state, and after a restore they go on from where they were. A
    checkpoint's barrier waits its turn behind the records before it. Where all of a source is to be slowed down,
    `rate_limit` of `Topology.source` does it without holding anything.

    A record costs one step through a queue. State: the records of one batch in each subtask, until their turn has come.

    Args:
        records_per_second: the rate.
        input_type: the type of the records, for the snapshot; `Any` for plain data (dicts, lists, strings, numbers).
        key_type: the type of the keys, if they are not strings, integers, bytes or tuples of these.

    Raises:
        ValueError: the rate is not positive.
    """

    kind = "rate_limit"

    def __init__(self, records_per_second: float, *, input_type: Any, key_type: Any = Any) -> None:
        if not records_per_second > 0:
            raise ValueError(f"rate_limit needs a rate above 0 records per second, not {records_per_second}")
        self.records_per_second = records_per_second
        self.key_type = key_type
        in_flight = InFlight[input_type, key_type]
        self._state = LocalListState[Any]("held", in_flight)

    def states(self) -> Sequence[LocalListState[Any]]:
        return (self._state,)

    def open(self, context: OperatorContext) -> None:
        self._context = context
        self._saved = context.state(self._state)
        self._interval_ms = 1000 * context.parallelism / self.records_per_second
        self._next_ms = 0.0
        self._line = Line(True)
        self._held: deque[Call] = deque()
        self._releasing: Any = None
        self._spawn: Callable[[Any], Any] | None = None
        self._wake: Callable[[], None] | None = None
        for saved in self._saved.items:
            self._hold(Call.restored(saved))
        self._saved.items = []

    def start(self, spawn: Callable[[Any], Any], wake: Callable[[], None]) -> None:
        self._spawn, self._wake = spawn, wake
        self._release()

    @property
    def ready(self) -> bool:
        return not self._held

    @property
    def idle(self) -> bool:
        return not self._held and not self._line.ripe

    def process(self, batch: Batch[T]) -> None:
        for index in range(len(batch)):
            self._hold(Call(batch, index))
        self._release()

    def on_watermark(self, watermark_ms: int) -> None:
        self._line.hold(watermark_ms)
        if self._wake is not None and self._line.ripe:
            self._wake()

    def collect(self) -> Sequence[Batch[T] | int]:
        out: list[Batch[T] | int] = []
        run: list[Call] = []
        for item in self._line.take():
            if run and (isinstance(item, int) or not item.goes_with(run[0])):
                out.append(gather(run))
                run = []
            if isinstance(item, int):
                out.append(item)
            else:
                run.append(item)
        if run:
            out.append(gather(run))
        return out

    def prepare_snapshot(self, checkpoint_id: int) -> None:
        self._saved.items = [call.saved(plain_key=self.key_type is Any) for call in self._held]

    def close(self) -> None:
        releasing = getattr(self, "_releasing", None)
        if releasing is not None:
            releasing.cancel()

    def _hold(self, call: Call) -> None:
        call.result = call.value
        self._held.append(call)
        self._line.add(call)

    def _release(self) -> None:
        if self._spawn is not None and self._held and self._releasing is None:
            self._releasing = self._spawn(self._let_go())

    async def _let_go(self) -> None:
        """Let records go when they are due, until none is held."""
        context = self._context
        self._next_ms = max(self._next_ms, context.now_ms())
        while self._held:
            now_ms = context.now_ms()
            due = int((now_ms - self._next_ms) / self._interval_ms) + 1 if now_ms >= self._next_ms else 0
            for _ in range(min(due, len(self._held))):
                self._line.finish(self._held.popleft())
                self._next_ms += self._interval_ms
            if due:
                assert self._wake is not None
                self._wake()
            if self._held:
                await context.sleep(max(ceil(self._next_ms - now_ms), _TICK_MS) / 1000)
        self._releasing = None
