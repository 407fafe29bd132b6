"""A source whose input is data, and so are its crashes, pauses and checkpoints."""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import cycle
from typing import Any, Generic, TypeAlias, TypeVar

from ...connectors.source import Fetch, Lag, Offset, SourceContext, SourceError, Split
from ..clock import Clock
from ..config import RunConfig
from ..errors import CheckpointError
from ..executor import Executor
from ..job import JobStatus, OnEvent, start
from ..topology import Topology

T = TypeVar("T")


class Marker(enum.Enum):
    """What may stand between the records of a script, besides `Pause`.

    Attributes:
        CRASH: raise `ScriptedCrash`, once: when a reader of this source first gets here. The records before it
            have gone through the chain by then. A later attempt goes on.
        BARRIER: take a checkpoint exactly here: the split gives nothing until the checkpoint has ended. Needs
            `run_script`, or a program that does what it does.
        END: the split has no more records; what follows is never read.
    """

    CRASH = "crash"
    BARRIER = "barrier"
    END = "end"


CRASH = Marker.CRASH
BARRIER = Marker.BARRIER
END = Marker.END


@dataclass(frozen=True)
class Pause:
    """The split gives nothing for so many seconds by the engine's clock; None: until `ScriptedSource.release`."""

    seconds: float | None = None


Script: TypeAlias = Sequence[T | Marker | Pause]
"""The records of a split, with markers and pauses between them."""


class ScriptedCrash(Exception):
    """What `CRASH` raises. A restart strategy takes it like any failure of a source."""


class ScriptedSource(Generic[T]):
    """A replayable source that gives what the scripts say, one split per script.

    >>> from tidegate.connectors import memory
    >>> from tidegate.engine import RunConfig, Topology, restart
    >>> source, sink = ScriptedSource([1, 2, CRASH, 3]), memory.sink()
    >>> topology = Topology("survives")
    >>> topology.source("numbers", source).sink("out", sink)
    >>> config = RunConfig(restart=restart.fixed_delay(1, "0ms"))
    >>> asyncio.run(run_script(topology, source, config)).value, sink.values
    ('finished', [1, 2, 3])

    Args:
        scripts: one for each split, whose id is its number. The offset is the index of the next item.
        fetch_sizes: how many records each split's fetches bring, in turn and from the front again: where batches
            are cut. None: as many as the engine asks for. No fetch goes beyond a marker.
        bounded: whether a split ends with its script; else it falls silent there, unless the script has `END`.
        type: the type of the records, where typed keys or `map_async` need it.

    Raises:
        ValueError: no script, or a fetch size below 1.
    """

    finds_splits = False
    replayable = True
    has_timestamps = False
    poll_interval_ms = 1000

    def __init__(
        self,
        *scripts: Script[T],
        fetch_sizes: Sequence[int] | None = None,
        bounded: bool = True,
        type: Any = None,
    ) -> None:
        if not scripts:
            raise ValueError("ScriptedSource: give at least one script")
        if fetch_sizes is not None and (not fetch_sizes or min(fetch_sizes) < 1):
            raise ValueError(f"ScriptedSource(fetch_sizes={fetch_sizes!r}): at least one size, each at least 1")
        self.bounded = bounded
        self.type = type
        self.on_barrier: Callable[[], None] | None = None
        self._scripts = [list(script) for script in scripts]
        self._fetch_sizes = fetch_sizes
        self._crashed: set[tuple[str, int]] = set()
        self._readers: dict[str, ScriptedReader[T]] = {}

    @property
    def records(self) -> list[T]:
        """All records of all scripts, up to each script's `END`: what an oracle computes with."""
        found: list[T] = []
        for script in self._scripts:
            for item in script:
                if item is END:
                    break
                if not isinstance(item, Marker | Pause):
                    found.append(item)
        return found

    @property
    def at_barrier(self) -> frozenset[str]:
        """The splits that stand at a `BARRIER`."""
        return frozenset(split_id for split_id, marker in self._standing() if marker is BARRIER)

    @property
    def at_pause(self) -> frozenset[str]:
        """The splits that stand at a `Pause`."""
        return frozenset(split_id for split_id, marker in self._standing() if isinstance(marker, Pause))

    def _standing(self) -> list[tuple[str, Marker | Pause | None]]:
        return [(split_id, reader.stands_at(split_id)) for split_id, reader in self._readers.items()]

    def release(self, splits: frozenset[str] | None = None) -> None:
        """Let splits go on from the `BARRIER` or `Pause` where they stand; all when None."""
        for split_id, reader in self._readers.items():
            if splits is None or split_id in splits:
                reader.release(split_id)

    async def discover(self, context: SourceContext, known: frozenset[str]) -> list[Split]:
        ids = [str(number) for number in range(len(self._scripts))]
        return [Split(split_id) for split_id in ids if split_id not in known]

    def reader(self, context: SourceContext) -> ScriptedReader[T]:
        return ScriptedReader(self, context)

    def describe(self) -> str:
        return f"ScriptedSource({len(self._scripts)} splits)"


class ScriptedReader(Generic[T]):
    """Reads the scripts of one subtask's splits."""

    def __init__(self, source: ScriptedSource[T], context: SourceContext) -> None:
        self._source = source
        self._context = context
        self._next: dict[str, int] = {}
        self._sizes: dict[str, Any] = {}
        self._stands: dict[str, Marker | Pause] = {}
        self._until_ms: dict[str, float] = {}

    def stands_at(self, split_id: str) -> Marker | Pause | None:
        """The `BARRIER` or `Pause` that a split waits at."""
        return self._stands.get(split_id)

    def release(self, split_id: str) -> None:
        """Go on with a split that waits."""
        if self._stands.pop(split_id, None) is not None:
            self._until_ms.pop(split_id, None)
            self._context.wake()

    async def open(self, split: Split, offset: Offset | None) -> None:
        if not split.id.isdigit() or int(split.id) >= len(self._source._scripts):
            raise SourceError(
                f"scripted source: there is no script {split.id}; start with as many as before", retriable=False
            )
        sizes = self._source._fetch_sizes
        self._next[split.id] = offset or 0
        self._sizes[split.id] = None if sizes is None else cycle(sizes)
        self._source._readers[split.id] = self

    async def read(self, split_id: str, limit: int) -> Fetch[T]:
        script = self._source._scripts[int(split_id)]
        if self._waits(split_id):
            return Fetch([], self._next[split_id])
        start = self._past_crashes(split_id, script)
        if start == len(script):
            return Fetch([], start, end=self._source.bounded)
        first = script[start]
        if isinstance(first, Marker | Pause):
            return self._marker(split_id, start, first)
        sizes = self._sizes[split_id]
        values: list[T] = []
        for item in script[start : start + (limit if sizes is None else min(limit, next(sizes)))]:
            if isinstance(item, Marker | Pause):
                break
            values.append(item)
        stop = self._next[split_id] = start + len(values)
        return Fetch(values, stop, positions=range(start, stop))

    def _past_crashes(self, split_id: str, script: Sequence[T | Marker | Pause]) -> int:
        index, crashed = self._next[split_id], self._source._crashed
        while index < len(script) and script[index] is CRASH:
            if (split_id, index) not in crashed:
                crashed.add((split_id, index))
                raise ScriptedCrash(f"the script of split {split_id} crashes at {index}")
            index += 1
        self._next[split_id] = index
        return index

    def _marker(self, split_id: str, index: int, marker: Marker | Pause) -> Fetch[T]:
        if marker is END:
            return Fetch([], index, end=True)
        # The offset is the one behind the marker: whoever restores from here goes on.
        self._next[split_id] = index + 1
        self._stands[split_id] = marker
        if isinstance(marker, Pause) and marker.seconds is not None:
            self._until_ms[split_id] = self._context.now_ms() + marker.seconds * 1000
        if marker is BARRIER and self._source.on_barrier is not None:
            self._source.on_barrier()
        return Fetch([], index + 1)

    def _waits(self, split_id: str) -> bool:
        until_ms = self._until_ms.get(split_id)
        if until_ms is not None and self._context.now_ms() >= until_ms:
            self.release(split_id)
        return split_id in self._stands

    def lag(self, split_id: str) -> Lag | None:
        left = self._source._scripts[int(split_id)][self._next[split_id] :]
        return Lag(records=sum(not isinstance(item, Marker | Pause) for item in left))

    async def close(self) -> None:
        readers = self._source._readers
        for split_id in [split_id for split_id, reader in readers.items() if reader is self]:
            del readers[split_id]


async def run_script(
    topology: Topology,
    source: ScriptedSource[Any],
    config: RunConfig | None = None,
    *,
    clock: Clock | None = None,
    executor: Executor | None = None,
    on_event: OnEvent | None = None,
) -> JobStatus:
    """Run a topology to its end, taking a checkpoint at every `BARRIER` of its source; how it ended. In a job
    without checkpoints a `BARRIER` means nothing.

    Raises:
        TidegateError: as `Job.wait`.
    """
    async with start(topology, config, clock=clock, executor=executor, on_event=on_event) as job:
        async with asyncio.TaskGroup() as group:
            reached = asyncio.Event()
            source.on_barrier = reached.set

            async def take_checkpoints() -> None:
                while True:
                    await reached.wait()
                    reached.clear()
                    while splits := source.at_barrier:
                        # Given up with its attempt: the next attempt comes here again.
                        with suppress(CheckpointError):
                            await job.checkpoint()
                        source.release(splits)

            taking = group.create_task(take_checkpoints())
            try:
                await job.over.wait()
            finally:
                taking.cancel()
                source.on_barrier = None
        return await job.wait()
