"""Collections of values per key that give up any of them: one ordered by rank, one by arrival.

Both keep a small head per key, which the operator stores with its own state, and the rest in a table, entry by entry.
"""

from __future__ import annotations

import copy
from bisect import bisect_left
from collections.abc import Callable, Sequence
from heapq import nsmallest
from math import isqrt
from typing import Any, Final

import msgspec

from .operator import OperatorContext
from .parts import storable
from .sketches import nan_last
from .state import MapTable, MapTableState, StateDescriptor

_encode: Final = msgspec.msgpack.Encoder(order="deterministic").encode
_HEAD: Final = 32


class RankedRows:
    """Values per key in the order of their rank; of equal ranks the one whose encoding is smaller comes first. Equal
    values are counted.

    The best stand in the head: at least `n`, and as many as the square root of what is left in the table. A value costs
    a search in the head, or one entry of the table. When the head is used up, the table is gone through once: over
    many removals that is about the square root of the values each.

    Args:
        name: of its table.
        n: how many of the best will be asked for.
        type: the type of the values; None: what `storable` lets through.
        rank: what they are ordered by; None: themselves.
        smallest: whether the smallest rank is the best.

    Attributes:
        head_type: the type of the head, for storing it.
    """

    _rest: MapTable

    def __init__(
        self,
        name: str,
        n: int,
        *,
        type: Any = None,
        rank: Callable[[Any], Any] | None = None,
        smallest: bool = False,
    ) -> None:
        self._n = n
        self._typed = type is not None
        self._rank = rank
        self._smallest = smallest
        value = Any if type is None else type
        row: Any = msgspec.defstruct("Row", [("value", value), ("encoded", bytes), ("count", int)], array_like=True)
        self._row_type = row
        self.head_type: Any = msgspec.defstruct(
            "Head",
            [("best", list[row]), ("rest", int)],
            array_like=True,
        )
        self._decode = msgspec.msgpack.Decoder(value).decode
        self._rest_state: MapTableState[int] = MapTableState(name, int, key_type=bytes)

    def states(self) -> Sequence[StateDescriptor[Any]]:
        """Its table."""
        return (self._rest_state,)

    def opened(self, context: OperatorContext) -> RankedRows:
        """The same for one subtask, with its table."""
        mine = copy.copy(self)
        mine._rest = context.state(self._rest_state)
        return mine

    def empty(self) -> Any:
        """The head of a key without values."""
        return self.head_type([], 0)

    def add(self, head: Any, key: Any, value: Any) -> int:
        """Take a value in, unless its rank is None. Returns how many other values are before it, at least, and `n` for
        one without rank."""
        if not self._typed:
            storable(value)
        if self._unranked(value):
            return self._n
        encoded = _encode(value)
        best = head.best
        place = self._place(best, value, encoded)
        if place < len(best) and best[place].encoded == encoded:
            best[place].count += 1
        elif place < len(best) or not head.rest:
            best.insert(place, self._row_type(value, encoded, 1))
            size = self._size(head)
            if len(best) > 2 * size:
                for row in best[size:]:
                    self._rest.put(key, row.encoded, row.count)
                head.rest += len(best) - size
                del best[size:]
        else:
            count = self._rest.get(key, encoded)
            self._rest.put(key, encoded, (count or 0) + 1)
            head.rest += count is None
        return place

    def remove(self, head: Any, key: Any, value: Any) -> int:
        """Give a value up. Returns as `add`.

        Raises:
            LookupError: it is not there.
        """
        if self._unranked(value):
            return self._n
        encoded = _encode(value)
        best = head.best
        place = self._place(best, value, encoded)
        if place < len(best) and best[place].encoded == encoded:
            best[place].count -= 1
            if not best[place].count:
                del best[place]
                if len(best) < self._n and head.rest:
                    self._refill(head, key)
            return place
        count = self._rest.get(key, encoded) if head.rest else None
        if count is None:
            raise LookupError(f"{value!r} is not there")
        if count > 1:
            self._rest.put(key, encoded, count - 1)
        else:
            self._rest.remove(key, encoded)
            head.rest -= 1
        return place

    def best(self, head: Any, n: int) -> list[Any]:
        """The `n` best values, the best first, equal ones as often as they are there."""
        found: list[Any] = []
        for row in head.best:
            found += [row.value] * min(row.count, n - len(found))
            if len(found) == n:
                break
        return found

    def clear(self, head: Any, key: Any) -> None:
        """Forget all values of a key."""
        if head.rest:
            self._rest.clear(key)

    def _unranked(self, value: Any) -> bool:
        return self._rank is not None and self._rank(value) is None

    def _place(self, best: list[Any], value: Any, encoded: bytes) -> int:
        return bisect_left(best, self._order(value, encoded), key=lambda row: self._order(row.value, row.encoded))

    def _order(self, value: Any, encoded: bytes) -> tuple[Any, bytes]:
        rank = nan_last(value if self._rank is None else self._rank(value))
        return (rank if self._smallest else _Descending(rank), encoded)

    def _size(self, head: Any) -> int:
        return max(_HEAD, 2 * self._n, isqrt(head.rest))

    def _refill(self, head: Any, key: Any) -> None:
        rows = ((self._decode(encoded), encoded, count) for encoded, count in self._rest.items(key))
        for value, encoded, count in nsmallest(self._size(head), rows, key=lambda row: self._order(row[0], row[1])):
            head.best.append(self._row_type(value, encoded, count))
            self._rest.remove(key, encoded)
            head.rest -= 1


class _Descending:
    """Turns an order round."""

    __slots__ = ("rank",)

    def __init__(self, rank: Any) -> None:
        self.rank = rank

    def __lt__(self, other: _Descending) -> bool:
        return bool(other.rank < self.rank)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Descending) and bool(other.rank == self.rank)

    __hash__ = None  # type: ignore[assignment]  # it is compared only


class ArrivalRows:
    """Values per key in the order in which they came; of equal values the oldest is given up first.

    The first and the last stand in the head; each value is an entry of a table and knows its neighbours. Taking in and
    giving up cost three or four entries, however many values there are.

    Args:
        name: of its tables.
        type: the type of the values; None: what `storable` lets through.

    Attributes:
        head_type: the type of the head, for storing it.
    """

    _links: MapTable
    _equals: MapTable

    def __init__(self, name: str, *, type: Any = None) -> None:
        self._typed = type is not None
        value = Any if type is None else type
        end = Any if type is None else type | None
        self.head_type: Any = msgspec.defstruct(
            "Ends",
            [("first", end), ("last", end), ("oldest", int), ("newest", int), ("number", int)],
            array_like=True,
        )
        self._link_type: Any = msgspec.defstruct(
            "Link", [("value", value), ("before", int), ("after", int), ("next_equal", int)], array_like=True
        )
        self._links_state: MapTableState[Any] = MapTableState(f"{name}_links", self._link_type, key_type=int)
        self._equals_state: MapTableState[Any] = MapTableState(f"{name}_equals", tuple[int, int], key_type=bytes)

    def states(self) -> Sequence[StateDescriptor[Any]]:
        """Its tables."""
        return (self._links_state, self._equals_state)

    def opened(self, context: OperatorContext) -> ArrivalRows:
        """The same for one subtask, with its tables."""
        mine = copy.copy(self)
        mine._links = context.state(self._links_state)
        mine._equals = context.state(self._equals_state)
        return mine

    def empty(self) -> Any:
        """The head of a key without values. Number 0 is nobody's."""
        return self.head_type(None, None, 0, 0, 0)

    def add(self, head: Any, key: Any, value: Any) -> None:
        """Take a value in, as the newest."""
        if not self._typed:
            storable(value)
        head.number += 1
        number, newest = head.number, head.newest
        self._links.put(key, number, self._link_type(value, newest, 0, 0))
        if newest:
            self._relink(key, newest, after=number)
        else:
            head.first, head.oldest = value, number
        head.last, head.newest = value, number
        encoded = _encode(value)
        equals = self._equals.get(key, encoded)
        if equals is not None:
            self._relink(key, equals[1], next_equal=number)
        self._equals.put(key, encoded, (number if equals is None else equals[0], number))

    def remove(self, head: Any, key: Any, value: Any) -> None:
        """Give a value up.

        Raises:
            LookupError: it is not there.
        """
        encoded = _encode(value)
        equals = self._equals.get(key, encoded)
        if equals is None:
            raise LookupError(f"{value!r} is not there")
        link = self._link(key, equals[0])
        self._links.remove(key, equals[0])
        if link.next_equal:
            self._equals.put(key, encoded, (link.next_equal, equals[1]))
        else:
            self._equals.remove(key, encoded)
        if link.before:
            self._relink(key, link.before, after=link.after)
        else:
            head.oldest = link.after
            head.first = self._link(key, link.after).value if link.after else None
        if link.after:
            self._relink(key, link.after, before=link.before)
        else:
            head.newest = link.before
            head.last = self._link(key, link.before).value if link.before else None

    def clear(self, head: Any, key: Any) -> None:
        """Forget all values of a key."""
        if head.newest:
            self._links.clear(key)
            self._equals.clear(key)

    def _link(self, key: Any, number: int) -> Any:
        return self._links.get(key, number)

    def _relink(self, key: Any, number: int, **changed: int) -> None:
        self._links.put(key, number, msgspec.structs.replace(self._link(key, number), **changed))
