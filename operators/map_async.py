"""One record for each record, by a coroutine: calls to services, with many of them in flight."""

from __future__ import annotations

import asyncio
import types
import typing
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from inspect import isawaitable
from itertools import repeat
from typing import Any, Final, Literal, TypeAlias, TypeVar

from .batch import Batch
from .circuit_breaker import CircuitBreaker, CircuitOpenError, Gate
from .errors import FAILED, Failure, Guard, LastResort, OnError, Retry, check_on_error
from .in_flight import Call, InFlight, InFlightList, InFlightTable, Line, Turns, gather
from .operator import AsyncOperator, OperatorContext
from .state import LocalListState, StateDescriptor, WindowTableState
from .time import Duration, duration_ms, format_ms

In = TypeVar("In")
Out = TypeVar("Out")

Ordered: TypeAlias = bool | Literal["key"]
"""Results in the order of the records; in any between two watermarks; or in the order of each key's records."""

_ONCE: Final = Retry(attempts=1)


class MapAsync(AsyncOperator[In, Out]):
    """Turns each record into another by a coroutine. Timestamp, key and origin stay.

    Records whose result has not gone out are state: a snapshot keeps them, and after a restore they are
    called for again, so the function may be called more than once for a record, but its result goes out once.
    A watermark waits until the results of all records before it are out.

    A record costs one coroutine and its call, however many are in flight. State: `capacity` records and the rest of one
    batch in each subtask, until their results have gone out.

    Args:
        function: called with a value, gives an awaitable of the new value.
        input_type: the type of the records, for the snapshot; `Any` for plain data (dicts, lists, strings,
            numbers).
        key_type: the type of the keys, if they are not strings, integers, bytes or tuples of these.
        ordered: results go out in the order of the records. With False as they come, but never past a watermark. With
            "key" so too, but those of a key in the order of its records, and one call after the other: for calls that
            change something. Needs a keyed stream, and keeps its order through a restore at another parallelism.
        capacity: how many calls may be in flight at a time. While as many results are missing or waiting for
            their turn, no further batch is taken in.
        timeout: how long one try may take; None for as long as it likes.
        retry: how often to try again and how long to wait before.
        on_error: what to do with a record whose last try has failed; `retry.then` when left out.
        breaker: when to leave the service alone; None: never.

    Raises:
        ValueError: `capacity` is less than 1, `timeout` is not a duration, `on_error` is not a policy, or
            there are two `Retry`.
    """

    kind = "map_async"
    side_outputs = (FAILED,)

    def __init__(
        self,
        function: Callable[[In], Awaitable[Out]],
        *,
        input_type: Any,
        key_type: Any = Any,
        ordered: Ordered = True,
        capacity: int = 100,
        timeout: Duration | None = "30s",
        retry: Retry | None = None,
        on_error: OnError | None = None,
        breaker: CircuitBreaker | None = None,
    ) -> None:
        if capacity < 1:
            raise ValueError(f"{self.kind}(capacity={capacity}): at least one call must be possible")
        if ordered not in (True, False, "key"):
            raise ValueError(f'{self.kind}(ordered={ordered!r}) is not known: use True, False or "key"')
        if isinstance(on_error, Retry):
            if retry is not None:
                raise ValueError(f"{self.kind} has a Retry as retry and another as on_error: give one")
            retry, on_error = on_error, None
        self.retry = retry or _ONCE
        self.on_error: LastResort = on_error or self.retry.then
        check_on_error(self.on_error)
        self.function = function
        self.input_type = input_type
        self.key_type = key_type
        self.ordered = ordered
        self.capacity = capacity
        self.timeout = timeout
        self.breaker = breaker
        self._timeout_ms = None if timeout is None else duration_ms(timeout)
        self._expected = _classes(input_type)
        # What is in flight goes where its keys go, or else to anybody.
        self.keyed = ordered == "key"
        in_flight = InFlight[input_type, key_type]
        self._list_state = LocalListState[Any]("in_flight", in_flight)
        self._table_state = WindowTableState[Any]("in_flight", in_flight)

    def states(self) -> Sequence[StateDescriptor[Any]]:
        return (self._table_state if self.keyed else self._list_state,)

    def open(self, context: OperatorContext) -> None:
        self._context = context
        self._guard = Guard(self.on_error, context)
        self._gate = None if self.breaker is None else Gate(self.breaker, context)
        self._saved: InFlightList | InFlightTable = (
            InFlightTable(context.state(self._table_state))
            if self.keyed
            else InFlightList(context.state(self._list_state), plain_key=self.key_type is Any)
        )
        self._spawn: Callable[[Any], Any] | None = None
        self._wake: Callable[[], None] | None = None
        self._woken = False
        self._fatal: Call | None = None
        self._line = Line(self.ordered is True)
        self._turns = Turns() if self.keyed else None
        self._waiting: deque[Call] = deque()
        self._missing: dict[Call, None] = {}
        """The calls whose result has not gone out, in order of the records."""
        self._workers: dict[Any, None] = {}
        self._n_working = 0
        """The workers that look for waiting calls; one that has found none may still be in `_workers`."""
        self._serial = 0
        for call in self._saved.restored():
            self._take_in(call)

    def start(self, spawn: Callable[[Any], Any], wake: Callable[[], None]) -> None:
        self._spawn = spawn
        self._wake = wake
        self._start_calls()
        self._wake_if_ripe()

    @property
    def ready(self) -> bool:
        return len(self._missing) < self.capacity

    @property
    def idle(self) -> bool:
        return not self._missing and not self._line.ripe

    def process(self, batch: Batch[In]) -> None:
        self._check(batch)
        for index in range(len(batch)):
            self._take_in(Call(batch, index))
        self._start_calls()

    def on_watermark(self, watermark_ms: int) -> None:
        self._line.hold(watermark_ms)
        self._wake_if_ripe()

    def collect(self) -> Sequence[Batch[Out] | int]:
        self._woken = False
        if self._fatal is not None:
            self._reject(self._fatal)
        out: list[Batch[Out] | int] = []
        run: list[Call] = []
        for item in self._line.take():
            if isinstance(item, int):
                self._finish(run, out)
                out.append(item)
                continue
            if item.error is not None:
                if self.on_error == "fail" and (run or out):
                    # What is ready before the failing record goes out first; the next collect raises.
                    self._fatal = item
                    break
                self._reject(item)
            elif run and not item.goes_with(run[0]):
                self._finish(run, out)
                run.append(item)
            else:
                run.append(item)
            del self._missing[item]
        self._finish(run, out)
        if self._fatal is not None and self._wake is not None:
            self._wake()
        return out

    def prepare_snapshot(self, checkpoint_id: int) -> None:
        self._saved.save(self._missing)

    def close(self) -> None:
        # After a failure in `open` there is nothing to stop.
        for worker in list(getattr(self, "_workers", ())):
            worker.cancel()

    def _check(self, batch: Batch[In]) -> None:
        expected = self._expected
        if expected is None or all(map(isinstance, batch.values, repeat(expected))):
            return
        index = next(i for i, value in enumerate(batch.values) if not isinstance(value, expected))
        error = TypeError(
            f"got a {type(batch.values[index]).__name__}, but input_type is {self.input_type!r}: "
            "give the type that the records have, for they are kept in checkpoints by it"
        )
        raise self._context.record_error(error, batch, index) from error

    def _take_in(self, call: Call) -> None:
        self._serial += 1
        call.serial = self._serial
        self._missing[call] = None
        self._line.add(call)
        self._begin(call)

    def _begin(self, call: Call) -> None:
        """What becomes of a record that has just been taken in: it waits for its call."""
        if self._turns is None or self._turns.begins(call):
            self._waiting.append(call)

    def _ask(self, call: Call) -> Awaitable[Out]:
        """One try of a call."""
        return self.function(call.value)

    def _start_calls(self) -> None:
        if self._spawn is None:
            return
        for _ in range(min(len(self._waiting), self.capacity - self._n_working)):
            self._n_working += 1
            worker = self._spawn(self._work())
            self._workers[worker] = None
            worker.add_done_callback(self._workers.__delitem__)

    async def _work(self) -> None:
        """Make one call after the other until none is waiting."""
        task = asyncio.current_task()
        # A call that swallowed our cancellation is the last one.
        while self._waiting and not (task is not None and task.cancelling()):
            call = self._waiting.popleft()
            while True:
                call.tries += 1
                call.result, call.error = await self._tried(self._ask, call)
                if call.error is None or call.tries >= self.retry.attempts:
                    break
                await self._before_retry(call)
            self._finished(call)
        self._n_working -= 1

    def _finished(self, call: Call) -> None:
        """The call has its result, or its last error."""
        self._line.finish(call)
        if self._turns is not None:
            following = self._turns.ended(call)
            if following is not None:
                self._waiting.append(following)
        self._wake_if_ripe()

    async def _before_retry(self, call: Call) -> None:
        self._context.count("retries")
        seed = f"{self._context.operator_id}/{self._context.subtask}/{call.serial}"
        await self._context.sleep(self.retry.wait_ms(call.tries, seed) / 1000)

    async def _tried(self, ask: Callable[[Any], Any], argument: Any) -> tuple[Any, Exception | None]:
        """What one try answers, or what it raises; through the circuit, if there is one."""
        if self._gate is None:
            return await self._answered(ask, argument)
        try:
            turn = await self._gate.enter()
        except CircuitOpenError as error:
            return None, error
        result, raised = await self._answered(ask, argument)
        self._gate.leave(turn, raised)
        return result, raised

    async def _answered(self, ask: Callable[[Any], Any], argument: Any) -> tuple[Any, Exception | None]:
        """What the function answers in time, or what it raises."""
        limit = asyncio.timeout(None if self._timeout_ms is None else self._timeout_ms / 1000)
        error: Exception
        try:
            async with limit:
                answer = ask(argument)
                if not isawaitable(answer):
                    raise TypeError(
                        f"{self.kind} needs a coroutine function, but it gave a {type(answer).__name__}: "
                        "declare it with async def, or use map"
                    )
                return await answer, None
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            # Nobody cancelled us: the call let out a cancellation of its own, and nobody would hear.
            error = RuntimeError("the call was cancelled from inside")
        except Exception as caught:
            error = caught
            if limit.expired() and isinstance(caught, TimeoutError):
                assert self._timeout_ms is not None
                error = TimeoutError(f"no answer within {format_ms(self._timeout_ms)}")
        return None, error

    def _wake_if_ripe(self) -> None:
        if self._wake is not None and not self._woken and self._line.ripe:
            self._woken = True
            self._wake()

    @staticmethod
    def _finish(run: list[Call], out: list[Batch[Out] | int]) -> None:
        if run:
            out.append(gather(run.copy()))
            run.clear()

    def _reject(self, call: Call) -> None:
        assert call.error is not None
        self._guard.reject(call.alone(), [Failure(0, call.error, call.tries)])


def _classes(input_type: Any) -> Any:
    """What to give to `isinstance` to see whether a value is of the type, as far as that can be seen; None
    for nothing."""
    if typing.get_origin(input_type) is typing.Annotated:
        return _classes(typing.get_args(input_type)[0])
    if isinstance(input_type, types.UnionType) or typing.get_origin(input_type) is typing.Union:
        members = [_classes(member) for member in typing.get_args(input_type)]
        return None if None in members else tuple(members)
    if input_type is None:
        return types.NoneType
    if input_type is float:
        return (float, int)
    found = typing.get_origin(input_type) or input_type
    if not isinstance(found, type) or found in (Any, object) or typing.is_typeddict(found):
        return None
    return found
