"""What a channel carries: batches, and the control elements between them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

from ...operators.batch import Batch


@dataclass(frozen=True, slots=True)
class Watermark:
    """No record with a timestamp up to and including `timestamp_ms` is expected any more."""

    timestamp_ms: int


@dataclass(frozen=True, slots=True)
class Barrier:
    """Cuts the stream: what comes before belongs to the checkpoint, what comes after does not.

    Attributes:
        checkpoint_id: the checkpoint it belongs to.
        stateless: nothing is stored for it (a job without checkpoints): sinks commit, stores are left alone.
        last: nothing comes after it.
    """

    checkpoint_id: int
    stateless: bool = False
    last: bool = False


@dataclass(frozen=True, slots=True)
class Idle:
    """The sender has had nothing for so long that its watermark no longer holds others back; any batch ends it."""


@dataclass(frozen=True, slots=True)
class EndOfStream:
    """The sender has no more records, ever. Barriers may still follow."""


Control: TypeAlias = Watermark | Barrier | Idle | EndOfStream
Element: TypeAlias = Batch[Any] | Control
