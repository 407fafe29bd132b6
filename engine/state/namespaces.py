"""Namespaces of window state: as bytes, and in order."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from heapq import heappop, heappush
from typing import Any

_SIGN = 1 << 63
HEADER_BYTES = 10
"""What stands before the encoded key: key group and namespace."""


def raw_namespace(namespace: int) -> bytes:
    """A namespace as bytes that sort like the integers."""
    return (namespace + _SIGN).to_bytes(8, "big")


def namespace_of(raw: bytes) -> int:
    """The namespace of a key in the database."""
    return int.from_bytes(raw[2:HEADER_BYTES], "big") - _SIGN


class NamespaceOrder:
    """The namespaces of a table, of which the first is found without looking at all of them."""

    def __init__(self) -> None:
        self._known: set[int] = set()  # all that are in `_order`, which has those that are gone as well
        self._order: list[int] = []

    def __iter__(self) -> Iterator[int]:
        """Those that are known, in no order; they may change meanwhile."""
        return iter(list(self._known))

    def add(self, namespace: int) -> None:
        """There may be entries of it from now on."""
        if namespace not in self._known:
            self._known.add(namespace)
            heappush(self._order, namespace)

    def discard(self, namespace: int) -> None:
        """It is gone."""
        self._known.discard(namespace)

    def reset(self, namespaces: set[int]) -> None:
        """These are all there are."""
        self._known = set(namespaces)
        self._order = sorted(namespaces)

    def first(self, holds: Callable[[int], bool], stays: Callable[[int], Any]) -> int | None:
        """The lowest namespace that has an entry.

        Args:
            holds: whether one has an entry.
            stays: whether one that has none is still to be known.
        """
        found = None
        opened: list[int] = []
        order = self._order
        while order:
            namespace = order[0]
            if namespace in self._known:
                if holds(namespace):
                    found = namespace
                    break
                if stays(namespace):
                    opened.append(namespace)
                else:
                    self._known.discard(namespace)
            heappop(order)
        for namespace in opened:
            heappush(order, namespace)
        return found
