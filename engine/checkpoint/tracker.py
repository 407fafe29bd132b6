"""Which checkpoints are open, and what each still waits for. No loop, no clock, no I/O."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class Waiting:
    """Still open.

    Attributes:
        missing: the subtasks that have not acknowledged, sorted.
    """

    missing: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Completed:
    """All have acknowledged: the manifest may be written.

    Attributes:
        subsumed: older checkpoints that are given up because this one says more, oldest first. Savepoints are
            not among them: somebody waits for those.
    """

    checkpoint_id: int
    subsumed: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Aborted:
    """Given up.

    Attributes:
        reason: a sentence for logs: who declined and why, or who was missing at the timeout.
    """

    checkpoint_id: int
    reason: str


@dataclass(frozen=True, slots=True)
class Ignored:
    """It changes nothing: the checkpoint is not open (any more), or the subtask has acknowledged before."""

    reason: str


Outcome: TypeAlias = Waiting | Completed | Aborted | Ignored


@dataclass(slots=True)
class _Open:
    missing: set[str]
    deadline: float
    is_savepoint: bool
    everyone: frozenset[str] = field(default_factory=frozenset)


class CheckpointTracker:
    """The open checkpoints of one attempt.

    `begin` opens one; `acknowledge`, `decline` and `expire` say what follows. One that is complete, aborted
    or subsumed is forgotten, and whatever still comes for it is ignored.
    """

    def __init__(self) -> None:
        self._open: dict[int, _Open] = {}

    @property
    def in_flight(self) -> tuple[int, ...]:
        """The open checkpoints, oldest first."""
        return tuple(sorted(self._open))

    def missing(self, checkpoint_id: int) -> tuple[str, ...]:
        """The subtasks an open checkpoint waits for, sorted; none for one that is not open."""
        found = self._open.get(checkpoint_id)
        return () if found is None else tuple(sorted(found.missing))

    def begin(
        self, checkpoint_id: int, subtasks: Iterable[str], deadline: float, *, is_savepoint: bool = False
    ) -> None:
        """Open a checkpoint that needs the acknowledgement of each of `subtasks` before `deadline` (monotonic
        seconds).

        Raises:
            ValueError: the id is not greater than that of every open one, or there is nothing to wait for.
        """
        everyone = frozenset(subtasks)
        if not everyone:
            raise ValueError(f"checkpoint {checkpoint_id} has no subtask to wait for")
        if self._open and checkpoint_id <= max(self._open):
            raise ValueError(f"checkpoint {checkpoint_id} is opened after checkpoint {max(self._open)}")
        self._open[checkpoint_id] = _Open(set(everyone), deadline, is_savepoint, everyone)

    def acknowledge(self, checkpoint_id: int, subtask: str) -> Outcome:
        """A subtask's snapshot is durable."""
        found = self._open.get(checkpoint_id)
        if found is None:
            return Ignored(f"checkpoint {checkpoint_id} is not open")
        if subtask not in found.missing:
            known = "has acknowledged before" if subtask in found.everyone else "takes no part"
            return Ignored(f"subtask {subtask} {known} in checkpoint {checkpoint_id}")
        found.missing.remove(subtask)
        if found.missing:
            return Waiting(tuple(sorted(found.missing)))
        del self._open[checkpoint_id]
        subsumed = sorted(n for n, other in self._open.items() if n < checkpoint_id and not other.is_savepoint)
        for older in subsumed:
            del self._open[older]
        return Completed(checkpoint_id, tuple(subsumed))

    def decline(self, checkpoint_id: int, subtask: str, reason: str) -> Outcome:
        """A subtask could not take or store its snapshot: the checkpoint is given up."""
        if self._open.pop(checkpoint_id, None) is None:
            return Ignored(f"checkpoint {checkpoint_id} is not open")
        return Aborted(checkpoint_id, f"subtask {subtask} declined: {reason}")

    def expire(self, now: float) -> list[Aborted]:
        """Give up every checkpoint whose deadline has passed, oldest first."""
        late = sorted(n for n, found in self._open.items() if now >= found.deadline)
        return [Aborted(n, f"timed out waiting for {', '.join(sorted(self._open.pop(n).missing))}") for n in late]

    def next_deadline(self) -> float | None:
        """When to call `expire` next; None when nothing is open."""
        return min((found.deadline for found in self._open.values()), default=None)

    def abort_all(self, reason: str) -> list[Aborted]:
        """Give up everything that is open: the attempt ends."""
        aborted = [Aborted(n, reason) for n in sorted(self._open)]
        self._open.clear()
        return aborted
