"""Which topics there are, and what a group knows of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from aiokafka import errors
from aiokafka.protocol.metadata import MetadataRequest

from ..source import SourceContext, SourceError
from .client import UNANSWERED, Client
from .connection import Connection
from .offsets import Place, committed_offsets, denied

_UNKNOWN: Final = 3
_INVALID: Final = 17
_DENIED: Final = 29
_PAUSE_S: Final = 0.2


async def list_topics(client: Client, names: Sequence[str] | None, connection: Connection) -> dict[str, list[int]]:
    """Topics and their partitions: those named, or all but Kafka's own.

    Raises:
        SourceError: one of those named is not there or must not be read; the cluster does not answer.
    """
    try:
        answer = await client.ask_any(MetadataRequest(None if names is None else list(names), False))
    except UNANSWERED as error:
        raise SourceError(
            f"Kafka at {connection.servers} does not say which topics there are: {error or type(error).__name__}"
        ) from error
    found: dict[str, list[int]] = {}
    for code, topic, is_internal, partitions in answer.topics:
        if code == 0:
            if names is not None or not is_internal:
                found[topic] = [row[1] for row in partitions]
        elif names is None:
            continue
        elif code == _DENIED:
            raise denied(topic)
        elif code == _UNKNOWN:
            raise SourceError(
                f"topic {topic!r} does not exist: create it (kafka-topics.sh --create --topic {topic}) or correct the name"
            )
        elif code == _INVALID:
            raise SourceError(f"{topic!r} cannot be the name of a topic", retriable=False)
        else:
            raise SourceError(f"topic {topic!r}: {errors.for_code(code).__name__}: {errors.for_code(code).description}")
    return found


async def committed(
    client: Client, group: str, places: Sequence[Place], context: SourceContext, connection: Connection
) -> dict[Place, int]:
    """What a group has committed; waits for its coordinator.

    Raises:
        SourceError: the coordinator is away for longer than `connect_timeout`, or the group must not be used.
    """
    tries = 0
    while True:
        try:
            return await committed_offsets(client, group, places)
        except UNANSWERED as error:
            tries += 1
            if tries * _PAUSE_S * 1000 > connection.connect_timeout_ms:
                raise SourceError(
                    f"the offsets of group {group!r} cannot be read: {error or type(error).__name__}; check the cluster"
                ) from error
            await context.sleep(_PAUSE_S)
            await client.force_metadata_update()
