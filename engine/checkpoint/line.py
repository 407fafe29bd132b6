"""Which checkpoints lead to the newest start of a job, and which were left behind. Pure.

Every start takes the next attempt number, and writes down which checkpoint it began from before it touches anything. What an
older attempt wrote behind that checkpoint is not part of the job any more: it was passed over on purpose, or an old process
wrote it when a newer one had taken over.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf

from .manifest import Manifest


@dataclass(frozen=True, slots=True)
class Start:
    """What an attempt began from.

    Attributes:
        checkpoint_id: the checkpoint; 0 for none.
        attempt: the attempt that wrote it.
    """

    checkpoint_id: int
    attempt: int


def why_left(manifest: Manifest, starts: Mapping[int, Start]) -> str | None:
    """Why a checkpoint does not lead to the newest start; None when it does.

    Args:
        manifest: the checkpoint.
        starts: attempt → what it began from, for those that have decided it. Of attempts older than these nothing is known.

    >>> from msgspec.structs import replace
    >>> from tidegate.engine.checkpoint.manifest import Manifest
    >>> five = Manifest(job="j", topology="t", topology_version="1", fingerprint="", checkpoint_id=5, attempt=1,
    ...     triggered_at_ms=0, completed_at_ms=0, max_parallelism=128)
    >>> why_left(five, {2: Start(5, 1)}) is None
    True
    >>> why_left(replace(five, checkpoint_id=6), {2: Start(5, 1)})
    'attempt 2 began from checkpoint 5, and attempt 1 wrote this one'
    """
    attempt, checkpoint_id = manifest.attempt, manifest.checkpoint_id
    current, limit, after = max(starts, default=0), inf, 0
    if attempt > current:
        return None
    while current != attempt and attempt < current and current in starts and starts[current].checkpoint_id:
        start = starts[current]
        if start.checkpoint_id < limit:
            limit, after = start.checkpoint_id, current
        current = start.attempt
    if attempt <= current and current in starts and current != attempt:
        return f"attempt {current} began from nothing, and attempt {attempt} wrote this one"
    if attempt > current or checkpoint_id > limit:
        return f"attempt {after} began from checkpoint {limit}, and attempt {attempt} wrote this one"
    return None
