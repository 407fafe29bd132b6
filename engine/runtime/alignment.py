"""Barriers on several inputs: which inputs to hold back until the same barrier has come on all of them, and when a barrier
may overtake what stands before it. Pure."""

from __future__ import annotations

from .elements import Barrier


class Aligner:
    """Aligns the barriers of a subtask's input channels.

    A channel whose barrier has come is blocked: what follows on it belongs to the next checkpoint and must not be read.
    When the barrier has come on every channel, all are released together.

    >>> aligner = Aligner(2)
    >>> aligner.arrive(0, 7), aligner.blocked(0), aligner.blocked(1)
    (False, True, False)
    >>> aligner.arrive(1, 7), aligner.blocked(0)
    (True, False)

    Attributes:
        passed: the newest checkpoint whose barrier is done with; it, and older ones, mean nothing any more.
    """

    def __init__(self, channels: int) -> None:
        self._arrived = [False] * channels
        self._missing = channels
        self.checkpoint_id: int | None = None
        self.passed = 0

    @property
    def aligning(self) -> bool:
        """Whether some barriers have come and others have not."""
        return self.checkpoint_id is not None

    def blocked(self, channel: int) -> bool:
        """Whether a channel must not be read now."""
        return self._arrived[channel]

    def arrive(self, channel: int, checkpoint_id: int) -> bool:
        """A barrier has come; whether it was the last one, so that the snapshot is due.

        A newer checkpoint's barrier on one channel while an older one is aligned means that the older was given up: it
        takes its place, and the channels blocked for the older one are released.
        """
        if checkpoint_id <= self.passed or (self.checkpoint_id is not None and checkpoint_id < self.checkpoint_id):
            return False
        if self.checkpoint_id is not None and checkpoint_id > self.checkpoint_id:
            self._release()
        self.checkpoint_id = checkpoint_id
        if not self._arrived[channel]:
            self._arrived[channel] = True
            self._missing -= 1
        if self._missing == 0:
            self.passed = checkpoint_id
            self._release()
            return True
        return False

    def overtake(self, checkpoint_id: int) -> None:
        """The snapshot is taken without waiting for the other barriers: no channel is held back any more."""
        self.passed = checkpoint_id
        self._release()

    def taken(self, channel: int, checkpoint_id: int) -> bool:
        """Whether the barrier of a checkpoint has come on a channel and the others are waited for."""
        return self.checkpoint_id == checkpoint_id and self._arrived[channel]

    def _release(self) -> None:
        self._arrived = [False] * len(self._arrived)
        self._missing = len(self._arrived)
        self.checkpoint_id = None


class Overtaking:
    """Decides whether a barrier overtakes what stands before it in the channels of a subtask.

    That needs leave, given for one checkpoint at a time, and the barrier on at least one channel: it may be anywhere in it.

    Attributes:
        due: the barrier that is to overtake now; None when there is none.
    """

    def __init__(self, channels: int) -> None:
        self.due: Barrier | None = None
        self._newest: list[Barrier | None] = [None] * channels
        self._allowed = 0
        self._refused = False

    def allow(self, checkpoint_id: int, passed: int) -> bool:
        """The barrier of this checkpoint may overtake; whether it does so now.

        Args:
            passed: see `Aligner.passed`.
        """
        self._allowed = checkpoint_id
        return any(self._look(barrier, passed) for barrier in self._newest if barrier is not None)

    def came(self, channel: int, barrier: Barrier, passed: int) -> bool:
        """A barrier has been sent on a channel; whether one overtakes now."""
        self._newest[channel] = barrier
        return self._look(barrier, passed)

    def forbid(self, checkpoint_id: int) -> None:
        """The barriers of this checkpoint, and of older ones, wait for their turn."""
        if self._allowed <= checkpoint_id:
            self._allowed = 0
            self.due = None

    def refuse(self) -> None:
        """No barrier overtakes any more: a record has been met that cannot be part of a checkpoint."""
        self._refused = True
        self.due = None

    def _look(self, barrier: Barrier, passed: int) -> bool:
        if self._refused or barrier.checkpoint_id != self._allowed or barrier.checkpoint_id <= passed:
            return False
        self.due = barrier
        return True
