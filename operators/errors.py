"""What happens to a record that user code fails on.

An operator hands its user function to a `Guard`, which calls it over whole batches at the speed of `map` and
still knows which record failed: everything before the failure is kept, the policy decides about the record,
and the rest goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Generic, Literal, TypeAlias, TypeVar
from zlib import crc32

import msgspec

from .batch import Batch
from .operator import OperatorContext
from .time import Duration, duration_ms

T = TypeVar("T")
U = TypeVar("U")

FAILED: Final = "failed"
"""The side output that dead letters go to."""

LastResort: TypeAlias = Literal["fail", "skip", "dead_letter"]
"""What to do with a record for good: fail the job, leave it out (counted as `skipped`), or send it to the
side output `failed` (counted as `dead_letters`)."""

_LAST_RESORTS: Final = ("fail", "skip", "dead_letter")
_FRAMES: Final = 8
_OURS: Final = __file__.removesuffix("errors.py")


@dataclass(frozen=True)
class Retry:
    """Try a failing call again, and do something else when that does not help.

    A call in `map_async` waits between the tries. Other operators may not wait and try again at once.

    Args:
        attempts: how many tries in all, the first included; at least 1.
        delay: the wait before the second try.
        backoff: each further wait is this many times the one before; at least 1.
        max_delay: no wait is longer.
        jitter: the share of a wait, from 0 to 1, that is left out by a number that looks random but is the
            same in every run, so that many failing calls do not come back at the same moment.
        then: what to do when the last try has failed.

    Raises:
        ValueError: a setting is out of its range.
    """

    attempts: int = 3
    delay: Duration = "100ms"
    backoff: float = 2.0
    max_delay: Duration = "30s"
    jitter: float = 0.0
    then: LastResort = "fail"

    def __post_init__(self) -> None:
        duration_ms(self.delay)
        duration_ms(self.max_delay)
        if self.attempts < 1:
            raise ValueError(f"Retry(attempts={self.attempts}): it counts the first try, so it is at least 1")
        if self.backoff < 1:
            raise ValueError(f"Retry(backoff={self.backoff}): waits never get shorter, so it is at least 1")
        if not 0 <= self.jitter <= 1:
            raise ValueError(f"Retry(jitter={self.jitter}): it is a share, from 0 to 1")
        if self.then not in _LAST_RESORTS:
            raise ValueError(f'Retry(then={self.then!r}) is not known: use "fail", "skip" or "dead_letter"')

    def wait_ms(self, tries: int, seed: str) -> float:
        """How long to wait after `tries` failed tries, in milliseconds. `seed` picks the jitter: the same,
        the same."""
        longest = duration_ms(self.max_delay)
        wait = float(duration_ms(self.delay))
        for _ in range(tries - 1):
            wait = min(wait * self.backoff, longest)
        share = crc32(f"{seed}/{tries}".encode()) / 0xFFFFFFFF
        return min(wait, longest) * (1 - self.jitter * share)


OnError: TypeAlias = LastResort | Retry
"""What to do with a record that user code fails on."""


class DeadLetter(msgspec.Struct, Generic[T], frozen=True):
    """A record that user code failed on, as it goes to the side output `failed`.

    Attributes:
        value: the record as the failing operator got it.
        error: type and message of the error.
        operator: the operator's id.
        attempt: the job's attempt in which it happened.
        tries: how many times the call was made.
        timestamp_ms: the record's event time; None in a topology without event time.
        split: the split it came from; None for a record that an operator made.
        offset: its position in the split; None where the source gives none.
        traceback: the innermost frames of the user's code, the failing one last: `orders.py:41 in parse`.
        raw: the bytes of a record that could not be decoded, cut at 64 KiB; None where there was a value.
    """

    value: T
    error: str
    operator: str
    attempt: int
    tries: int = 1
    timestamp_ms: int | None = None
    split: str | None = None
    offset: Any = None
    traceback: tuple[str, ...] = ()
    raw: bytes | None = None


@dataclass(frozen=True)
class Failure:
    """User code failed on a record of a batch.

    Attributes:
        index: which record.
        error: what was raised.
        tries: how many times the call was made.
    """

    index: int
    error: Exception
    tries: int = 1


class Guard:
    """Calls user functions over batches, and does with the records they fail on what `on_error` says.

    Counts `errors` (records given up), `retries` (calls repeated), `skipped` and `dead_letters`. What is not
    an `Exception` (a cancellation, `KeyboardInterrupt`) passes through untouched.
    """

    def __init__(self, on_error: OnError, context: OperatorContext) -> None:
        self._tries, self._then = (on_error.attempts, on_error.then) if isinstance(on_error, Retry) else (1, on_error)
        self._context = context

    def apply(
        self, function: Callable[[T], Any], batch: Batch[T], finish: Callable[[Any], Any] | None = None
    ) -> tuple[list[Any], list[int] | None]:
        """The results of `function`, each passed through `finish`, for the records of `batch` it did not fail
        on.

        Args:
            function: the user's function, called once per record, in order, and again only after a failure.
            batch: the records.
            finish: what belongs to the call and may fail too, such as running through an iterator the
                function gave.

        Returns:
            the results, and the indices of the records they belong to; None for all of them.

        Raises:
            BaseException: what `OperatorContext.record_error` makes of a failure, when the policy is "fail".
        """
        count = len(batch.values)
        records = iter(batch.values)
        results: list[Any] = []
        failures: list[Failure] = []
        while True:
            try:
                calls = map(function, records)
                # When a call raises, `extend` has kept the results before it, and `records` stands behind
                # the culprit.
                results.extend(calls if finish is None else map(finish, calls))
            except Exception as caught:
                error = caught
            else:
                if len(results) + len(failures) == count:
                    break
                # To `extend` a StopIteration that leaves a call is the end of the records.
                error = RuntimeError("the function raised StopIteration")
            index = len(results) + len(failures)
            failure = self._try_again(function, finish, batch.values[index], Failure(index, error), results)
            if failure is not None:
                if self._then == "fail":
                    self.reject(batch, [failure])
                failures.append(failure)
        if not failures:
            return results, None
        self.reject(batch, failures)
        return results, without(count, failures)

    def reject(self, batch: Batch[Any], failures: Sequence[Failure]) -> None:
        """Do with the records of `failures` what the policy says in the end.

        Raises:
            BaseException: what `OperatorContext.record_error` makes of the first failure, when the policy is
                "fail".
        """
        context = self._context
        context.count("errors", len(failures))
        if self._then == "fail":
            first = failures[0]
            raise context.record_error(first.error, batch, first.index) from first.error
        if self._then == "skip":
            context.count("skipped", len(failures))
            return
        context.count("dead_letters", len(failures))
        if context.listened(FAILED):
            letters = [self._letter(batch, failure) for failure in failures]
            rejected = batch.take([failure.index for failure in failures])
            context.side_output(FAILED)(rejected.with_values(letters))

    def _try_again(
        self,
        function: Callable[[T], Any],
        finish: Callable[[Any], Any] | None,
        value: T,
        failure: Failure,
        results: list[Any],
    ) -> Failure | None:
        while failure.tries < self._tries:
            self._context.count("retries")
            try:
                result = function(value)
                results.append(result if finish is None else finish(result))
            except Exception as error:
                failure = Failure(failure.index, error, failure.tries + 1)
            else:
                return None
        return failure

    def _letter(self, batch: Batch[Any], failure: Failure) -> DeadLetter[Any]:
        split, offset = batch.locate(failure.index)
        return DeadLetter(
            value=batch.values[failure.index],
            error=describe(failure.error),
            operator=self._context.operator_id,
            attempt=self._context.attempt,
            tries=failure.tries,
            timestamp_ms=None if batch.timestamps is None else batch.timestamps[failure.index],
            split=split,
            offset=offset,
            traceback=frames(failure.error.__traceback__),
        )


def check_on_error(on_error: OnError, *, retry: bool = True, name: str = "on_error") -> None:
    """Refuse what is not a policy; with `retry=False` also a `Retry`.

    Args:
        on_error: what the user gave.
        retry: whether calls may be repeated.
        name: the argument's, for the message.

    Raises:
        ValueError: it is not a policy; says what is.
    """
    if isinstance(on_error, Retry):
        if not retry:
            raise ValueError(
                f"{name}=Retry(...) is not possible here, for a failed call may have changed state: "
                'use "fail", "skip" or "dead_letter", and try again inside the function'
            )
    elif on_error not in _LAST_RESORTS:
        choices = '"fail", "skip", "dead_letter"' + (" or Retry(...)" if retry else "")
        raise ValueError(f"{name}={on_error!r} is not known: use one of {choices}")


def without(count: int, failures: Sequence[Failure]) -> list[int]:
    """The indices below `count` that no failure names."""
    failed = {failure.index for failure in failures}
    return [index for index in range(count) if index not in failed]


def describe(error: BaseException) -> str:
    """Type and message of an error, on one line as far as the message is."""
    message = str(error)
    return f"{type(error).__name__}: {message}" if message else type(error).__name__


def frames(traceback: TracebackType | None) -> tuple[str, ...]:
    """The innermost frames of a traceback as `file:line in function`, the failing one last, ours left out."""
    found: list[str] = []
    while traceback is not None:
        code = traceback.tb_frame.f_code
        if not code.co_filename.startswith(_OURS):
            found.append(f"{code.co_filename}:{traceback.tb_lineno} in {code.co_qualname}")
        traceback = traceback.tb_next
    return tuple(found[-_FRAMES:])
