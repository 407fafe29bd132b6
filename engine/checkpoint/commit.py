"""The second phase: sinks make visible what a checkpoint has made certain."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...connectors.sink import Committable, OutputLostError, Sink, SinkContext
from ...connectors.source import ConnectorError
from ..clock import Clock
from ..errors import CommitError

OnEvent = Callable[[str, dict[str, Any]], None]

_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 10.0


@dataclass(frozen=True)
class CommittingSink:
    """A sink and the context its commits run in."""

    sink: Sink[Any]
    context: SinkContext


class Committer:
    """Commits, and tries again for as long as the outside world may come to its senses.

    Args:
        sinks: by operator id.
        retry_limit: how often a commit is tried again; None for no limit.
    """

    def __init__(
        self, sinks: Mapping[str, CommittingSink], retry_limit: int | None, clock: Clock, on_event: OnEvent
    ) -> None:
        self._sinks = sinks
        self._retry_limit = retry_limit
        self._clock = clock
        self._on_event = on_event

    async def commit(self, sink: str, committables: Sequence[Committable]) -> None:
        """Make a sink's prepared output visible.

        Raises:
            CommitError: it cannot be; the next start will try again.
        """
        committing = self._sinks[sink]
        pause, tries = _FIRST_PAUSE_S, 0
        while True:
            try:
                await committing.sink.commit(committing.context, committables)
            except OutputLostError as error:
                lost = error
                break
            except Exception as error:
                tries += 1
                hopeless = not (isinstance(error, ConnectorError) and error.retriable)
                if hopeless or (self._retry_limit is not None and tries > self._retry_limit):
                    raise CommitError(
                        f"sink {sink!r} could not commit {len(committables)} pieces of output: {error}; "
                        "they are part of the checkpoint and are committed at the next start"
                    ) from error
                self._on_event("commit_retried", {"sink": sink, "reason": str(error), "tries": tries})
                await self._clock.sleep(pause)
                pause = min(pause * 2, _LONGEST_PAUSE_S)
            else:
                return
        # A restart passes over the checkpoint; where a part of it is visible, with the user's leave only.
        cause = OutputLostError(str(lost)) if committing.context.allow_repeats else lost
        raise CommitError(f"sink {sink!r} could not commit: {lost}") from cause
