"""The rows that one side of a join keeps for as long as they may meet others: by key, in the order in which they came."""

from __future__ import annotations

import copy
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from operator import itemgetter
from typing import Any, Final, Generic, TypeVar

import msgspec

from .operator import OperatorContext
from .state import KeyedTable, KeyedTableState, MapTable, MapTableState, StateDescriptor
from .time import Duration, duration_ms

V = TypeVar("V")

_encode: Final = msgspec.msgpack.Encoder(order="deterministic").encode
_BLOCK: Final = 64
"""Rows that are stored together: one more row of a key costs the writing of so many at most."""


class Block(msgspec.Struct, Generic[V], array_like=True):
    """Rows that came one after the other.

    Attributes:
        rows: the rows; encoded, where they can be retracted.
        alone: which of them stand without a partner; empty where nobody asks for it.
        expires: when each goes, in milliseconds of processing time; empty without a time to live.
    """

    rows: list[V]
    alone: list[bool]
    expires: list[int]


class Head(msgspec.Struct, Generic[V], array_like=True):
    """What stands first of a key.

    Attributes:
        newest: the rows that came last.
        full: how many blocks of older rows stand in the table; when some have expired, fewer do.
        number: of the next block.
    """

    newest: Block[V]
    full: int
    number: int


class KeptRows:
    """Rows by key, kept until they are removed or have expired.

    A key's newest rows stand in one entry, all others in blocks of 64. Taking in a row costs one lookup; removing
    one besides a search in its block, which is found by the row's encoding.

    Args:
        name: of its tables.
        row_type: the type of the rows, as they are stored.
        ttl: forget a row so long after it was taken in, by processing time; None: never.
        flagged: whether rows know that they stand without a partner.
        removable: whether rows may be removed. They are kept encoded then, for they have to be found again.

    Raises:
        ValueError: the time to live is no duration, or none at all.
    """

    _heads: KeyedTable[Any, Any]
    _blocks: MapTable
    _places: MapTable
    _context: OperatorContext

    def __init__(self, name: str, row_type: Any, *, ttl: Duration | None, flagged: bool, removable: bool) -> None:
        self.flagged = flagged
        self._ttl_ms = None if ttl is None else duration_ms(ttl)
        if self._ttl_ms == 0:
            raise ValueError(f"{name}_ttl must be longer than 0ms")
        self._removable = removable
        self._untyped = row_type is Any
        self._decode = msgspec.msgpack.Decoder(row_type).decode
        stored = bytes if removable else row_type
        self._heads_state: KeyedTableState[Any] = KeyedTableState(name, Head[stored], ttl=ttl)  # type: ignore[valid-type]  # the type is a value here
        self._blocks_state: MapTableState[Any] = MapTableState(f"{name}_blocks", Block[stored], key_type=int, ttl=ttl)  # type: ignore[valid-type]  # as above
        self._places_state: MapTableState[Any] = MapTableState(f"{name}_places", list[int], key_type=bytes, ttl=ttl)

    def states(self) -> Sequence[StateDescriptor[Any]]:
        """Its tables."""
        places = (self._places_state,) if self._removable else ()
        return (self._heads_state, self._blocks_state, *places)

    def opened(self, context: OperatorContext) -> KeptRows:
        """The same for one subtask, with its tables."""
        mine = copy.copy(self)
        mine._context = context
        mine._heads = context.state(self._heads_state)
        mine._blocks = context.state(self._blocks_state)
        if self._removable:
            mine._places = context.state(self._places_state)
        return mine

    def add(self, key: Any, row: Any, *, alone: bool) -> None:
        """Take a row in.

        Raises:
            TypeError: it would come back as something else.
        """
        stored = self._encoded(row) if self._removable else row
        head = self._open(key)
        if head is None:
            head = Head(Block([], [], []), 0, 0)
            if self._ttl_ms is None:
                self._heads.put(key, head)
        newest = head.newest
        newest.rows.append(stored)
        if self.flagged:
            newest.alone.append(alone)
        if self._ttl_ms is not None:
            # In order, although a clock may be set back.
            expires_ms = max([self._context.now_ms() + self._ttl_ms, *newest.expires[-1:]])
            newest.expires.append(expires_ms)
            self._heads.put(key, (expires_ms, head))
        if len(newest.rows) == _BLOCK:
            self._close_newest(key, head)

    def add_many(self, keys: Sequence[Any], rows: Sequence[Any]) -> None:
        """Take rows in, of which none stands alone."""
        if self._ttl_ms is not None or self._removable or self.flagged:
            for key, row in zip(keys, rows, strict=True):
                self.add(key, row, alone=False)
            return
        live, load = self._heads.live, self._heads.load
        for key, row in zip(keys, rows, strict=True):
            head = live.get(key) or load(key)
            if head is None:
                self._heads.put(key, Head(Block([row], [], []), 0, 0))
                continue
            newest = head.newest.rows
            newest.append(row)
            if len(newest) == _BLOCK:
                self._close_newest(key, head)

    def remove(self, key: Any, row: Any) -> bool:
        """Give a row up; of equal ones the oldest. Returns whether it stood without a partner.

        Raises:
            LookupError: it is not there.
        """
        head = self._open(key)
        if head is None:
            raise LookupError(f"{row!r} is not there")
        encoded = self._encoded(row)
        alone = self._remove_from_blocks(key, head, encoded) if head.full else None
        if alone is None:
            place = self._place(head.newest, encoded)
            if place is None:
                raise LookupError(f"{row!r} is not there")
            alone = self._delete(head.newest, place)
        if not head.full and not head.newest.rows:
            self._heads.remove(key)
        return alone

    def rows(self, key: Any) -> list[Any]:
        """The rows of a key."""
        head = self._read(key)
        if head is None:
            return []
        rows = [row for _, block in self._blocks_of(key, head) for row in block.rows[self._first(block) :]]
        return [self._decode(row) for row in rows] if self._removable else rows

    def rows_of(self, keys: Sequence[Any]) -> Iterator[tuple[int, list[Any]]]:
        """For each key that has rows its place in `keys`, and the rows. Not to be changed."""
        live, get = self._heads.live, self._heads.get
        is_plain = self._ttl_ms is None and not self._removable
        for place, key in enumerate(keys):
            head = live.get(key) or get(key)
            if head is None:
                continue
            # Most keys have a few rows.
            rows = head.newest.rows if is_plain and not head.full else self.rows(key)
            if rows:
                yield place, rows

    def mark(self, key: Any, *, alone: bool) -> list[tuple[Any, bool]]:
        """The rows of a key, each with whether it stood without a partner; from now on all do, or none does."""
        found: list[tuple[Any, bool]] = []
        head = self._open(key)
        for number, block in () if head is None else self._blocks_of(key, head):
            first = self._first(block)
            rows, flags = block.rows[first:], block.alone[first:]
            found += zip([self._decode(row) for row in rows] if self._removable else rows, flags, strict=True)
            if (not alone) in flags:
                block.alone[first:] = [alone] * len(flags)
                if number is not None:
                    self._put_block(key, number, block)
        return found

    def any(self, key: Any) -> bool:
        """Whether a key has rows."""
        head = self._read(key)
        return head is not None and any(self._first(block) < len(block.rows) for _, block in self._blocks_of(key, head))

    def _open(self, key: Any) -> Any:
        """What stands first of a key, to be changed."""
        entry = self._heads.live.get(key)
        return self._unexpired(self._heads.load(key) if entry is None else entry)

    def _read(self, key: Any) -> Any:
        return self._unexpired(self._heads.get(key))

    def _unexpired(self, entry: Any) -> Any:
        if entry is None or self._ttl_ms is None:
            return entry
        return entry[1] if entry[0] > self._context.now_ms() else None

    def _put_block(self, key: Any, number: int, block: Any) -> None:
        self._blocks.put(key, number, block if self._ttl_ms is None else (block.expires[-1], block))

    def _close_newest(self, key: Any, head: Any) -> None:
        closed, number = head.newest, head.number
        self._put_block(key, number, closed)
        if self._removable:
            for index, row in enumerate(closed.rows):
                entry = self._places.get(key, row)
                places = () if entry is None else entry if self._ttl_ms is None else entry[1]
                self._put_places(key, row, [*places, number], closed.expires[index] if closed.expires else 0)
        head.newest = Block([], [], [])
        head.full += 1
        head.number += 1

    def _blocks_of(self, key: Any, head: Any) -> Iterator[tuple[int | None, Any]]:
        """The blocks of a key with their numbers, the oldest first; of the newest the number is None."""
        if head.full:
            for number, entry in sorted(self._blocks.items(key), key=itemgetter(0)):
                yield number, entry if self._ttl_ms is None else entry[1]
        yield None, head.newest

    def _first(self, block: Any) -> int:
        """The place of the first row that has not expired."""
        return 0 if self._ttl_ms is None else bisect_right(block.expires, self._context.now_ms())

    def _place(self, block: Any, encoded: bytes) -> int | None:
        try:
            place: int = block.rows.index(encoded, self._first(block))
        except ValueError:
            return None
        return place

    def _delete(self, block: Any, place: int) -> bool:
        del block.rows[place]
        if self._ttl_ms is not None:
            del block.expires[place]
        return bool(block.alone.pop(place)) if self.flagged else False

    def _remove_from_blocks(self, key: Any, head: Any, encoded: bytes) -> bool | None:
        """Give up a row of a block that is full, if it stands in one; whether it stood alone."""
        entry = self._places.get(key, encoded)
        if entry is None:
            return None
        expires_ms, places = (0, entry) if self._ttl_ms is None else entry
        alone: bool | None = None
        for index, number in enumerate(places):
            stored = self._blocks.get(key, number)
            if stored is None:
                continue
            block = stored if self._ttl_ms is None else stored[1]
            place = self._place(block, encoded)
            if place is None:
                continue
            alone = self._delete(block, place)
            if block.rows:
                self._put_block(key, number, block)
            else:
                self._blocks.remove(key, number)
                head.full -= 1
            places = places[index + 1 :]
            break
        else:
            places = []
        if places:
            self._put_places(key, encoded, places, expires_ms)
        else:
            self._places.remove(key, encoded)
        return alone

    def _put_places(self, key: Any, encoded: bytes, places: list[int], expires_ms: int) -> None:
        self._places.put(key, encoded, places if self._ttl_ms is None else (expires_ms, places))

    def _encoded(self, row: Any) -> bytes:
        encoded = _encode(row)
        if self._untyped and self._decode(encoded) != row:
            raise TypeError(f"rows of type {type(row).__name__} must be declared: pass left_type= or right_type=")
        return encoded
