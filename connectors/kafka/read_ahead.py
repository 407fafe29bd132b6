"""One partition as it is read: what was fetched ahead, and how far the records have been given out."""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any, Final

from aiokafka.errors import UnsupportedCodecError

from ..source import SourceError
from .offsets import Place
from .unpacking import Packed, Unpacked

FETCH_BYTES: Final = 1 << 20
"""How much of a partition is asked for at once, and from how much on no more is asked for."""

_offset_of: Final[Callable[[Any], int]] = attrgetter("offset")


class ReadAhead:
    """A partition's records between the broker and the engine. The fetcher fills it, the reader empties it.

    Attributes:
        split_id: of the engine.
        place: topic and partition.
        position: the offset of the next record to give out; None while that is "the oldest there is" and nobody has
            asked which.
        fetch_offset: the offset to ask the broker for next; None likewise.
        end: where to stop; None to go on for ever.
        last_offset: behind the last record that may be read now, as the broker said last.
        last_timestamp_ms: of the last record given out.
        n_bytes: bytes fetched ahead.
        fetch_bytes: how much to ask for.
        leader: the broker to ask; None while it is not known.
        dry: nothing was there when the engine asked last: it waits to be woken.
        error: why no more will come.
        failures: requests in a row that brought nothing but errors.
        damaged: fetches in a row whose first batch was damaged.
        skipped: offsets that were gone before they were read, not told yet.
        missing_since_ms: since when the cluster says that there is no such topic.
    """

    def __init__(self, split_id: str, place: Place, position: int | None, end: int | None) -> None:
        self.split_id = split_id
        self.place = place
        self.position = position
        self.fetch_offset = position
        self.end = end
        self.last_offset: int | None = None
        self.last_timestamp_ms: int | None = None
        self.n_bytes = 0
        self.fetch_bytes = FETCH_BYTES
        self.leader: int | None = None
        self.dry = False
        self.error: SourceError | None = None
        self.failures = 0
        self.damaged = 0
        self.skipped = 0
        self.missing_since_ms: int | None = None
        self._packed: deque[Packed] = deque()
        self._records: list[Any] = []
        self._given = 0
        self._behind = 0

    # ----------------------------------------------------------- the fetcher's

    @property
    def whole(self) -> bool:
        """All up to the end has been fetched, or no more can be."""
        return self.error is not None or (
            self.end is not None and self.fetch_offset is not None and self.fetch_offset >= self.end
        )

    @property
    def full(self) -> bool:
        """Enough has been fetched ahead."""
        return self.n_bytes >= FETCH_BYTES

    @property
    def empty(self) -> bool:
        """Nothing has been fetched ahead."""
        return not self._packed and self._given == len(self._records)

    def add(self, unpacked: Unpacked) -> None:
        """What came behind `fetch_offset`."""
        self._packed.extend(unpacked.batches)
        self.n_bytes += sum(packed.n_bytes for packed in unpacked.batches)
        self.fetch_offset = unpacked.next_offset

    def jump(self, offset: int) -> None:
        """Go on at another offset, behind what has been fetched."""
        self.fetch_offset = offset
        if self._packed:
            self._packed[-1].next_offset = offset
        elif not self.empty:
            self._behind = offset
        else:
            self.position = offset

    # ------------------------------------------------------------ the reader's

    @property
    def finished(self) -> bool:
        """All up to the end has been given out."""
        return self.end is not None and self.position is not None and self.position >= self.end

    def take(self, limit: int) -> tuple[list[Any], int]:
        """Up to `limit` records from `position` on, which moves behind them; and how many bytes they came in.

        Raises:
            SourceError: they are compressed in a way that needs a library.
        """
        taken: list[Any] = []
        n_bytes = 0
        while len(taken) < limit and not self.finished:
            if self._given == len(self._records):
                if not self._packed:
                    break
                n_bytes += self._unpack(self._packed.popleft())
                continue
            records = self._records
            stop = min(len(records), self._given + limit - len(taken))
            taken += records[self._given : stop] if self._given or stop < len(records) else records
            self._given = stop
            if stop < len(records):
                self.position = _offset_of(records[stop - 1]) + 1
            else:
                self.position, self._records, self._given = self._behind, [], 0
        if taken:
            self.last_timestamp_ms = taken[-1].timestamp
        return taken, n_bytes

    def _unpack(self, packed: Packed) -> int:
        try:
            records = list(packed.records)
        except UnsupportedCodecError as error:
            raise SourceError(
                f'{self.place}@{self.position}: {error}: install "tidegate[kafka]"', retriable=False
            ) from error
        self.n_bytes -= packed.n_bytes
        position, end = self.position, self.end
        # A batch may begin before what was asked for, and go on behind the end.
        if records and position is not None and records[0].offset < position:
            records = records[bisect_left(records, position, key=_offset_of) :]
        if records and end is not None and records[-1].offset >= end:
            records = records[: bisect_left(records, end, key=_offset_of)]
        self._records, self._given = records, 0
        self._behind = packed.next_offset if end is None else min(packed.next_offset, end)
        if not records:
            self.position = max(self._behind, position or 0)
        return packed.n_bytes


class Offsets(Sequence[str]):
    """Where records stand, as text that is made when somebody asks."""

    def __init__(self, place: Place, offsets: Sequence[int]) -> None:
        self._place = place
        self._offsets = offsets

    def __len__(self) -> int:
        return len(self._offsets)

    def __getitem__(self, index: Any) -> Any:
        found = self._offsets[index]
        return f"{self._place}@{found}" if isinstance(found, int) else Offsets(self._place, found)


def offsets_of(records: Sequence[Any]) -> Sequence[int]:
    """The offsets of records; where none is missing between them that costs nothing."""
    first, last = records[0].offset, records[-1].offset
    if last - first + 1 == len(records):
        return range(first, last + 1)
    return list(map(_offset_of, records))
