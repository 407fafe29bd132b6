"""What lookups have found lately."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any


class LookupCache:
    """The answers used last, "there is none" among them. Not state: it starts empty after a recovery.

    Args:
        size: how many answers it holds; 0: none.
        ttl_ms: how long an answer is good; None: until it is the one used longest ago.
    """

    def __init__(self, size: int, ttl_ms: int | None) -> None:
        self._size = size
        self._ttl_ms = ttl_ms
        self._answers: OrderedDict[Any, tuple[int, Any]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._answers)

    def get(self, key: Any, now_ms: int) -> tuple[Any] | None:
        """The answer, in a tuple; None when there is none that is still good."""
        found = self._answers.get(key)
        if found is None:
            return None
        if self._ttl_ms is not None and found[0] + self._ttl_ms <= now_ms:
            del self._answers[key]
            return None
        self._answers.move_to_end(key)
        return (found[1],)

    def put(self, key: Any, answer: Any, now_ms: int) -> None:
        """Keep an answer; the one used longest ago goes when there are too many."""
        if self._size:
            self._answers[key] = (now_ms, answer)
            self._answers.move_to_end(key)
            if len(self._answers) > self._size:
                self._answers.popitem(last=False)
