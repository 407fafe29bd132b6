"""What a sink is: the contract between the engine and every connector that takes records out.

The life of a checkpoint, seen from an exactly-once sink:

1. Barrier n reaches the writer: `prepare_commit(n)`. All it was given before must now be safe but not yet visible. What it
   returns, the committables, becomes part of the checkpoint's manifest.
2. The manifest is written: the checkpoint exists. `Sink.commit` is called with the committables, and called again until
   it succeeds. A crash in between is repaired by `Sink.recover` at the next start: it commits them *again* (so `commit`
   must be idempotent) and does away with whatever is newer.
3. When the checkpoint is given up instead, its committables stay prepared: they go with the next one, for the records
   in them will not come again while the job lives. After a failure `recover` clears them away.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeVar

from ..operators.batch import Batch
from .source import ConnectorError

T = TypeVar("T")

Guarantee = Literal["exactly_once", "at_least_once"]

Committable = dict[str, Any]
"""What `commit` needs to make one piece of output visible: JSON values only, part of the manifest."""


class SinkContext(Protocol):
    """What the engine gives to writers and to the sink's own methods."""

    operator_id: str
    renamed_from: str | None
    """The sink's name before, where the user says that it was renamed: what is marked with that name is its own."""
    job: str
    subtask: int
    parallelism: int
    attempt: int
    """The nth start of the job: part of the names of what is staged, so that old writers are told apart."""
    checkpoint_interval_ms: int
    checkpoint_timeout_ms: int
    """How often output is committed, and how long a checkpoint may take before it is given up: what was prepared must
    stay committable for longer than both and a restart."""
    allow_repeats: bool
    """Whether the user takes it that output which is visible and cannot be taken back is written again."""

    def blocking(self, function: Callable[..., Any], *args: Any) -> Awaitable[Any]:
        """Run a function that waits in the engine's executor. The only way to use a thread."""
        ...

    def now_ms(self) -> int: ...
    async def sleep(self, seconds: float) -> None: ...
    def count(self, name: str, n: int = 1) -> None:
        """Add to a counter exported with the sink's metrics; `"bytes"` is the sink's bytes out."""
        ...


class SinkWriter(Protocol[T]):
    """The running thing, one per subtask and attempt. Methods are called from one asyncio task, never two at once."""

    async def open(self) -> None:
        """Called once, after `Sink.recover` has returned."""
        ...

    async def write(self, batch: Batch[T]) -> None:
        """Take a batch, in order. May wait: that is backpressure. When it raises, the job fails and restores."""
        ...

    async def prepare_commit(self, checkpoint_id: int) -> list[Committable]:
        """Everything written so far must be durable when this returns. Exactly-once: return what commits it, and write
        what comes later somewhere else. At-least-once: make it visible and return nothing. No records, no committable.
        """
        ...

    async def close(self) -> None:
        """Give back files and connections, without making anything visible. Called once, last, also after a failure or
        cancellation, at any time. What was prepared stays prepared."""
        ...


class Sink(Protocol[T]):
    """The description: validated settings, no connection. Shared by all subtasks; must not change.

    Attributes:
        guarantee: what it promises when the engine checkpoints. Without checkpoints there is no second phase: the engine
            calls `prepare_commit` and `commit` at the end of the stream.
    """

    guarantee: Guarantee

    def writer(self, context: SinkContext) -> SinkWriter[T]:
        """A new writer, without opening anything."""
        ...

    async def commit(self, context: SinkContext, committables: Sequence[Committable]) -> None:
        """Make the output visible. Idempotent: a committable committed before is done. Called after the manifest exists;
        repeated with back-off while it raises a retriable `SinkError`.

        Raises:
            OutputLostError: it can never be made visible any more: the job restarts from an older checkpoint.
        """
        ...

    async def recover(
        self, context: SinkContext, checkpoint_id: int | None, committables: Sequence[Committable]
    ) -> None:
        """Bring the outside world to the state of the checkpoint that is restored (None: a start from nothing): commit
        `committables`, which may have been committed before, then do away with whatever this job left that is newer,
        prepared or visible. Called once per attempt before any writer opens, in one subtask's stead for all. When it
        raises `OutputLostError`, an older checkpoint is tried, and `recover` called again with that one.

        Raises:
            OutputLostError: committables that can never be made visible any more.
            SinkError: newer output is visible and cannot be taken back, and `context.allow_repeats` is not set: to go on
                would write it twice.
        """
        ...

    def describe(self) -> str:
        """What a plan shows. No credentials."""
        ...

    # A sink may also have `at(where) -> Sink`: itself at another path or topic, for replays, `ValueError` where that cannot
    # be; and
    # `written(after, until) -> Source`: what it has made visible for checkpoints with an id behind `after` and up to `until`,
    # or all when both are None, as a bounded source, for comparing versions. One that keeps
    # dead letters may have `async def redrive(context, *, limit=None, send=True, tell) -> Redriven`: it sends the originals
    # of the letters that came since the last time to where they were read, each once, and tells of its progress; without
    # `send` it only looks.
    # One may have `async def verify(context, committables)`, which raises `OutputLostError` as `recover` would and changes
    # nothing: where a checkpoint has output of several sinks, all are asked before the first of them commits.


class AtLeastOnce:
    """What a sink at least once inherits: its writer makes everything visible at the barrier, so there is no second phase."""

    guarantee: Guarantee = "at_least_once"

    async def commit(self, context: SinkContext, committables: Sequence[Committable]) -> None:
        """There is nothing to make visible."""

    async def recover(
        self, context: SinkContext, checkpoint_id: int | None, committables: Sequence[Committable]
    ) -> None:
        """There is nothing to take back."""


@dataclass(frozen=True, slots=True)
class Redriven:
    """What became of dead letters.

    Attributes:
        sent: originals that were sent again.
        gone: letters whose originals are gone for good.
        foreign: letters of records that were not read from where this sink could send them.
    """

    sent: int = 0
    gone: int = 0
    foreign: int = 0

    @property
    def letters(self) -> int:
        """How many letters were looked at."""
        return self.sent + self.gone + self.foreign


class SinkError(ConnectorError):
    """A sink cannot be opened, written or committed."""


class SinkFencedError(SinkError):
    """Another copy of the job has taken over what this one writes to. It is final: the engine ends the job as fenced."""

    def __init__(self, message: str) -> None:
        super().__init__(message, retriable=False)


class OutputLostError(SinkError):
    """What a checkpoint had prepared is gone and can never be made visible: a broker, for instance, ended the
    transaction. The engine passes over that checkpoint, restores the one before it and replays.

    Attributes:
        partly: some of the checkpoint's output of this sink is visible. A replay would write that part twice, so the engine
            refuses to go on unless the user allows repeats.
    """

    def __init__(self, message: str, *, partly: bool = False) -> None:
        super().__init__(message, retriable=not partly)
        self.partly = partly
