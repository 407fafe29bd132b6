"""Questions about offsets: where a partition begins and ends, what stands at a time, what a group has committed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

from aiokafka import errors
from aiokafka.client import ConnectionGroup, CoordinationType
from aiokafka.protocol.commit import OffsetCommitRequest, OffsetFetchRequest
from aiokafka.protocol.offset import OffsetRequest
from aiokafka.structs import TopicPartition

from ..source import SourceContext, SourceError
from .client import UNANSWERED, Client

EARLIEST: Final = -2
LATEST: Final = -1

_TOPIC_DENIED: Final = 29
_GROUP_DENIED: Final = 30
_PAUSE_S: Final = 0.1


class Place(NamedTuple):
    """A partition of a topic."""

    topic: str
    partition: int

    def __str__(self) -> str:
        return f"{self.topic}[{self.partition}]"


async def list_offsets(client: Client, wanted: Mapping[Place, int], committed_only: bool) -> dict[Place, int]:
    """Offsets of partitions. Those of which the leader is away or has moved are missing in the answer.

    Args:
        client: knows the topics.
        wanted: `EARLIEST`, `LATEST`, or a time in milliseconds: then the first record not before it, -1 for none.
        committed_only: what the end is for a reader of committed records: before the first open transaction.

    Raises:
        SourceError: a topic must not be read.
    """
    by_leader: dict[int, dict[str, list[tuple[int, int]]]] = {}
    for place, which in wanted.items():
        leader = client.cluster.leader_for_partition(TopicPartition(*place))
        if leader is not None and leader >= 0:
            by_leader.setdefault(leader, {}).setdefault(place.topic, []).append((place.partition, which))
    found: dict[Place, int] = {}
    for leader, topics in by_leader.items():
        request = OffsetRequest(-1, int(committed_only), list(topics.items()))
        try:
            answer = await client.send(leader, request)
        except UNANSWERED:
            continue
        for topic, partitions in answer.topics:
            for partition, code, _, offset in partitions:
                if code == _TOPIC_DENIED:
                    raise denied(topic)
                if code == 0:
                    found[Place(topic, partition)] = offset
    return found


async def all_offsets(
    client: Client, wanted: Mapping[Place, int], committed_only: bool, context: SourceContext, timeout_ms: int
) -> dict[Place, int]:
    """The offsets of all that is wanted; waits for leaders that are away.

    Raises:
        SourceError: a leader is away for longer than that, or a topic must not be read.
    """
    found: dict[Place, int] = {}
    began_ms, tries = context.now_ms(), 0
    while True:
        missing = {place: which for place, which in wanted.items() if place not in found}
        found |= await list_offsets(client, missing, committed_only)
        missing = {place: which for place, which in missing.items() if place not in found}
        if not missing:
            return found
        tries += 1
        if max(context.now_ms() - began_ms, int(tries * _PAUSE_S * 1000)) > timeout_ms:
            raise SourceError(
                f"{', '.join(map(str, sorted(missing)))}: no broker answers for {_them(len(missing))}: check the cluster"
            )
        await context.sleep(_PAUSE_S)
        await client.force_metadata_update()


def _them(n: int) -> str:
    return "this partition" if n == 1 else f"these {n} partitions"


async def committed_offsets(client: Client, group: str, places: Iterable[Place]) -> dict[Place, int]:
    """What a group has committed; partitions without are missing in the answer.

    Raises:
        SourceError: the group must not be used.
        KafkaError, OSError, asyncio.TimeoutError: no answer.
    """
    answer = await _ask_coordinator(
        client, group, OffsetFetchRequest(group, _by_topic({place: place.partition for place in places}))
    )
    found: dict[Place, int] = {}
    for topic, partitions in answer.topics:
        for partition, offset, _, code in partitions:
            if code == _TOPIC_DENIED:
                raise denied(topic)
            if code:
                raise errors.for_code(code)()
            if offset >= 0:
                found[Place(topic, partition)] = offset
    return found


async def commit_offsets(client: Client, group: str, offsets: Mapping[Place, int]) -> None:
    """Tell others how far a group has come: no member of it, which works while it has none.

    Raises:
        SourceError: it is refused; says why.
        KafkaError, OSError, asyncio.TimeoutError: no answer.
    """
    rows = {place: (place.partition, offset, "") for place, offset in offsets.items()}
    answer = await _ask_coordinator(client, group, OffsetCommitRequest(group, -1, "", -1, _by_topic(rows)))
    for topic, partitions in answer.topics:
        for partition, code in partitions:
            if code:
                kind = errors.for_code(code)
                raise SourceError(f"{topic}[{partition}]: {kind.__name__}: {kind.description}")


async def _ask_coordinator(client: Client, group: str, request: Any) -> Any:
    try:
        coordinator = await client.coordinator_lookup(CoordinationType.GROUP, group)
        answer = await client.send(coordinator, request, group=ConnectionGroup.DEFAULT)
    except errors.GroupAuthorizationFailedError as error:
        raise _denied_group(group) from error
    if getattr(answer, "error_code", 0) == _GROUP_DENIED:
        raise _denied_group(group)
    code = getattr(answer, "error_code", 0)
    if code:
        raise errors.for_code(code)()
    return answer


def _by_topic(rows: Mapping[Place, Any]) -> list[tuple[str, list[Any]]]:
    topics: dict[str, list[Any]] = {}
    for place, row in rows.items():
        topics.setdefault(place.topic, []).append(row)
    return list(topics.items())


def denied(topic: str) -> SourceError:
    """The ACLs do not let us read a topic."""
    return SourceError(f"topic {topic!r} is denied: allow Read and Describe on it to this user", retriable=False)


def _denied_group(group: str) -> SourceError:
    return SourceError(f"group {group!r} is denied: allow Read on it to this user", retriable=False)
