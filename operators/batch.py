"""The batch: what moves between operators."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import compress, groupby
from typing import Any, Generic, TypeVar

T = TypeVar("T")
U = TypeVar("U")


class Origin:
    """Where the records of a batch came from, worked out only when somebody asks.

    A source says for each record it read where it stood (`positions`). Operators that drop, repeat or reorder
    records note *how* with `selected`; nothing is copied per record. Only an error or a dead letter pays for the
    answer, by `locate`.
    """

    __slots__ = ("_index_of", "_parent", "_positions", "split_id")

    def __init__(self, split_id: str, positions: Sequence[Any] | None) -> None:
        self.split_id = split_id
        self._positions = positions
        self._parent: Origin | None = None
        self._index_of: Callable[[int], int] | None = None

    def selected(self, index_of: Callable[[int], int]) -> Origin:
        """The origin of a batch whose record `i` is this batch's record `index_of(i)`."""
        child = Origin(self.split_id, None)
        child._parent = self
        child._index_of = index_of
        return child

    def locate(self, index: int) -> Any:
        """The source offset of record `index`, or None when the source gave no positions."""
        origin: Origin = self
        while origin._parent is not None:
            assert origin._index_of is not None
            index = origin._index_of(index)
            origin = origin._parent
        if origin._positions is None or index >= len(origin._positions):
            return None
        return origin._positions[index]


class Batch(Generic[T]):
    """Records that move together, as parallel lists. Batching has no meaning, only speed.

    Attributes:
        values: the records' values; never empty.
        timestamps: event times in milliseconds since 1970 UTC, one per value; None in a topology without event time.
        keys: one key per value after `key_by`; None before.
        watermarks: for each record the watermark that holds *before* it, so that an operator with event-time timers
            can fire them exactly there, wherever the batch was cut; None unless an operator of the topology sets
            `Operator.wants_watermarks`.
        origin: where the records came from; None for records that an operator made.

    The lists belong to the batch: an operator never changes them in place; it makes a new batch.
    """

    __slots__ = ("keys", "origin", "timestamps", "values", "watermarks")

    def __init__(
        self,
        values: list[T],
        timestamps: list[int] | None = None,
        keys: list[Any] | None = None,
        watermarks: list[int] | None = None,
        origin: Origin | None = None,
    ) -> None:
        self.values = values
        self.timestamps = timestamps
        self.keys = keys
        self.watermarks = watermarks
        self.origin = origin

    def __len__(self) -> int:
        return len(self.values)

    def __repr__(self) -> str:
        keyed = ", keyed" if self.keys is not None else ""
        return f"Batch({len(self.values)} records{keyed})"

    def with_values(self, values: list[U]) -> Batch[U]:
        """The same records with other values, one for one."""
        return Batch(values, self.timestamps, self.keys, self.watermarks, self.origin)

    def with_keys(self, keys: list[Any]) -> Batch[T]:
        """The same records under other keys, one for one."""
        return Batch(self.values, self.timestamps, keys, self.watermarks, self.origin)

    def select(self, mask: Sequence[object]) -> Batch[T]:
        """The records whose entry in `mask` is true; may be empty."""
        origin = self.origin
        return Batch(
            list(compress(self.values, mask)),
            None if self.timestamps is None else list(compress(self.timestamps, mask)),
            None if self.keys is None else list(compress(self.keys, mask)),
            None if self.watermarks is None else list(compress(self.watermarks, mask)),
            None if origin is None else origin.selected(lambda i: _nth_true(mask, i)),
        )

    def take(self, indices: Sequence[int]) -> Batch[T]:
        """The records at `indices`, in that order, repeated where an index repeats."""
        origin = self.origin
        return Batch(
            [self.values[i] for i in indices],
            None if self.timestamps is None else [self.timestamps[i] for i in indices],
            None if self.keys is None else [self.keys[i] for i in indices],
            None if self.watermarks is None else [self.watermarks[i] for i in indices],
            None if origin is None else origin.selected(indices.__getitem__),
        )

    def slice(self, start: int, stop: int) -> Batch[T]:
        """The records from `start` up to, not including, `stop`."""
        origin = self.origin
        return Batch(
            self.values[start:stop],
            None if self.timestamps is None else self.timestamps[start:stop],
            None if self.keys is None else self.keys[start:stop],
            None if self.watermarks is None else self.watermarks[start:stop],
            None if origin is None else origin.selected(lambda i: i + start),
        )

    def locate(self, index: int) -> tuple[str | None, Any]:
        """The split id and the source offset of record `index`; (None, None) for a record an operator made."""
        if self.origin is None:
            return None, None
        return self.origin.split_id, self.origin.locate(index)


def joined(batches: Sequence[Batch[T]]) -> list[Batch[T]]:
    """The same records in as few batches as may be: neighbours that carry the same lists become one. The origin is that of
    nobody.

    >>> [batch.values for batch in joined([Batch([1]), Batch([2, 3]), Batch([4], [40])])]
    [[1, 2, 3], [4]]
    """
    groups = groupby(batches, lambda b: (b.timestamps is None, b.keys is None, b.watermarks is None))
    return [_joined(list(group)) for _, group in groups]


def _joined(batches: list[Batch[T]]) -> Batch[T]:
    if len(batches) == 1:
        return batches[0]
    return Batch(
        [value for batch in batches for value in batch.values],
        _chained([batch.timestamps for batch in batches]),
        _chained([batch.keys for batch in batches]),
        _chained([batch.watermarks for batch in batches]),
    )


def _chained(lists: list[list[U] | None]) -> list[U] | None:
    return None if lists[0] is None else [item for found in lists for item in found or ()]


def _nth_true(mask: Sequence[object], n: int) -> int:
    chosen: Iterator[int] = (i for i, keep in enumerate(mask) if keep)
    for _ in range(n):
        next(chosen)
    return next(chosen)
