"""The source of Kafka: which topics and partitions, from where, as what."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar, cast, overload

from ..formats.format import Format
from ..source import SourceContext, SourceError, Split
from .connection import Connection
from .message import Message
from .source_settings import Isolation, OnMissingOffset, SourceSettings, Tombstones
from .starts import AtTime, Start, checked

if TYPE_CHECKING:
    from .client import Client
    from .offsets import Place
    from .reader import KafkaReader

T = TypeVar("T")


class KafkaSource(Generic[T]):
    """See `source`. A split is a partition, its id `topic-partition`, its offset that of the next record."""

    replayable = True
    has_timestamps = True
    # Readers say when there is something; this is for the lag, which is measured when a split is read.
    poll_interval_ms = 500

    def __init__(
        self,
        settings: SourceSettings[T],
        topics: tuple[str, ...],
        pattern: re.Pattern[str] | None,
        partitions: tuple[int, ...] | None,
        start: Start,
    ) -> None:
        self.bounded = settings.stop_at_end
        self.finds_splits = not settings.stop_at_end
        self.type = settings.format.type
        if settings.messages:
            self.type = Message if self.type is None else Message[self.type]  # type: ignore[name-defined]  # at run time
        self._settings = settings
        self._topics = topics
        self._pattern = pattern
        self._partitions = partitions
        self._start = start

    async def discover(self, context: SourceContext, known: frozenset[str]) -> list[Split]:
        from .client import connect

        client = await connect(self._settings.connection, context.sleep, SourceError)
        try:
            places = [place for place in await self._places(client, context) if _id_of(place) not in known]
            if not places:
                return []
            await client.set_topics({place.topic for place in places})
            # Partitions that came after the start are read from their beginning, or records would be lost.
            starts = {} if known else await self._starts(client, places, context)
            ends: Mapping[Place, int] = {}
            if self._settings.stop_at_end:
                from .offsets import LATEST

                ends = await self._offsets(client, dict.fromkeys(places, LATEST), context)
            splits = []
            for place in places:
                where: dict[str, Any] = {"topic": place.topic, "partition": place.partition}
                if place in starts:
                    where["start"] = starts[place]
                if place in ends:
                    where["end"] = ends[place]
                splits.append(Split(_id_of(place), where))
            return splits
        finally:
            await client.close()

    async def _places(self, client: Client, context: SourceContext) -> list[Place]:
        """All partitions to be read, by topic and number.

        Raises:
            SourceError: there are none, or not all that were named.
        """
        from .offsets import Place
        from .topics import list_topics

        found = await list_topics(client, None if self._pattern else self._topics, self._settings.connection)
        if self._pattern is not None:
            found = {name: numbers for name, numbers in found.items() if self._pattern.fullmatch(name)}
            if not found:
                raise SourceError(
                    f"no topic matches the pattern {self._pattern.pattern!r}: create one, or correct the pattern"
                )
        places = []
        for topic, numbers in sorted(found.items()):
            wanted = numbers if self._partitions is None else self._partitions
            if absent := sorted(set(wanted) - set(numbers)):
                raise SourceError(
                    f"topic {topic!r} has no partition {absent[0]}: it has 0 to {len(numbers) - 1}; correct partitions",
                    retriable=False,
                )
            places += [Place(topic, number) for number in sorted(wanted)]
        return places

    async def _starts(self, client: Client, places: list[Place], context: SourceContext) -> dict[Place, int]:
        """Where reading begins, worked out once: it is kept with the split, so that a restart does not move it.
        Those without begin at the oldest record there is."""
        from .offsets import LATEST
        from .topics import committed

        start = self._start
        if isinstance(start, Mapping):
            return {place: start[place] for place in places if place in start}
        if start == "earliest":
            return {}
        if start == "committed":
            settings = self._settings
            return await committed(client, cast("str", settings.group), places, context, settings.connection)
        found: dict[Place, int] = {}
        if isinstance(start, AtTime):
            asked = await self._offsets(client, dict.fromkeys(places, start.ms), context)
            found = {place: offset for place, offset in asked.items() if offset >= 0}
        ends = [place for place in places if place not in found]
        return found | await self._offsets(client, dict.fromkeys(ends, LATEST), context)

    async def _offsets(self, client: Client, wanted: dict[Place, int], context: SourceContext) -> dict[Place, int]:
        from .offsets import all_offsets

        timeout_ms = self._settings.connection.connect_timeout_ms
        return await all_offsets(client, wanted, self._settings.committed_only, context, timeout_ms)

    def reader(self, context: SourceContext) -> KafkaReader[T]:
        from .reader import KafkaReader

        return KafkaReader(self._settings, context)

    def describe(self) -> str:
        what = f"pattern={self._pattern.pattern!r}" if self._pattern else ", ".join(map(repr, self._topics))
        return f"kafka.source({self._settings.connection.servers!r}, {what}, {self._settings.format.describe()})"


def _id_of(place: Place) -> str:
    return f"{place.topic}-{place.partition}"


@overload
def source(
    servers: str | Sequence[str] | Connection,
    topics: str | Sequence[str] | None = None,
    *,
    format: Format[T],
    messages: Literal[False] = False,
    pattern: str | re.Pattern[str] | None = None,
    partitions: Sequence[int] | None = None,
    start: Start = "earliest",
    group: str | None = None,
    isolation: Isolation = "read_committed",
    on_missing_offset: OnMissingOffset = "fail",
    tombstones: Tombstones = "skip",
    stop_at_end: bool = False,
) -> KafkaSource[T]: ...
@overload
def source(
    servers: str | Sequence[str] | Connection,
    topics: str | Sequence[str] | None = None,
    *,
    format: Format[T],
    messages: Literal[True],
    pattern: str | re.Pattern[str] | None = None,
    partitions: Sequence[int] | None = None,
    start: Start = "earliest",
    group: str | None = None,
    isolation: Isolation = "read_committed",
    on_missing_offset: OnMissingOffset = "fail",
    tombstones: Tombstones = "skip",
    stop_at_end: bool = False,
) -> KafkaSource[Message[T]]: ...
def source(
    servers: str | Sequence[str] | Connection,
    topics: str | Sequence[str] | None = None,
    *,
    format: Format[Any],
    messages: bool = False,
    pattern: str | re.Pattern[str] | None = None,
    partitions: Sequence[int] | None = None,
    start: Start = "earliest",
    group: str | None = None,
    isolation: Isolation = "read_committed",
    on_missing_offset: OnMissingOffset = "fail",
    tombstones: Tombstones = "skip",
    stop_at_end: bool = False,
) -> KafkaSource[Any]:
    """Topics of Kafka. Replayable: the engine keeps the offsets in its checkpoints and deals out the partitions itself; no
    consumer group is joined. The records' timestamps are their event times where `event_time` is left out.

    Unless it stops at the end, partitions and topics that are added while the job runs are found, and read from their
    beginning.

    Args:
        servers: `host:port`, several with commas between, or a `Connection` with TLS and credentials.
        topics: a name or several.
        format: of the values.
        messages: give each record as a `Message`: value, key, headers, timestamp, topic, partition, offset.
        pattern: instead of `topics`: all whose whole name matches this regular expression. Kafka's own never do.
        partitions: only these numbers, of each topic.
        start: where a job begins that has no checkpoint: `"earliest"`; `"latest"`, behind the records that are there;
            `"committed"`, what `group` has committed, the earliest where it has nothing; `kafka.at_time(...)`; or
            `{(topic, partition): offset}`, the earliest where a partition is not named. It is looked up once and kept in the
            first checkpoint.
        group: tell this group the offsets of each complete checkpoint, for other tools to see. It must have no members.
        isolation: `"read_committed"` leaves out records of aborted transactions, and waits for open ones;
            `"read_uncommitted"` does neither.
        on_missing_offset: when retention has deleted records before they were read: `"fail"` says how many; `"skip"` goes
            on behind them, with a warning, and counts them as `offsets_skipped`.
        tombstones: records without a value, unless `messages`: `"skip"` counts them as `tombstones_skipped`, `"reject"` makes
            them bad records.
        stop_at_end: end where the partitions end when they are first seen; what comes later is not read.

    Raises:
        ValueError: a setting is wrong.
        ImportError: the library is not installed; names the extra.
    """
    if find_spec("aiokafka") is None:
        raise ImportError('Kafka needs aiokafka: install "tidegate[kafka]"')
    if (topics is None) == (pattern is None):
        raise ValueError("give either topics or pattern")
    names = () if topics is None else (topics,) if isinstance(topics, str) else tuple(dict.fromkeys(topics))
    if topics is not None and not (names and all(names)):
        raise ValueError(f"topics={topics!r}: name a topic, or several")
    if partitions is not None and (not partitions or min(partitions) < 0):
        raise ValueError(f"partitions={partitions!r}: name at least one, from 0")
    try:
        compiled = None if pattern is None else re.compile(pattern)
    except re.error as error:
        raise ValueError(f"pattern={pattern!r}: is no regular expression: {error}") from error
    settings: SourceSettings[Any] = SourceSettings(
        Connection.of(servers), format, group, isolation, messages, on_missing_offset, tombstones, stop_at_end
    )
    numbers = None if partitions is None else tuple(sorted(set(partitions)))
    return KafkaSource(settings, names, compiled, numbers, checked(start, group))
