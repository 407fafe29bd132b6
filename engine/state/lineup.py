"""What was frozen, in the order in which it is written: so much at a time, while entries are taken out in between.

Taking keys from the front of a dict one by one would walk over all that went before, each time; lining up all of them
would take long. So a few thousand are lined up at a time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Generic, TypeVar

K = TypeVar("K")
E = TypeVar("E")
V = TypeVar("V")

_LENGTH = 16_384


class Lineup(Generic[K]):
    """Keys of a dict that wait for their turn. Whoever had it has left the dict before those after it are lined up.

    >>> lineup = Lineup[str]()
    >>> lineup.take("abc", 2), lineup.take("c", 2), lineup.take("", 2)
    (['a', 'b'], ['c'], [])
    """

    def __init__(self) -> None:
        self._keys: list[K] = []
        self._turn = 0

    def take(self, entries: Iterable[K], limit: int) -> list[K]:
        """The next keys, at most `limit`; those that have left the dict since they were lined up are among them."""
        self.renew(entries)
        start, self._turn = self._turn, self._turn + limit
        return self._keys[start : self._turn]

    def renew(self, entries: Iterable[K]) -> None:
        """Line up what is there now, if all have had their turn."""
        if self._turn >= len(self._keys):
            self._keys, self._turn = list(islice(entries, _LENGTH)), 0

    def first(self) -> list[K]:
        """The next key, which keeps its turn; none when all have had theirs."""
        return self._keys[self._turn : self._turn + 1]

    def clear(self) -> None:
        """Nobody waits any more."""
        self._keys, self._turn = [], 0


class NestedLineup(Generic[K, E]):
    """The same for a dict of dicts: entries of one inner dict after those of another, a large one in several turns."""

    def __init__(self) -> None:
        self._outer = Lineup[K]()
        self._inner = Lineup[E]()

    def take(self, tables: Mapping[K, dict[E, V]], limit: int) -> list[tuple[K, dict[E, V]]]:
        """The next entries, about `limit`, by the keys of their dicts. A dict of which all are taken is given as it is."""
        portions: list[tuple[K, dict[E, V]]] = []
        self._outer.renew(tables)
        while limit > 0 and (waiting := self._outer.first()):
            (key,) = waiting
            entries = tables.get(key, {})
            if len(entries) <= limit:
                self._outer.take(tables, 1)
                self._inner.clear()
                portion = entries
            else:
                portion = {inner: entries[inner] for inner in self._inner.take(entries, limit) if inner in entries}
                limit = 0
            portions.append((key, portion))
            limit -= len(portion) or 1
        return portions

    def clear(self) -> None:
        """Nobody waits any more."""
        self._outer.clear()
        self._inner.clear()
