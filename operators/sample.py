"""A share of the records, picked by their hash."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b
from typing import Any, Final, TypeVar

import msgspec

from .batch import Batch
from .errors import FAILED, Guard, OnError, check_on_error
from .fields import reader
from .operator import Operator, OperatorContext

T = TypeVar("T")

_encode: Final = msgspec.msgpack.Encoder(order="deterministic").encode
_BITS: Final = 63
"""So that a hash fits where whole numbers are stored in 64 bits with a sign."""


class Sample(Operator[T, T]):
    """Lets a share of the records pass, picked by a hash of the record or of one of its fields: the same records in
    every run, whatever the parallelism.

    Records that are equal in what is hashed stand and fall together: `by="user"` picks whole users. A record costs
    one hash, about two microseconds. No state.

    Args:
        fraction: the share, from 0 to 1.
        by: what is hashed: a field's name or a function; None: the whole record. It must be something that
            msgspec can encode.
        seed: another number picks others; the same, the same.
        on_error: what to do with a record that cannot be hashed.

    Raises:
        ValueError: `fraction` is not between 0 and 1, or `on_error` is not a policy.

    >>> from tidegate.engine.testing import OperatorHarness
    >>> with OperatorHarness(Sample(0.1)) as h:
    ...     len(h.push(range(10_000)).values)
    984
    """

    kind = "sample"
    side_outputs = (FAILED,)

    def __init__(
        self,
        fraction: float,
        *,
        by: str | Callable[[T], Any] | None = None,
        seed: int = 0,
        on_error: OnError = "fail",
    ) -> None:
        if not 0 <= fraction <= 1:
            raise ValueError(f"sample takes a share between 0 and 1, not {fraction}")
        check_on_error(on_error)
        self.fraction = fraction
        self.seed = seed
        self.on_error = on_error
        self._read = reader(by)
        self._below = int(fraction * 2**_BITS)

    def open(self, context: OperatorContext) -> None:
        self._guard = Guard(self.on_error, context)

    def process(self, batch: Batch[T]) -> Batch[T] | None:
        hashes, hashed = self._guard.apply(self._hash, batch)
        below = self._below
        picked = [number < below for number in hashes]
        if hashed is not None:
            batch = batch.take(hashed)
        kept = batch.select(picked)
        return kept if kept.values else None

    def _hash(self, value: T) -> int:
        return sample_hash(self._read(value), self.seed)


def sample_hash(value: Any, seed: int = 0) -> int:
    """A number from 0 up to, not including, 2**63 that looks random and is the same for equal values in every run.

    Raises:
        TypeError: msgspec cannot encode the value.
    """
    digest = blake2b(_encode(value), digest_size=8, salt=seed.to_bytes(8, "big", signed=True))
    return int.from_bytes(digest.digest(), "big") >> 1
