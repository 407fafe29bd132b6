"""What is different in the runtime when a job is replayed: nothing of the job itself may change."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ...connectors.source import SourceReader
from ..checkpoint.manifest import Manifest
from ..errors import ConfigError
from .recovery import Dealt
from .split_end import SplitEnd


@dataclass(frozen=True)
class ReplayRange:
    """Which part of a job's input is read again.

    Attributes:
        job: the job whose checkpoints are read. The replay goes by another name, so that no sink takes it for the job.
        target: the checkpoint at whose offsets it ends; None for none. Splits that were found after it are not read.
        ends: source → split id → where the split ends; one that is not named ends by itself.
    """

    job: str
    target: Manifest | None = None
    ends: Mapping[str, Mapping[str, SplitEnd]] = field(default_factory=dict)


@dataclass(frozen=True)
class Replaying:
    """What a subtask of a source does differently.

    Attributes:
        bounded: it reads up to offsets or a time, and is held there.
        exact: up to offsets, which say what there is to read: nobody has to wait for more.
        new_reader: makes another reader: one that has read beyond an end is not asked again.
        on_reached: called once all of its splits have come to their ends.
    """

    bounded: bool
    exact: bool
    new_reader: Callable[[], SourceReader[Any]]
    on_reached: Callable[[], None]


def check_ends(replay: ReplayRange, dealt: Dealt) -> None:
    """Whether every split that is to end somewhere is there.

    Raises:
        ConfigError: one is not: the replay would not end.
    """
    for source, ends in replay.ends.items():
        there = {split.id for subtask in dealt.get(source, []) for split, _ in subtask}
        if gone := sorted(ends.keys() - there):
            raise ConfigError(
                f"source {source!r} has no split {gone[0]!r} to end at {ends[gone[0]].offset}; it has "
                f"{', '.join(sorted(there)) or 'none'}"
            )
