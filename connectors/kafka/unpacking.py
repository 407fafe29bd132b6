"""From the bytes of a fetch to record batches: damaged ones found out, aborted and control batches left out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from aiokafka.errors import CorruptRecordException
from aiokafka.record.control_record import ABORT_MARKER, ControlRecord
from aiokafka.record.memory_records import MemoryRecords

LEFT_OUT: Final[tuple[Any, ...]] = ()


@dataclass(slots=True)
class Packed:
    """A record batch as it came from the broker, maybe compressed.

    Attributes:
        records: iterable once.
        next_offset: where to go on behind it.
        n_bytes: how many bytes it was.
    """

    records: Any
    next_offset: int
    n_bytes: int


@dataclass(slots=True)
class Unpacked:
    """What a fetch held.

    Attributes:
        batches: in order. Offsets that were left out, aborted or of control records, belong to the batch before
            them, or to one without records.
        next_offset: where to go on.
        damaged: the batch that begins at `next_offset` is damaged.
    """

    batches: list[Packed]
    next_offset: int
    damaged: bool = False


def unpack(data: bytes, aborted: Sequence[tuple[int, int]] | None, offset: int) -> Unpacked:
    """The record batches of a fetch.

    Args:
        data: as they came; the last batch may be cut off.
        aborted: producer and first offset of each aborted transaction in the fetch, when only committed records are
            wanted; else None.
        offset: what was asked for.
    """
    found = Unpacked([], offset)
    first_offsets = sorted(((first, producer) for producer, first in aborted or ()), reverse=True)
    aborting: set[int] = set()
    source = MemoryRecords(data)
    left_bytes = len(data)
    try:
        while source.has_next():
            batch = source.next_batch()
            if not batch.validate_crc():
                found.damaged = True
                break
            keep = True
            producer = batch.producer_id
            if producer is not None and (batch.is_control_batch or batch.is_transactional):
                while first_offsets and first_offsets[-1][0] <= batch.base_offset:
                    aborting.add(first_offsets.pop()[1])
                if batch.is_control_batch:
                    # Control records are for clients, whatever the isolation.
                    keep = False
                    if producer in aborting and ControlRecord.parse(next(batch).key) == ABORT_MARKER:
                        aborting.discard(producer)
                elif producer in aborting:
                    keep = False
            found.next_offset = batch.next_offset
            if keep:
                found.batches.append(Packed(batch, found.next_offset, 0))
            elif found.batches:
                found.batches[-1].next_offset = found.next_offset
            else:
                found.batches.append(Packed(LEFT_OUT, found.next_offset, 0))
    except CorruptRecordException:
        found.damaged = True
    # The library does not tell the size of a batch; what counts is that the sum is right.
    for n, packed in enumerate(found.batches):
        packed.n_bytes = left_bytes // (len(found.batches) - n)
        left_bytes -= packed.n_bytes
    return found
