"""What joins give out: pairs, or what a function makes of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Generic, Literal, TypeAlias, TypeVar, get_args

import msgspec

from .batch import Batch
from .errors import Guard, OnError
from .operator import OperatorContext

L = TypeVar("L")
R = TypeVar("R")

How: TypeAlias = Literal["inner", "left", "right", "outer"]
"""Which records come out without a partner: none, those of the left, of the right, or of both."""


class Joined(msgspec.Struct, Generic[L, R], frozen=True):
    """A record of each side of a join.

    Attributes:
        left: the record of the left; None where the right one has no partner.
        right: the record of the right; None where the left one has no partner.
    """

    left: L
    right: R


def check_how(how: str, kind: str, *, known: Sequence[str] = get_args(How)) -> None:
    """Refuse what is not a way to join.

    Raises:
        ValueError: names the join and the ways there are.
    """
    if how not in known:
        raise ValueError(f"{kind}(how={how!r}) is not known: use one of {', '.join(map(repr, known))}")


class PairList:
    """Pairs that have been found, on their way into a batch."""

    def __init__(self) -> None:
        self._pairs: list[Joined[Any, Any]] = []
        self._timestamps: list[int] = []
        self._keys: list[Any] = []

    def add(self, lefts: Sequence[Any], rights: Sequence[Any], key: Any, timestamp_ms: int) -> None:
        """Each of `lefts` with each of `rights`, in order of the lefts."""
        self._pairs += [Joined(left, right) for left in lefts for right in rights]
        count = len(lefts) * len(rights)
        self._timestamps += [timestamp_ms] * count
        self._keys += [key] * count

    def batch(self) -> Batch[Joined[Any, Any]] | None:
        """All of them; None when there are none."""
        return Batch(self._pairs, self._timestamps, self._keys) if self._pairs else None


class Pairs:
    """Pairs on their way out of a join.

    Args:
        select: makes of (left, right) the value to give out; None: a `Joined`.
        on_error: what to do with a pair that `select` fails on.
        context: the operator's.
    """

    def __init__(self, select: Callable[[Any, Any], Any] | None, on_error: OnError, context: OperatorContext) -> None:
        self._select = select
        self._guard = Guard(on_error, context)

    def give_out(self, batch: Batch[Joined[Any, Any]] | None) -> Batch[Any] | None:
        """The values for a batch of pairs; None when there are none."""
        select = self._select
        if batch is None or select is None:
            return batch
        values, kept = self._guard.apply(lambda pair: select(pair.left, pair.right), batch)
        if not values:
            return None
        return (batch if kept is None else batch.take(kept)).with_values(values)
