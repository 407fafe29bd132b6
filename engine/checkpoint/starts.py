"""The starts of a job as one of them sees them: it claims a number, begins from a checkpoint, and gives way to newer ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..errors import FencedError
from ..executor import Executor
from .attempts import AttemptRecord, Attempts
from .contents import gathered
from .line import Start


class Starts:
    """What is known of the starts of a job, and the fence between them.

    Args:
        attempts: their records.
        job: the job's name, for messages.
        address: the job's directory, for messages.

    Attributes:
        claimed: the start that this object has claimed; None before it has.
    """

    def __init__(self, attempts: Attempts, job: str, address: str, executor: Executor) -> None:
        self.claimed: AttemptRecord | None = None
        self._attempts = attempts
        self._job = job
        self._address = address
        self._executor = executor
        self._known: dict[int, Start] | None = None

    async def seen(self) -> int:
        """The highest checkpoint id that any start has seen; 0 for none."""
        return max((record.last_checkpoint_id for record in await self._records()), default=0)

    async def known(self) -> dict[int, Start]:
        """What the newest attempts began from, those that have decided it. Whoever has claimed an attempt reads them once: an
        older one that decides later ends by that, and a newer one is for the fence to find."""
        if self._known is not None:
            return self._known
        starts = {record.attempt: record.start for record in await self._records()}
        found = {attempt: start for attempt, start in starts.items() if start is not None}
        if self.claimed is not None:
            self._known = found
        return found

    async def claim(
        self, now_ms: int, info: dict[str, Any], highest: Callable[[int], tuple[int, int]]
    ) -> AttemptRecord:
        """Take the next number.

        Args:
            highest: from the highest checkpoint id that a start has seen, the highest one that was ever used, and the
                highest attempt that wrote a checkpoint. Blocking.

        Raises:
            FencedError: this is a restart, and another process has started the job meanwhile.
            CheckpointError: the storage refuses.
        """
        seen = await self.seen()
        self.claimed = await self._executor.run(self._claim, now_ms, info, highest, seen)
        self._known = None
        return self.claimed

    async def begin(self, start: Start) -> None:
        """The claimed start begins from there.

        Raises:
            FencedError: a newer attempt has been claimed meanwhile.
            CheckpointError: the storage refuses.
        """
        assert self.claimed is not None
        starts = await self.known()
        self.claimed = await self._executor.run(self._begin, self.claimed, start)
        starts[self.claimed.attempt] = start

    def refuse_if_taken_over(self, attempt: int, what: str) -> None:
        """Make sure that no newer start has been claimed. Blocking.

        Raises:
            FencedError: one has; names it and what may not be done.
        """
        newest = self._attempts.newest()
        if newest is not None and newest.attempt > attempt:
            raise FencedError(
                f"{newest.who} of job {self._job!r} has taken over in {self._address}, so attempt "
                f"{attempt} may not {what}; let this process end"
            )

    async def _records(self) -> Sequence[AttemptRecord]:
        """The newest starts, read several at once: an object store takes its time for each."""
        known, unread = await self._executor.run(self._attempts.kept)
        return [*known, *await gathered(lambda attempt: self._executor.run(self._attempts.read, attempt), unread)]

    def _claim(
        self, now_ms: int, info: dict[str, Any], highest: Callable[[int], tuple[int, int]], seen: int
    ) -> AttemptRecord:
        if self.claimed is not None:
            newest = self._attempts.taken_over(self.claimed.attempt)
            if newest is not None:
                raise FencedError(
                    f"{newest.who} of job {self._job!r} has taken over in {self._address}, so attempt "
                    f"{self.claimed.attempt} is not started again; let this process end"
                )
        last, attempt = highest(seen)
        return self._attempts.claim(now_ms, last, info, above=attempt)

    def _begin(self, claimed: AttemptRecord, start: Start) -> AttemptRecord:
        begun = self._attempts.begin(claimed, start.checkpoint_id, start.attempt)
        newest = self._attempts.newest()
        if newest is not None and newest.attempt > begun.attempt:
            raise FencedError(
                f"{newest.who} of job {self._job!r} has taken over in {self._address} while attempt "
                f"{begun.attempt} was starting; let this process end"
            )
        return begun
