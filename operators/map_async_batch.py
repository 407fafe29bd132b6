"""Records turned into others by a coroutine that takes many at a time: services with bulk calls."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

from .circuit_breaker import CircuitBreaker
from .errors import OnError, Retry
from .in_flight import Call
from .map_async import MapAsync, Ordered
from .operator import OperatorContext
from .time import Duration, duration_ms

In = TypeVar("In")
Out = TypeVar("Out")


class MapAsyncBatch(MapAsync[In, Out]):
    """Turns records into others by a coroutine that takes a list of them and gives a list of as many results.

    A call is made when `max_batch` records wait, or when the first of those that wait has done so for `linger`. Which
    records share a call has no meaning: they are kept, ordered and called for again one by one, as by `MapAsync`. With
    `ordered="key"` no two records of a key share a call.

    A result that is an exception says that its record has failed; a call that raises has failed for all its records. Those
    that have failed are tried again, together, as `retry` says; the others go on meanwhile.

    A record costs its share of one coroutine and call per `max_batch` records. State: `capacity * max_batch` records and
    the rest of one batch in each subtask, until their results have gone out.

    Args:
        function: called with a list of values, gives an awaitable of a list of the new values, in the same order.
        max_batch: how many records a call takes at most.
        linger: how long a record waits for others.
        capacity: how many calls may be in flight at a time.
        input_type, key_type, ordered, timeout, retry, on_error, breaker: as for `MapAsync`; `timeout` is that of a
            call, and for the breaker a call fails when it raises.

    Raises:
        ValueError: `max_batch` is less than 1, `linger` is not a duration, or as for `MapAsync`.
    """

    kind = "map_async_batch"

    def __init__(
        self,
        function: Callable[[list[In]], Awaitable[Sequence[Out | Exception]]],
        *,
        max_batch: int,
        input_type: Any,
        linger: Duration = "10ms",
        key_type: Any = Any,
        ordered: Ordered = True,
        capacity: int = 10,
        timeout: Duration | None = "30s",
        retry: Retry | None = None,
        on_error: OnError | None = None,
        breaker: CircuitBreaker | None = None,
    ) -> None:
        if max_batch < 1:
            raise ValueError(f"map_async_batch(max_batch={max_batch}): a call takes at least one record")
        super().__init__(
            function,  # type: ignore[arg-type]  # called with a list: see `_work_at`
            input_type=input_type,
            key_type=key_type,
            ordered=ordered,
            capacity=capacity,
            timeout=timeout,
            retry=retry,
            on_error=on_error,
            breaker=breaker,
        )
        self.max_batch = max_batch
        self._linger_s = duration_ms(linger) / 1000

    def open(self, context: OperatorContext) -> None:
        self._lingering = False
        super().open(context)

    @property
    def ready(self) -> bool:
        return len(self._missing) < self.capacity * self.max_batch

    def _start_calls(self) -> None:
        if self._spawn is None:
            return
        while len(self._waiting) >= self.max_batch and self._n_working < self.capacity:
            self._run(self._work_at(self._next()))
        if self._waiting and self._n_working < self.capacity and not self._lingering:
            self._lingering = True
            self._run(self._linger())

    def _run(self, work: Any) -> None:
        assert self._spawn is not None
        self._n_working += 1
        worker = self._spawn(work)
        self._workers[worker] = None
        worker.add_done_callback(self._workers.__delitem__)

    def _next(self) -> list[Call]:
        return [self._waiting.popleft() for _ in range(min(self.max_batch, len(self._waiting)))]

    async def _linger(self) -> None:
        """Wait for more records, then make a call of those that are there."""
        await self._context.sleep(self._linger_s)
        self._lingering = False
        await self._work_at(self._next())

    async def _work_at(self, calls: list[Call]) -> None:
        """Make one call, and again for those of its records that fail."""
        task = asyncio.current_task()
        while calls:
            for call in calls:
                call.tries += 1
            results, error = await self._tried(self.function, [call.value for call in calls])
            if error is None:
                error = self._mismatch(results, len(calls))
            again = []
            for index, call in enumerate(calls):
                result = error if error is not None else results[index]
                call.result, call.error = (None, result) if isinstance(result, Exception) else (result, None)
                if call.error is not None and call.tries < self.retry.attempts:
                    again.append(call)
                else:
                    self._finished(call)
            calls = again
            if calls:
                await self._before_retry(calls[0])
        self._n_working -= 1
        # A call that swallowed our cancellation is the last one.
        if not (task is not None and task.cancelling()):
            self._start_calls()

    def _mismatch(self, results: Any, n: int) -> Exception | None:
        """What is wrong with the shape of an answer."""
        if not isinstance(results, Sequence) or isinstance(results, str | bytes):
            return TypeError(f"map_async_batch needs a list of results, but the call gave a {type(results).__name__}")
        if len(results) != n:
            return ValueError(
                f"map_async_batch needs one result for each of {n} records, but the call gave {len(results)}"
            )
        return None
