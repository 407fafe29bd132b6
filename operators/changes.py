"""Update streams: records that say how a collection of rows has changed."""

from __future__ import annotations

from enum import Enum
from typing import Generic, TypeVar

import msgspec

T = TypeVar("T")


class ChangeKind(Enum):
    """What has happened to a row.

    The four kinds, and their short names, are those of Flink's `RowKind`.
    """

    INSERT = "+I"
    """It is new."""
    UPDATE_BEFORE = "-U"
    """It no longer holds as it was; what holds now follows."""
    UPDATE_AFTER = "+U"
    """It holds so now."""
    DELETE = "-D"
    """It is gone."""


class Change(msgspec.Struct, Generic[T], frozen=True, gc=False):
    """One change of a row.

    Attributes:
        kind: what has happened.
        value: the row: as it is now, or with `UPDATE_BEFORE` and `DELETE` as it was.
    """

    kind: ChangeKind
    value: T

    @property
    def adds(self) -> bool:
        """Whether `value` holds from now on; else it no longer does (a retraction).

        >>> Change(ChangeKind.INSERT, 7).adds, Change(ChangeKind.DELETE, 7).adds
        (True, False)
        """
        return self.kind is ChangeKind.INSERT or self.kind is ChangeKind.UPDATE_AFTER
