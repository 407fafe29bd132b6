"""Barrier alignment: which inputs to hold back until the same barrier has come on all of them. Pure."""

from __future__ import annotations


class Aligner:
    """Aligns the barriers of a subtask's input channels.

    A channel whose barrier has come is blocked: what follows on it belongs to the next checkpoint and must not be read.
    When the barrier has come on every channel, all are released together.

    >>> aligner = Aligner(2)
    >>> aligner.arrive(0, 7), aligner.blocked(0), aligner.blocked(1)
    (False, True, False)
    >>> aligner.arrive(1, 7), aligner.blocked(0)
    (True, False)
    """

    def __init__(self, channels: int) -> None:
        self._arrived = [False] * channels
        self._missing = channels
        self.checkpoint_id: int | None = None

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
        if self.checkpoint_id is not None and checkpoint_id < self.checkpoint_id:
            return False
        if self.checkpoint_id is not None and checkpoint_id > self.checkpoint_id:
            self._release()
        self.checkpoint_id = checkpoint_id
        if not self._arrived[channel]:
            self._arrived[channel] = True
            self._missing -= 1
        if self._missing == 0:
            self._release()
            return True
        return False

    def _release(self) -> None:
        self._arrived = [False] * len(self._arrived)
        self._missing = len(self._arrived)
        self.checkpoint_id = None
