"""What a source is: the contract between the engine and every connector that brings records in.

The engine asks a `Source` for its splits and opens one `SourceReader` per subtask. It chooses which split to read
next (the one whose watermark is lowest), keeps the offsets, makes watermarks, applies the rate limit and puts barriers
between fetches. A connector only turns (split, offset) into records.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

import msgspec

T = TypeVar("T")

Offset = Any
"""A position in a split, opaque to the engine: JSON values only (numbers, strings, lists, dicts), for it is part of
the checkpoint's manifest."""


class Split(msgspec.Struct, frozen=True):
    """The part of a source that is read in order, by one reader at a time: a file, a byte range, a partition.

    Attributes:
        id: unique in the source and the same in every run: the offset is kept under it.
        where: what the reader needs to open it; JSON values only.
    """

    id: str
    where: dict[str, Any] = {}


@dataclass(slots=True)
class Rejected:
    """A record that could not be decoded; its neighbours were."""

    raw: bytes
    """What was read, cut at 64 KiB."""
    reason: str
    """What is wrong, in a sentence."""
    position: Any
    """Where it stands in the split: what a person needs to find it (`"line 17, byte 2048"`)."""


@dataclass(slots=True)
class Fetch(Generic[T]):
    """What one read brought.

    Attributes:
        values: the decoded records, in order; empty when there is nothing now.
        offset: where to go on *after* these records. The engine stores it with the next barrier, so it must hold
            for the records of this fetch alone, however far the reader has read ahead.
        timestamps: event times in milliseconds, where the source has them itself (Kafka); else None.
        keys: keys, where the source has them itself; else None.
        positions: for each value where it stands, for error messages; a `range` costs nothing. Else None.
        rejected: records that could not be decoded, in order.
        n_bytes: how many bytes were read for them.
        end: the split has no more records, ever; the engine reads it no more.
    """

    values: list[T]
    offset: Offset
    timestamps: list[int] | None = None
    keys: list[Any] | None = None
    positions: Sequence[Any] | None = None
    rejected: list[Rejected] = field(default_factory=list)
    n_bytes: int = 0
    end: bool = False


@dataclass(frozen=True, slots=True)
class Lag:
    """How far behind a split is: either may be unknown.

    Attributes:
        records: records between the offset and the end of the split.
        n_bytes: bytes between the offset and the end of the split.
        event_time_ms: time between the newest record there is and the last one read.
    """

    records: int | None = None
    n_bytes: int | None = None
    event_time_ms: int | None = None


class SourceContext(Protocol):
    """What the engine gives to a reader; valid until `close`."""

    operator_id: str
    job: str
    subtask: int
    parallelism: int
    attempt: int

    def blocking(self, function: Callable[..., Any], *args: Any) -> Awaitable[Any]:
        """Run a function that waits (disk, a client library) in the engine's executor. The only way to use a thread. It may
        begin before it is awaited, so a reader can have the next piece fetched while this one is worked on; what was asked
        for must be awaited, in `close` at the latest."""
        ...

    def now_ms(self) -> int:
        """Milliseconds since 1970 UTC by the engine's clock."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait by the engine's clock."""
        ...

    def count(self, name: str, n: int = 1) -> None:
        """Add to a counter exported with the source's metrics."""
        ...

    def wake(self) -> None:
        """Tell the engine that a split may have records now. Callable from the event loop's thread only."""
        ...


class SourceReader(Protocol[T]):
    """The running thing: reads the splits assigned to one subtask. Methods are called from one asyncio task, never two
    at the same time."""

    async def open(self, split: Split, offset: Offset | None) -> None:
        """Start with a split, at `offset` or, when None, at its beginning. Called once per split: before the first
        `read` for those known at the start, between reads for those found later.

        Raises:
            SourceError: it is not there or cannot be read; the message names it and the remedy. The job fails.
        """
        ...

    async def read(self, split_id: str, limit: int) -> Fetch[T]:
        """Up to about `limit` records of a split: what is there *now*. Returns at once with no values when there is
        nothing yet (then calls `context.wake` when there may be, where it can know; the engine also asks again after
        the source's `poll_interval_ms`). Must not hold the event loop: blocking calls go through `context.blocking`.

        After a fetch with `end` the split is never read again. Every record is delivered once: values in one fetch,
        the offset after them in the same fetch.
        """
        ...

    def lag(self, split_id: str) -> Lag | None:
        """How far behind, from what the reader knows without asking anybody; None when it does not."""
        ...

    async def close(self) -> None:
        """Give back files and connections. Called once, last, also after a failure or cancellation, at any time."""
        ...

    # A reader may also have `async def checkpointed(self, offsets: Mapping[str, Offset]) -> None`: called between reads
    # after a checkpoint is complete and committed, with the offsets of the reader's splits in it, to tell the outside
    # world how far the job has come. Recovery never depends on it: it must return quickly and not raise.


class Source(Protocol[T]):
    """The description: validated settings, no connection. Shared by all subtasks; must not change.

    Attributes:
        bounded: whether every split ends by itself.
        finds_splits: whether there may be new splits while the job runs: then it is asked for them from time to time, and
            the stream does not end when all known ones have.
        replayable: whether a split can be read again from an offset of the past; without that nothing is exactly once.
        type: the type of the records where it is known (`formats.json(Flight)` knows), else None. `map_async` and typed
            keys rely on it.
        has_timestamps: whether fetches carry `timestamps`, so that `event_time` may be left out.
        poll_interval_ms: how long to wait, at most, before a split that had nothing is read again.
    """

    bounded: bool
    finds_splits: bool
    replayable: bool
    type: Any
    has_timestamps: bool
    poll_interval_ms: int

    async def discover(self, context: SourceContext, known: frozenset[str]) -> list[Split]:
        """The splits that are not in `known`, in the order in which they should be read. Called before the readers open,
        with what the checkpoint knows, and with `finds_splits` every `discovery_interval`.

        Raises:
            SourceError: there is nothing to read or it cannot be listed; names what and the remedy.
        """
        ...

    def reader(self, context: SourceContext) -> SourceReader[T]:
        """A new reader, without opening anything."""
        ...

    def describe(self) -> str:
        """What a plan shows: `files.lines('flights.jsonl')`. No credentials."""
        ...


class ConnectorError(Exception):
    """The outside world is not as it should be: a file missing, a server away. The message says which and the remedy.

    Attributes:
        retriable: whether trying again later may help; the restart strategy decides by it.
    """

    def __init__(self, message: str, *, retriable: bool = True) -> None:
        super().__init__(message)
        self.retriable = retriable


class SourceError(ConnectorError):
    """A source cannot be listed, opened or read."""
