"""Partitioners: which channel a record takes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from ...operators.batch import Batch
from ..state.key_groups import KeyGrouper, subtask_of


class Partitioner(Protocol):
    """Deals a batch out to channels."""

    def split(self, batch: Batch[Any]) -> Sequence[tuple[int, Batch[Any]]]:
        """(channel index, the records for it), in no order; channels that get nothing are left out."""
        ...


class Forward:
    """Everything to the one channel: subtask i to subtask i."""

    def split(self, batch: Batch[Any]) -> Sequence[tuple[int, Batch[Any]]]:
        return ((0, batch),)


class RoundRobin:
    """Whole batches in turn."""

    def __init__(self, channels: int, first: int = 0) -> None:
        self._channels = channels
        self._next = first % channels

    def split(self, batch: Batch[Any]) -> Sequence[tuple[int, Batch[Any]]]:
        channel = self._next
        self._next = (channel + 1) % self._channels
        return ((channel, batch),)


class Broadcast:
    """Everything to every channel."""

    def __init__(self, channels: int) -> None:
        self._channels = channels

    def split(self, batch: Batch[Any]) -> Sequence[tuple[int, Batch[Any]]]:
        return [(channel, batch) for channel in range(self._channels)]


class Hash:
    """By the key's key group: equal keys go to the same subtask, the one whose state holds them."""

    def __init__(self, channels: int, max_parallelism: int) -> None:
        self._grouper = KeyGrouper(max_parallelism)
        self._channel_of = [subtask_of(group, channels, max_parallelism) for group in range(max_parallelism)]
        self._channels = channels

    def split(self, batch: Batch[Any]) -> Sequence[tuple[int, Batch[Any]]]:
        assert batch.keys is not None, "a hash edge starts behind a key_by"
        channel_of = self._channel_of
        indices: list[list[int]] = [[] for _ in range(self._channels)]
        for index, group in enumerate(self._grouper.groups(batch.keys)):
            indices[channel_of[group]].append(index)
        return [(channel, batch.take(chosen)) for channel, chosen in enumerate(indices) if chosen]
