"""Fetching ahead: one asyncio task for each broker that leads a partition, and one that looks for leaders."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from typing import Any, Final

from aiokafka import errors
from aiokafka.client import ConnectionGroup
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.structs import TopicPartition

from ...operators.time import format_ms
from ..source import SourceContext, SourceError
from .client import UNANSWERED, Client
from .offsets import EARLIEST, LATEST, Place, denied, list_offsets
from .read_ahead import FETCH_BYTES, ReadAhead
from .unpacking import unpack

_LOG: Final = logging.getLogger("tidegate.connectors.kafka")

_WAIT_MS: Final = 500
# While some partitions are left out because enough of them is there, the others must not keep them waiting.
_SHORT_WAIT_MS: Final = 10
_RESPONSE_BYTES: Final = 8 << 20
_AHEAD_BYTES: Final = 64 << 20
_LARGEST_FETCH_BYTES: Final = 1 << 30
_LONGEST_PAUSE_S: Final = 2.0
_DAMAGED_TRIES: Final = 3

_OFFSET_OUT_OF_RANGE: Final = 1
_CORRUPT: Final = 2
_TOPIC_DENIED: Final = 29

# A connection of its own: a fetch that waits for records keeps all requests behind it waiting.
_FETCHES: Final = ConnectionGroup.COORDINATION


class Fetcher:
    """Fills `ReadAhead`s. Its asyncio tasks live in the group that is handed in and never raise.

    Args:
        client: connected; the fetcher does not close it.
        context: of the source.
        spawn: begins an asyncio task of a function and its arguments.
        committed_only: leave out aborted transactions and wait for open ones.
        skip_missing: go on behind offsets that are gone, instead of giving up.
        missing_timeout_ms: how long a topic may be missing before it is taken for deleted.
    """

    def __init__(
        self,
        client: Client,
        context: SourceContext,
        spawn: Callable[..., Any],
        *,
        committed_only: bool,
        skip_missing: bool,
        missing_timeout_ms: int,
    ) -> None:
        self._client = client
        self._context = context
        self._spawn = spawn
        self._committed_only = committed_only
        self._skip_missing = skip_missing
        self._missing_timeout_ms = missing_timeout_ms
        self._partitions: list[ReadAhead] = []
        self._rooms: dict[int, asyncio.Event] = {}
        self._leaderless = asyncio.Event()
        self._looking = False
        self._said_waiting = False

    def add(self, partition: ReadAhead) -> None:
        """Fetch this one too."""
        self._partitions.append(partition)
        self._leaderless.set()
        if not self._looking:
            self._looking = True
            self._spawn(self._look_for_leaders)

    def room(self, partition: ReadAhead) -> None:
        """Some of what was fetched ahead has been taken."""
        if partition.leader is not None:
            self._rooms[partition.leader].set()

    # ---------------------------------------------------------------- leaders

    async def _look_for_leaders(self) -> None:
        while True:
            lost = [p for p in self._partitions if p.leader is None and not p.whole]
            if not lost:
                self._leaderless.clear()
                await self._leaderless.wait()
                continue
            failures = max(p.failures for p in lost)
            if failures > 3 and not self._said_waiting:
                self._said_waiting = True
                _LOG.warning("waiting for the leaders of %s", ", ".join(str(p.place) for p in lost[:5]))
            if failures > 1:
                await self._context.sleep(min(0.05 * 2 ** min(failures, 10), _LONGEST_PAUSE_S))
            if failures or any(self._leader(p) is None for p in lost):
                updated = await self._client.force_metadata_update()
                for partition in lost:
                    partition.failures += 1
                    if updated:
                        self._check_presence(partition)
            for partition in lost:
                partition.leader = self._leader(partition)
                if partition.leader is not None:
                    if partition.leader not in self._rooms:
                        self._rooms[partition.leader] = asyncio.Event()
                        self._spawn(self._fetch_from, partition.leader)
                    self._rooms[partition.leader].set()

    def _leader(self, partition: ReadAhead) -> int | None:
        leader = self._client.cluster.leader_for_partition(TopicPartition(*partition.place))
        return None if leader is None or leader < 0 else int(leader)

    def _check_presence(self, partition: ReadAhead) -> None:
        topic, number = partition.place
        cluster = self._client.cluster
        if topic in cluster.unauthorized_topics:
            self._give_up(partition, denied(topic))
        elif number in (cluster.partitions_for_topic(topic) or ()):
            partition.missing_since_ms = None
        elif partition.missing_since_ms is None:
            # A broker that has just started may not know all topics yet.
            partition.missing_since_ms = self._context.now_ms()
        elif self._context.now_ms() - partition.missing_since_ms >= self._missing_timeout_ms:
            self._give_up(
                partition,
                SourceError(
                    f"{partition.place} does not exist, for {format_ms(self._missing_timeout_ms)} now: create it, or start "
                    "the job without it"
                ),
            )

    # ---------------------------------------------------------------- fetches

    async def _fetch_from(self, broker: int) -> None:
        room = self._rooms[broker]
        while True:
            room.clear()
            own = [p for p in self._partitions if p.leader == broker and not p.whole]
            try:
                await self._find_beginnings(own)
                asked = self._wanting([p for p in own if p.fetch_offset is not None and not p.whole])
                if not asked:
                    await room.wait()
                    continue
                request = self._request(asked, _WAIT_MS if len(asked) == len(own) else _SHORT_WAIT_MS)
                answer = await self._client.send(broker, request, group=_FETCHES)
            except errors.IncompatibleBrokerVersion as error:
                self._give_up_all(own, SourceError(f"broker {broker} is too old: {error}", retriable=False))
            except UNANSWERED as error:
                _LOG.debug("no answer from broker %s: %r", broker, error)
                self._lost(own)
            except SourceError as error:
                self._give_up_all(own, error)
            else:
                await self._take_in(asked, answer)

    def _wanting(self, own: list[ReadAhead]) -> list[ReadAhead]:
        """Those of which more is wanted, the most urgent first."""
        much = sum(p.n_bytes for p in self._partitions) >= _AHEAD_BYTES
        return sorted((p for p in own if (p.empty if much else not p.full)), key=lambda p: p.n_bytes)

    def _request(self, partitions: Iterable[ReadAhead], wait_ms: int) -> FetchRequest:
        topics: dict[str, list[tuple[int, int, int]]] = {}
        for partition in partitions:
            row = (partition.place.partition, partition.fetch_offset or 0, partition.fetch_bytes)
            topics.setdefault(partition.place.topic, []).append(row)
        return FetchRequest(wait_ms, 1, _RESPONSE_BYTES, int(self._committed_only), list(topics.items()))

    async def _take_in(self, asked: list[ReadAhead], answer: Any) -> None:
        by_place = {partition.place: partition for partition in asked}
        wake = False
        out_of_range: list[ReadAhead] = []
        for topic, rows in answer.topics:
            for number, code, high, stable, *rest in rows:
                partition = by_place.get(Place(topic, number))
                if partition is None:
                    continue
                if code == 0:
                    if self._said_waiting and partition.failures:
                        self._said_waiting = False
                        _LOG.warning("reading from Kafka goes on")
                    partition.failures = 0
                    partition.last_offset = stable if self._committed_only else high
                    aborted = rest[-3 if answer.API_VERSION >= 11 else -2] if self._committed_only else None
                    wake |= self._add(partition, rest[-1] or b"", aborted)
                elif code == _OFFSET_OUT_OF_RANGE:
                    out_of_range.append(partition)
                elif code == _TOPIC_DENIED:
                    self._give_up(partition, denied(topic))
                elif code == _CORRUPT:
                    self._damaged(partition, "the broker cannot read it")
                else:
                    _LOG.debug("%s: %s", partition.place, errors.for_code(code).__name__)
                    self._lost([partition])
        if out_of_range:
            try:
                await self._find_anew(out_of_range)
            except SourceError as error:
                self._give_up_all(out_of_range, error)
        if wake:
            self._context.wake()

    def _add(self, partition: ReadAhead, data: bytes, aborted: Any) -> bool:
        """Take in what came; whether the engine waits for it."""
        if not data or partition.fetch_offset is None:
            return False
        unpacked = unpack(data, aborted, partition.fetch_offset)
        if unpacked.batches:
            partition.damaged = 0
            partition.fetch_bytes = min(partition.fetch_bytes, FETCH_BYTES)
            partition.add(unpacked)
        elif unpacked.damaged:
            self._damaged(partition, "its checksum is wrong")
        else:
            # Not one whole batch.
            partition.fetch_bytes = min(partition.fetch_bytes * 2, _LARGEST_FETCH_BYTES)
        return partition.dry and bool(unpacked.batches)

    def _damaged(self, partition: ReadAhead, how: str) -> None:
        partition.damaged += 1
        if partition.damaged < _DAMAGED_TRIES:
            self._lost([partition])
            return
        self._give_up(
            partition,
            SourceError(
                f"{partition.place}@{partition.fetch_offset}: the record batch is damaged: {how}; a replica may be whole: "
                "move the leader, or start behind it with explicit offsets"
            ),
        )

    def _lost(self, partitions: Iterable[ReadAhead]) -> None:
        for partition in partitions:
            partition.leader = None
            partition.failures = max(partition.failures, 1)
        self._leaderless.set()

    def _give_up(self, partition: ReadAhead, error: SourceError) -> None:
        partition.error = error
        self._context.wake()

    def _give_up_all(self, partitions: Iterable[ReadAhead], error: SourceError) -> None:
        for partition in partitions:
            self._give_up(partition, error)

    # ---------------------------------------------------------------- offsets

    async def _find_beginnings(self, own: list[ReadAhead]) -> None:
        """The oldest offsets, where reading begins there."""
        wanted = {p.place: EARLIEST for p in own if p.fetch_offset is None}
        if wanted:
            found = await list_offsets(self._client, wanted, self._committed_only)
            for partition in own:
                if partition.place in found:
                    partition.jump(found[partition.place])
                    if partition.dry:
                        self._context.wake()
                elif partition.fetch_offset is None:
                    self._lost([partition])

    async def _find_anew(self, partitions: list[ReadAhead]) -> None:
        """The broker does not have what they want to read next: retention has overtaken them, or it is another log."""
        first = await list_offsets(self._client, {p.place: EARLIEST for p in partitions}, False)
        last = await list_offsets(self._client, {p.place: LATEST for p in partitions}, False)
        for partition in partitions:
            place, wanted = partition.place, partition.fetch_offset
            if wanted is None or place not in first or place not in last:
                self._lost([partition])
            elif wanted < first[place]:
                self._overtaken(partition, wanted, first[place])
            elif wanted > last[place]:
                self._give_up(
                    partition,
                    SourceError(
                        f"{place}@{wanted}: is behind the end of the partition, {last[place]}: the topic was made anew or "
                        "lost records; start the job from nothing, or with explicit offsets",
                        retriable=False,
                    ),
                )

    def _overtaken(self, partition: ReadAhead, wanted: int, first: int) -> None:
        gap = first - wanted
        if not self._skip_missing:
            self._give_up(
                partition,
                SourceError(
                    f"{partition.place}@{wanted}: {gap} offsets are gone, up to {first}: retention deleted the records before "
                    'they were read; raise the retention of the topic, or go on without them: on_missing_offset="skip"',
                    retriable=False,
                ),
            )
            return
        _LOG.warning("%s: %d offsets from %d on are gone and skipped", partition.place, gap, wanted)
        partition.skipped += gap
        partition.jump(first)
        if partition.dry:
            self._context.wake()
