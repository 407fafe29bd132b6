"""From Kafka's records to the user's values: bad ones and tombstones told apart, their neighbours kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import compress
from operator import attrgetter
from typing import Any, Final

from ..formats.format import Blocking, Format, prepare
from ..source import Rejected
from .message import Message
from .offsets import Place
from .source_settings import Tombstones

_value_of: Final[Callable[[Any], bytes | None]] = attrgetter("value")


@dataclass(slots=True)
class Read:
    """What some records hold.

    Attributes:
        values: of the good ones.
        records: the records that they came from, one for one.
        rejected: the bad ones, in order.
        tombstones: how many were skipped.
    """

    values: list[Any]
    records: Sequence[Any]
    rejected: list[Rejected] = field(default_factory=list)
    tombstones: int = 0


async def decode(
    records: list[Any], place: Place, format: Format[Any], blocking: Blocking, *, messages: bool, tombstones: Tombstones
) -> Read:
    """Decode records.

    Args:
        records: of the client library.
        place: where they were read.
        format: of the values.
        blocking: of the source's context, for formats that ask a registry.
        messages: whole messages are wanted, tombstones among them.
        tombstones: what to do with them otherwise.

    Raises:
        ConnectorError: a registry cannot be asked.
    """
    payloads = list(map(_value_of, records))
    if None not in payloads:
        found = await _decode_values(records, payloads, place, format, blocking)
        if messages:
            found.values = list(map(_message, [place] * len(found.values), found.records, found.values))
        return found
    present = [payload is not None for payload in payloads]
    dead = [record for record in records if record.value is None]
    found = await _decode_values(
        list(compress(records, present)), list(compress(payloads, present)), place, format, blocking
    )
    if messages:
        rows = [(record.offset, record, value) for record, value in zip(found.records, found.values, strict=True)]
        rows = sorted(rows + [(record.offset, record, None) for record in dead], key=lambda row: row[0])
        found.records = [record for _, record, _ in rows]
        found.values = [_message(place, record, value) for _, record, value in rows]
    elif tombstones == "skip":
        found.tombstones = len(dead)
    else:
        reason = 'a tombstone: the record has no value; read it with messages=True, or set tombstones="skip"'
        at = {rejected.position: rejected for rejected in found.rejected}
        at |= {where: Rejected(b"", reason, where) for where in (f"{place}@{record.offset}" for record in dead)}
        found.rejected = [at[where] for where in (f"{place}@{record.offset}" for record in records) if where in at]
    return found


async def _decode_values(
    records: Sequence[Any], payloads: list[Any], place: Place, format: Format[Any], blocking: Blocking
) -> Read:
    if not payloads:
        return Read([], records)
    await prepare(format, payloads, blocking)
    decoded = format.decode_messages(payloads)
    rejected = [Rejected(bad.raw, bad.reason, f"{place}@{records[bad.start].offset}") for bad in decoded.undecodable]
    if decoded.starts is not None:
        records = [records[start] for start in decoded.starts]
    return Read(decoded.values, records, rejected)


def _message(place: Place, record: Any, value: Any) -> Message[Any]:
    headers = tuple((name, content) for name, content in record.headers)
    return Message(value, record.key, headers, record.timestamp, place.topic, place.partition, record.offset)
