"""The records that attempts at a pattern have taken, each stored once however many attempts hold it.

An attempt is a path: its newest record, and from each record a link to the one before it. Attempts that have their
beginning in common share it. A record is kept with the links that lead from it; each link counts who holds it, and with
the last of its links the record goes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Generic, TypeVar

import msgspec

from .state import MapTable

T = TypeVar("T")

NO_LINK = -1
"""Where a path begins: there is no record before."""


class Link(msgspec.Struct, array_like=True, gc=False):
    """A record in a path.

    Attributes:
        step: index of the step that took it.
        before: id of the record before it in the path; `NO_LINK` for the first.
        before_link: which of the links of that record.
        holders: how many attempts and links hold this one; with 0 it is gone.
    """

    step: int
    before: int
    before_link: int
    holders: int


class PatternBuffer(Generic[T]):
    """The taken records of all keys.

    A record costs two entries: itself, written once, and its links, which change.

    Args:
        records: (key, record id) → record.
        links: (key, record id) → its links.
    """

    def __init__(self, records: MapTable, links: MapTable) -> None:
        self._records = records
        self._links = links

    def put(self, key: Any, record_id: int, record: T, links: list[Link]) -> None:
        """Keep a record that was taken, with the links that lead from it."""
        self._records.put(key, record_id, record)
        self._links.put(key, record_id, links)

    def hold(self, key: Any, record_id: int, link: int) -> None:
        """One holder more."""
        links = self._links_of(key, record_id)
        links[link].holders += 1
        self._links.put(key, record_id, links)

    def release(self, key: Any, record_id: int, link: int) -> None:
        """One holder less; what nobody holds any more goes, and with it what only it has held."""
        while record_id != NO_LINK:
            links = self._links_of(key, record_id)
            released = links[link]
            released.holders -= 1
            if any(other.holders for other in links):
                self._links.put(key, record_id, links)
            else:
                self._links.remove(key, record_id)
                self._records.remove(key, record_id)
            if released.holders:
                return
            record_id, link = released.before, released.before_link

    def path(self, key: Any, record_id: int, link: int) -> list[tuple[int, int]]:
        """(step, record id) of an attempt's records, in order."""
        found = []
        while record_id != NO_LINK:
            at = self._links_of(key, record_id)[link]
            found.append((at.step, record_id))
            record_id, link = at.before, at.before_link
        return found[::-1]

    def events(self, key: Any, path: Sequence[tuple[int, int]], names: Sequence[str]) -> dict[str, list[T]]:
        """The records of a path by step name; each of `names` is there."""
        events: dict[str, list[T]] = {name: [] for name in names}
        for step, record_id in path:
            record: Any = self._records.get(key, record_id)
            events[names[step]].append(record)
        return events

    def _links_of(self, key: Any, record_id: int) -> list[Link]:
        links: list[Link] | None = self._links.get(key, record_id)
        assert links is not None
        return links


class SoFar(Generic[T]):
    """The records that an attempt has taken, read only when a condition asks. Implements `MatchSoFar`.

    Args:
        buffer: where they are.
        key: the key.
        record_id: the attempt's newest record; `NO_LINK` for an attempt that has none.
        link: which of its links.
        names: the names of the steps.
    """

    __slots__ = ("_buffer", "_events", "_key", "_link", "_names", "_record_id")

    def __init__(self, buffer: PatternBuffer[T], key: Any, record_id: int, link: int, names: Sequence[str]) -> None:
        self._buffer = buffer
        self._key = key
        self._record_id = record_id
        self._link = link
        self._names = names
        self._events: dict[str, list[T]] | None = None

    def __getitem__(self, step: str) -> Sequence[T]:
        if self._events is None:
            path = self._buffer.path(self._key, self._record_id, self._link)
            self._events = self._buffer.events(self._key, path, self._names)
        return self._events[step]
