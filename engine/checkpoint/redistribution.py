"""Which subtask gets which old state and which splits after a rescale. No loop, no clock, no I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

from .manifest import OperatorEntry, SubtaskState

T = TypeVar("T")


def assign_snapshots(
    entry: OperatorEntry, ranges: Sequence[range], *, rehashed: bool = False
) -> list[list[SubtaskState]]:
    """For each new subtask the old snapshots that hold any of its key groups, by old subtask.

    An old snapshot goes to several new subtasks when its key groups are spread over them. Each reads its own
    range out of it. Snapshots with items of the subtask itself (kinds `local` and `broadcast`) go to all: the store
    deals the items out.

    Args:
        entry: the operator in the manifest.
        ranges: the key groups of each new subtask, in order.
        rehashed: the number of key groups is another one, so that every old snapshot may hold keys of every new range.
    """
    old = sorted(entry.subtasks, key=lambda state: state.snapshot.subtask)
    if rehashed:
        return [list(old) for _ in ranges]
    return [[state for state in old if _needed(state, key_groups)] for key_groups in ranges]


def _needed(state: SubtaskState, key_groups: range) -> bool:
    first, end = state.snapshot.key_groups
    if max(first, key_groups.start) < min(end, key_groups.stop):
        return True
    return any(schema.of_subtasks for schema in state.snapshot.schemas)


def assign_splits(splits: Sequence[T], parallelism: int, assigned: Mapping[int, int] | None = None) -> list[list[T]]:
    """Deal splits out to subtasks, in order and evenly: no subtask gets two more than another.

    The same splits in the same order give the same result. Order matters for sources whose splits should be
    read one after the other (files by name), so the first splits go to different subtasks, each reads its own
    in order.

    Args:
        splits: in the order in which they should be read.
        parallelism: number of subtasks.
        assigned: subtask → how many unfinished splits it has already; for splits found later.
    """
    load = [(assigned or {}).get(subtask, 0) for subtask in range(parallelism)]
    dealt: list[list[T]] = [[] for _ in range(parallelism)]
    for split in splits:
        subtask = load.index(min(load))
        load[subtask] += 1
        dealt[subtask].append(split)
    return dealt
