"""A circuit breaker: a service that fails is left alone for a while."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from enum import Enum
from typing import Literal

from .operator import OperatorContext
from .time import Duration, duration_ms, format_ms


class CircuitOpenError(Exception):
    """A call was not made, for its circuit is open."""


@dataclass(frozen=True)
class CircuitBreaker:
    """When to stop calling a service that fails, and how to find out that it is well again.

    The circuit is closed while things go well. When the share of the last calls that failed reaches `failure_share` it
    opens: no call is made for `open_for`. Then it is half open: `trial_calls` calls are made. When all of them succeed it
    closes, when one fails it opens again. Every try of a call counts, one that takes too long as failed.

    Each subtask has a circuit of its own. It is no state: after a restart it is closed.

    Args:
        failure_share: of the last calls, from above 0 to 1.
        last: how many calls are looked at.
        least: with fewer than that the circuit does not open.
        open_for: how long no call is made.
        trial_calls: how many calls must succeed then.
        when_open: `"wait"`: records wait, and no more are taken in than `capacity`, so sources slow down; `"fail"`: a call
            fails with `CircuitOpenError`, and `retry` and `on_error` say what becomes of its record.
        counts: the errors that speak of the service. Others, such as "not found", count as success.

    Raises:
        ValueError: a setting is out of its range.
    """

    failure_share: float = 0.5
    last: int = 100
    least: int = 20
    open_for: Duration = "30s"
    trial_calls: int = 3
    when_open: Literal["wait", "fail"] = "wait"
    counts: tuple[type[Exception], ...] = (Exception,)

    def __post_init__(self) -> None:
        if not 0 < self.failure_share <= 1:
            raise ValueError(f"CircuitBreaker(failure_share={self.failure_share}): it is a share, above 0 and up to 1")
        if not 1 <= self.least <= self.last:
            raise ValueError(f"CircuitBreaker(last={self.last}, least={self.least}) needs 1 <= least <= last")
        if self.trial_calls < 1:
            raise ValueError(f"CircuitBreaker(trial_calls={self.trial_calls}): without a trial it would stay open")
        if self.when_open not in ("wait", "fail"):
            raise ValueError(f'CircuitBreaker(when_open={self.when_open!r}) is not known: use "wait" or "fail"')
        if duration_ms(self.open_for) == 0:
            raise ValueError("CircuitBreaker(open_for=…) must be longer than 0ms")


class CircuitState(Enum):
    """Whether calls are made."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class Circuit:
    """One circuit. Decides; knows no clock, and waits for nothing.

    Attributes:
        state: whether calls are made.
        turn: changes with the state; what comes of a call that began in an earlier turn says nothing any more.
    """

    def __init__(self, settings: CircuitBreaker) -> None:
        self._settings = settings
        self._open_ms = duration_ms(settings.open_for)
        self._failed: deque[bool] = deque(maxlen=settings.last)
        self._n_failed = 0
        self._until_ms = 0
        self._trials = 0
        self._succeeded = 0
        self.state = CircuitState.CLOSED
        self.turn = 0

    def admit(self, now_ms: int) -> int | None:
        """Whether a call may be made now: None when it may, else how many milliseconds to wait before asking again; 0: until
        a trial call has ended."""
        if self.state is CircuitState.OPEN:
            if now_ms < self._until_ms:
                return self._until_ms - now_ms
            self._turn(CircuitState.HALF_OPEN)
        if self.state is CircuitState.HALF_OPEN:
            if self._trials == self._settings.trial_calls:
                return 0
            self._trials += 1
        return None

    def ended(self, turn: int, now_ms: int, *, failed: bool) -> bool:
        """What came of a call that was admitted in `turn`. Returns whether the circuit opens."""
        if turn != self.turn:
            return False
        if self.state is CircuitState.HALF_OPEN:
            self._succeeded += not failed
            if self._succeeded == self._settings.trial_calls:
                self._turn(CircuitState.CLOSED)
            opens = failed
        else:
            outcomes = self._failed
            if len(outcomes) == self._settings.last:
                self._n_failed -= outcomes[0]
            outcomes.append(failed)
            self._n_failed += failed
            enough = len(outcomes) >= self._settings.least
            opens = failed and enough and self._n_failed >= self._settings.failure_share * len(outcomes)
        if opens:
            self._turn(CircuitState.OPEN)
            self._until_ms = now_ms + self._open_ms
        return opens

    def _turn(self, state: CircuitState) -> None:
        self.state = state
        self.turn += 1
        self._failed.clear()
        self._n_failed = self._trials = self._succeeded = 0


class Gate:
    """The circuit of a subtask, as the calls of an async operator go through it.

    Counts `circuit_opened`, and with `when_open="fail"` the calls that were not made: `circuit_rejected`.
    """

    def __init__(self, settings: CircuitBreaker, context: OperatorContext) -> None:
        self._settings = settings
        self._context = context
        self._circuit = Circuit(settings)
        self._ended = asyncio.Event()

    async def enter(self) -> int:
        """Before a call. Returns the turn to give to `leave`.

        Raises:
            CircuitOpenError: the call must not be made, and calls do not wait.
        """
        while True:
            wait_ms = self._circuit.admit(self._context.now_ms())
            if wait_ms is None:
                return self._circuit.turn
            if self._settings.when_open == "fail":
                self._context.count("circuit_rejected")
                left = f"for {format_ms(wait_ms)} more" if wait_ms else "until a trial call has ended"
                raise CircuitOpenError(f"the service has failed too often: its circuit is open {left}")
            if wait_ms:
                await self._context.sleep(wait_ms / 1000)
            else:
                await self._ended.wait()

    def leave(self, turn: int, error: Exception | None) -> None:
        """After a call: what came of it."""
        failed = isinstance(error, self._settings.counts)
        if self._circuit.ended(turn, self._context.now_ms(), failed=failed):
            self._context.count("circuit_opened")
        # Whoever waits asks again; whoever waits from now on waits for the next.
        self._ended.set()
        self._ended = asyncio.Event()
