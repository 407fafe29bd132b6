"""The running source: gives out what was fetched ahead, decoded."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping
from contextlib import AsyncExitStack
from operator import attrgetter
from typing import Any, Final, Generic, TypeVar

from ..formats.format import Format, RegisteredFormat
from ..source import Fetch, Lag, Offset, SourceContext, SourceError, Split
from .client import UNANSWERED, Client, connect
from .decoding import decode
from .fetching import Fetcher
from .offsets import LATEST, Place, all_offsets, commit_offsets
from .read_ahead import Offsets, ReadAhead, offsets_of
from .source_settings import SourceSettings

T = TypeVar("T")

_LOG: Final = logging.getLogger("tidegate.connectors.kafka")

# How long a reader that is closed waits for the group to learn of the last checkpoint.
_LAST_COMMIT_S: Final = 3.0

_timestamp_of: Final[Callable[[Any], int]] = attrgetter("timestamp")


class KafkaReader(Generic[T]):
    """Reads the partitions of one subtask, with one client for all."""

    def __init__(self, settings: SourceSettings[T], context: SourceContext) -> None:
        self._settings = settings
        self._context = context
        self._held = AsyncExitStack()
        self._client: Client | None = None
        self._fetcher: Fetcher | None = None
        self._partitions: dict[str, ReadAhead] = {}
        self._added: list[ReadAhead] = []
        self._formats: dict[str, Format[T]] = {}
        self._spawn: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]]
        self._running: list[asyncio.Task[None]] = []
        self._failure: SourceError | None = None
        self._uncommitted: dict[Place, int] = {}
        self._committing: asyncio.Task[None] | None = None

    async def open(self, split: Split, offset: Offset | None) -> None:
        client = self._client or await self._connect()
        place = Place(split.where["topic"], split.where["partition"])
        await client.add_topic(place.topic)
        position = split.where.get("start") if offset is None else int(offset)
        end = await self._end(client, split, place) if self._settings.stop_at_end else None
        if end == 0 and position is None:
            position = 0
        partition = ReadAhead(split.id, place, position, end)
        self._partitions[split.id] = partition
        if place.topic not in self._formats:
            own = self._settings.format
            self._formats[place.topic] = (
                own.for_topic(place.topic, "value") if isinstance(own, RegisteredFormat) else own
            )
        self._added.append(partition)

    async def _end(self, client: Client, split: Split, place: Place) -> int:
        if "end" in split.where:
            return int(split.where["end"])
        # The checkpoint is of a run that did not stop at an end.
        settings = self._settings
        timeout_ms = settings.connection.connect_timeout_ms
        found = await all_offsets(client, {place: LATEST}, settings.committed_only, self._context, timeout_ms)
        return found[place]

    async def _connect(self) -> Client:
        settings = self._settings
        client = await connect(settings.connection, self._context.sleep, SourceError)
        self._held.push_async_callback(client.close)
        group = await self._held.enter_async_context(asyncio.TaskGroup())
        self._spawn = group.create_task
        self._fetcher = Fetcher(
            client,
            self._context,
            self._begin,
            committed_only=settings.committed_only,
            skip_missing=settings.on_missing_offset == "skip",
            missing_timeout_ms=settings.connection.connect_timeout_ms,
        )
        self._client = client
        return client

    def _begin(self, work: Callable[..., Coroutine[Any, Any, None]], *arguments: Any) -> None:
        self._running.append(self._spawn(self._guard(work, arguments)))

    async def _guard(self, work: Callable[..., Coroutine[Any, Any, None]], arguments: tuple[Any, ...]) -> None:
        """The engine learns of a failure when it reads next, not by being cancelled."""
        try:
            await work(*arguments)
        except Exception as error:
            self._failure = SourceError(
                f"Kafka at {self._settings.connection.servers}: {type(error).__name__}: {error}"
            )
            self._failure.__cause__ = error
            self._context.wake()

    # ------------------------------------------------------------------- read

    async def read(self, split_id: str, limit: int) -> Fetch[T]:
        fetcher, partition = self._fetcher, self._partitions[split_id]
        assert fetcher is not None
        # Not before the first read: then all that are known at the start are asked for together.
        while self._added:
            fetcher.add(self._added.pop(0))
        if self._failure is not None:
            raise self._failure
        records, n_bytes = partition.take(limit)
        if partition.skipped:
            self._context.count("offsets_skipped", partition.skipped)
            partition.skipped = 0
        if n_bytes:
            fetcher.room(partition)
        partition.dry = partition.empty
        if records:
            return await self._fetch(partition, records, n_bytes)
        if partition.dry and partition.error is not None and not partition.finished:
            raise partition.error
        # A caller that asks again at once must let the answer in.
        await asyncio.sleep(0)
        return Fetch([], partition.position, n_bytes=n_bytes, end=partition.finished)

    async def _fetch(self, partition: ReadAhead, records: list[Any], n_bytes: int) -> Fetch[T]:
        settings, place = self._settings, partition.place
        position, finished = partition.position, partition.finished
        read = await decode(
            records,
            place,
            self._formats[place.topic],
            self._context.blocking,
            messages=settings.messages,
            tombstones=settings.tombstones,
        )
        if read.tombstones:
            self._context.count("tombstones_skipped", read.tombstones)
        return Fetch(
            read.values,
            position,
            timestamps=list(map(_timestamp_of, read.records)),
            positions=Offsets(place, offsets_of(read.records)) if read.records else None,
            rejected=read.rejected,
            n_bytes=n_bytes,
            end=finished,
        )

    def lag(self, split_id: str) -> Lag | None:
        partition = self._partitions[split_id]
        last, position = partition.last_offset, partition.position
        if last is None or position is None:
            return None
        if partition.end is not None:
            last = min(last, partition.end)
        behind = max(0, last - position)
        if not behind:
            return Lag(records=0, event_time_ms=0)
        read_ms = partition.last_timestamp_ms
        return Lag(records=behind, event_time_ms=None if read_ms is None else max(0, self._context.now_ms() - read_ms))

    # ------------------------------------------------- what others are told

    async def checkpointed(self, offsets: Mapping[str, Offset]) -> None:
        """Commit the offsets to the group, where there is one."""
        if self._settings.group is None or self._client is None:
            return
        self._uncommitted |= {
            self._partitions[split_id].place: int(offset)
            for split_id, offset in offsets.items()
            if offset is not None and split_id in self._partitions
        }
        if self._uncommitted and (self._committing is None or self._committing.done()):
            self._committing = self._spawn(self._commit(self._client, self._settings.group))

    async def _commit(self, client: Client, group: str) -> None:
        while self._uncommitted:
            offsets, self._uncommitted = self._uncommitted, {}
            try:
                await commit_offsets(client, group, offsets)
            except (SourceError, *UNANSWERED) as error:
                _LOG.warning(
                    "group %s is not told the offsets of a checkpoint: %s", group, error or type(error).__name__
                )
            except Exception:
                _LOG.exception("group %s is not told the offsets of a checkpoint", group)

    async def close(self) -> None:
        try:
            if self._committing is not None and not self._committing.done():
                await asyncio.wait([self._committing], timeout=_LAST_COMMIT_S)
        finally:  # also when it is cancelled here
            for task in [*self._running, *([] if self._committing is None else [self._committing])]:
                task.cancel()
            await self._held.aclose()
