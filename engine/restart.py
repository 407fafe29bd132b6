"""Restart strategies: whether a failed job is started again from its newest checkpoint, and after how long.

A strategy is a value without state, clock or I/O: it looks at the failures so far and answers with a delay.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from inspect import signature
from typing import TYPE_CHECKING, Any, Final, Protocol

from ..connectors.source import ConnectorError
from ..operators.time import Duration, duration_ms
from .errors import ConfigError, FencedError, OperatorError, RecordError, StateTypeError, TopologyError

if TYPE_CHECKING:
    from random import Random

_FINAL: Final = (FencedError, TopologyError, ConfigError, StateTypeError)


@dataclass(frozen=True)
class Failure:
    """One end of a job by an error, as far as a restart strategy cares.

    Attributes:
        healthy_s: seconds that the attempt had been running when it failed.
        record: what tells this failure from others: the record that failed (operator, split, offset) or, where
            none can be blamed, the operator and what it raised. None when the outside world is at fault (an
            `OSError`, a retriable `ConnectorError`), which may be better next time.
        retriable: whether another attempt can help at all.
    """

    healthy_s: float
    record: tuple[Any, ...] | None = None
    retriable: bool = True

    @classmethod
    def of(cls, error: BaseException, healthy_s: float) -> Failure:
        """The failure that `error` is, looking through its causes for what names a record or rules out a
        restart.
        """
        record: tuple[Any, ...] | None = None
        retriable = True
        worldly = False
        for cause in causes(error):
            if isinstance(cause, _FINAL) or (isinstance(cause, ConnectorError) and not cause.retriable):
                retriable = False
            elif isinstance(cause, OSError | ConnectorError):
                worldly = True
            elif record is None and isinstance(cause, OperatorError):
                where = cause.split_id if cause.offset is not None else type(cause.__cause__).__name__
                record = (cause.operator_id, where, str(cause) if cause.offset is None else repr(cause.offset))
            elif record is None and isinstance(cause, RecordError):
                record = (cause.operator_id, cause.split_id, repr(cause.position))
        return cls(healthy_s, None if worldly else record, retriable)


class RestartStrategy(Protocol):
    """When and how often a failed job is started again."""

    def decide(self, failures: Sequence[Failure], random: Random) -> float | None:
        """The seconds to wait before the next attempt, or None to give the job up.

        Args:
            failures: all failures of the job so far, oldest first; the last one is the one to decide on.
            random: where jitter comes from.
        """
        ...


@dataclass(frozen=True)
class Never:
    """The first failure ends the job."""

    def decide(self, failures: Sequence[Failure], random: Random) -> float | None:
        return None


@dataclass(frozen=True)
class FixedDelay:
    """The same delay each time, for a number of attempts over the whole life of the job."""

    attempts: int
    delay_s: float

    def decide(self, failures: Sequence[Failure], random: Random) -> float | None:
        if not failures[-1].retriable or len(failures) > self.attempts:
            return None
        return self.delay_s


@dataclass(frozen=True)
class Exponential:
    """A delay that grows with every failure and starts anew after a healthy time."""

    initial_s: float
    maximum_s: float
    factor: float
    jitter: float
    reset_after_s: float
    attempts: int | None
    same_record: int | None

    def decide(self, failures: Sequence[Failure], random: Random) -> float | None:
        last = failures[-1]
        if not last.retriable:
            return None
        if self.same_record is not None and last.record is not None:
            recent = failures[-self.same_record :]
            if len(recent) == self.same_record and all(f.record == last.record for f in recent):
                return None
        in_a_row = _since_healthy(failures, self.reset_after_s)
        if self.attempts is not None and in_a_row > self.attempts:
            return None
        # In logarithms: factor ** 2000 is no float, and a job may fail that often.
        grown = math.log(self.initial_s) + (in_a_row - 1) * math.log(self.factor) if self.initial_s else -math.inf
        delay = self.maximum_s if grown >= math.log(self.maximum_s) else math.exp(grown)
        return min(self.maximum_s, delay * (1 + self.jitter * (2 * random.random() - 1)))


def never() -> RestartStrategy:
    """The first failure ends the job. The default of a job without checkpoints."""
    return Never()


def fixed_delay(attempts: int = 3, delay: Duration = "1s") -> RestartStrategy:
    """Up to `attempts` restarts over the life of the job, each after `delay`.

    Raises:
        ConfigError: `attempts` is not positive, or `delay` is not a duration.
    """
    _positive("fixed_delay", "attempts", attempts)
    return FixedDelay(int(attempts), _seconds("fixed_delay", "delay", delay))


def exponential(
    *,
    initial: Duration = "100ms",
    maximum: Duration = "1m",
    factor: float = 2.0,
    jitter: float = 0.1,
    reset_after: Duration = "10m",
    attempts: int | None = None,
    same_record: int | None = 3,
) -> RestartStrategy:
    """Restarts after a delay that grows from `initial` by `factor` up to `maximum`. The default with
    checkpoints.

    Args:
        initial: delay before the first restart.
        maximum: no delay is longer, jitter included.
        factor: by how much the delay grows with each failure; at least 1.
        jitter: the share by which a delay is varied at random, up or down; from 0 to 1.
        reset_after: an attempt that ran this long was healthy: the delay and `attempts` count anew from
            there.
        attempts: restarts in a row before the job is given up; None for no limit.
        same_record: give up when this many failures in a row blame the same record, for it will fail again;
            None to restart all the same.

    Raises:
        ConfigError: a value is out of its range; names it.
    """
    kind = "exponential"
    initial_s, maximum_s = _seconds(kind, "initial", initial), _seconds(kind, "maximum", maximum)
    if maximum_s < initial_s or maximum_s == 0:
        raise ConfigError(f"restart strategy {kind}: maximum = {maximum!r} must be above zero and not below initial")
    if not 1 <= factor < math.inf:
        raise ConfigError(f"restart strategy {kind}: factor = {factor!r} must be at least 1")
    if not 0 <= jitter <= 1:
        raise ConfigError(f"restart strategy {kind}: jitter = {jitter!r} must be from 0 to 1")
    if attempts is not None:
        _positive(kind, "attempts", attempts)
    if same_record is not None:
        _positive(kind, "same_record", same_record)
    reset_after_s = _seconds(kind, "reset_after", reset_after)
    return Exponential(initial_s, maximum_s, factor, jitter, reset_after_s, attempts, same_record)


_KINDS: Final[dict[str, Callable[..., RestartStrategy]]] = {
    "never": never,
    "fixed_delay": fixed_delay,
    "exponential": exponential,
}
_NUMBERS: Final = {"attempts": int, "same_record": int, "factor": float, "jitter": float}
_WORDS: Final = re.compile(r"[\w-]+(\s+\w+\s*=\s*\S+)*")


def parse_restart(given: str | Mapping[str, Any]) -> RestartStrategy:
    """A strategy from configuration: a text, `"never"` or `"fixed_delay attempts=3 delay=5s"`, or a table
    with the key `strategy` and the strategy's arguments.

    Raises:
        ConfigError: an unknown strategy or argument, or a value that does not fit; names it.
    """
    if isinstance(given, str):
        if not _WORDS.fullmatch(given.strip()):
            raise ConfigError(f'{given!r} is not a restart strategy: write "fixed_delay attempts=3 delay=5s"')
        kind, *pairs = re.sub(r"\s*=\s*", "=", given.strip()).split()
        arguments: dict[str, Any] = dict(pair.split("=", 1) for pair in pairs)
    else:
        arguments = dict(given)
        kind = str(arguments.pop("strategy", ""))
    make = _KINDS.get(kind.replace("-", "_"))
    if make is None:
        raise ConfigError(f"{kind!r} is not a restart strategy: use one of {', '.join(_KINDS)}")
    takes = signature(make).parameters
    for name in arguments:
        if name not in takes:
            raise ConfigError(
                f"restart strategy {kind} has no argument {name!r}; it takes {', '.join(takes) or 'none'}"
            )
    return make(**{name: _argument(name, value) for name, value in arguments.items()})


def _argument(name: str, value: Any) -> Any:
    number = _NUMBERS.get(name)
    if number is None:
        return value
    if value == "none" and name in ("attempts", "same_record"):
        return None
    try:
        return number(value)
    except (TypeError, ValueError):
        raise ConfigError(f"restart strategy: {name} = {value!r} is not a number") from None


def _since_healthy(failures: Sequence[Failure], reset_after_s: float) -> int:
    """How many failures have come in a row, the last included, since an attempt that was healthy."""
    count = 0
    for failure in reversed(failures):
        count += 1
        if failure.healthy_s >= reset_after_s:
            break
    return count


def causes(error: BaseException) -> list[BaseException]:
    """The error, what caused it, and the members of groups."""
    found: list[BaseException] = []
    waiting: list[BaseException] = [error]
    while waiting:
        cause = waiting.pop()
        if cause in found:
            continue
        found.append(cause)
        if isinstance(cause, BaseExceptionGroup):
            waiting.extend(reversed(cause.exceptions))
        waiting.extend(c for c in (cause.__cause__, cause.__context__) if c is not None)
    return found


def _seconds(kind: str, name: str, duration: Duration) -> float:
    try:
        return duration_ms(duration) / 1000
    except ValueError as error:
        raise ConfigError(f"restart strategy {kind}: {name}: {error}") from None


def _positive(kind: str, name: str, value: Any) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ConfigError(f"restart strategy {kind}: {name} = {value!r} must be a whole number above zero")
