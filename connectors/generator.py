"""Records made by a function: deterministic, replayable, for benchmarks, examples and tests."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from random import Random
from typing import Any, Final, Generic, TypeVar

from .source import Fetch, Lag, Offset, SourceContext, Split

T = TypeVar("T")

_BLOCK: Final = 256
"""Records that share a random generator: seeding one costs as much as making several records."""


class GeneratorSource(Generic[T]):
    """See `records`."""

    has_timestamps = False
    finds_splits = False
    replayable = True
    poll_interval_ms = 100

    def __init__(
        self, fn: Callable[..., T], count: int | None = None, splits: int = 1, seed: int = 0, type: Any = None
    ) -> None:
        if splits < 1:
            raise ValueError(f"generator.records(splits={splits}): at least 1")
        if count is not None and count < 0:
            raise ValueError(f"generator.records(count={count}): not negative, or None for no end")
        self.bounded = count is not None
        self.type = type
        self.count = count
        self.splits = splits
        self.seed = seed
        self._fn = fn
        self._random = len(inspect.signature(fn).parameters) > 1

    async def discover(self, context: SourceContext, known: frozenset[str]) -> list[Split]:
        ids = [str(i) for i in range(self.splits)]
        return [Split(id) for id in ids if id not in known]

    def reader(self, context: SourceContext) -> GeneratorReader[T]:
        return GeneratorReader(self)

    def describe(self) -> str:
        count = "without end" if self.count is None else f"{self.count} records"
        return f"generator.records({getattr(self._fn, '__name__', 'fn')}, {count}, seed={self.seed})"

    def size(self, split: int) -> int | None:
        """How many records a split has; None without end."""
        if self.count is None:
            return None
        whole, rest = divmod(self.count, _BLOCK)
        mine, extra = divmod(whole, self.splits)
        return (mine + (split < extra)) * _BLOCK + (rest if whole % self.splits == split else 0)

    def block(self, block: int, size: int) -> list[T]:
        """The first `size` records of a block; the same whoever asks."""
        fn = self._fn
        indices = range(block * _BLOCK, block * _BLOCK + size)
        if not self._random:
            return [fn(index) for index in indices]
        random = Random(f"{self.seed}/{block}")
        return [fn(random, index) for index in indices]


class GeneratorReader(Generic[T]):
    """Makes the records of its splits; the offset is how many of the split have been made."""

    def __init__(self, source: GeneratorSource[T]) -> None:
        self._source = source
        self._next: dict[str, int] = {}
        self._ahead: dict[str, tuple[int, list[T]]] = {}

    async def open(self, split: Split, offset: Offset | None) -> None:
        self._next[split.id] = offset or 0

    async def read(self, split_id: str, limit: int) -> Fetch[T]:
        source, split, start = self._source, int(split_id), self._next[split_id]
        size = source.size(split)
        stop = start + limit if size is None else min(start + limit, size)
        values: list[T] = []
        at = start
        while at < stop:
            number, inside = divmod(at, _BLOCK)
            block = number * source.splits + split
            known, made = self._ahead.get(split_id, (-1, []))
            if known != block:
                rest = _BLOCK if size is None else min(_BLOCK, size - number * _BLOCK)
                made = source.block(block, rest)
                self._ahead[split_id] = (block, made)
            part = made[inside : inside + stop - at]
            values += part
            at += len(part)
        self._next[split_id] = stop
        return Fetch(values, stop, positions=range(start, stop), end=stop == size)

    def lag(self, split_id: str) -> Lag | None:
        size = self._source.size(int(split_id))
        return None if size is None else Lag(records=size - self._next[split_id])

    async def close(self) -> None:
        self._ahead.clear()


def records(
    fn: Callable[[int], T] | Callable[[Random, int], T],
    count: int | None = None,
    splits: int = 1,
    seed: int = 0,
    type: Any = None,
) -> GeneratorSource[T]:
    """Record `i` is `fn(i)`, or `fn(random, i)` with a `random.Random` that depends on the seed and the record alone.

    The same records come in every run, whatever the number of splits, and after every resume. Up to 256 records are
    made at a time, so `fn` must depend on nothing but its arguments. To go slower, use the engine's rate limit.

    Args:
        fn: makes a record.
        count: how many; None for an unbounded source.
        splits: among how many splits blocks of records are dealt out.
        seed: another seed, other records.
        type: the type of the records, where typed keys or `map_async` need it.
    """
    return GeneratorSource(fn, count, splits, seed, type)
