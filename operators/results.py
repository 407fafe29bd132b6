"""The shape of what aggregations give out, for type checkers; the Struct types themselves are made per operator."""

from __future__ import annotations

from typing import Any, Protocol, TypeVar

K_co = TypeVar("K_co", covariant=True)
T_co = TypeVar("T_co", covariant=True)


class KeyResult(Protocol[K_co]):
    """The aggregates of a key; each is an attribute of the name it was given."""

    @property
    def key(self) -> K_co: ...
    def __getattr__(self, name: str) -> Any: ...


class WindowResult(KeyResult[K_co], Protocol[K_co]):
    """The aggregates of a key and window `[start_ms, end_ms)`."""

    @property
    def start_ms(self) -> int: ...
    @property
    def end_ms(self) -> int: ...


class OverResult(KeyResult[K_co], Protocol[K_co, T_co]):
    """The aggregates of a moving window, and the record that they stand at."""

    @property
    def value(self) -> T_co: ...
