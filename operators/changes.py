"""Update streams: records that say how a collection of rows has changed."""

from __future__ import annotations

from enum import Enum
from typing import Any, Generic, TypeVar, get_args, get_origin

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


def row_type_of(record_type: Any) -> Any:
    """The type of the rows where records are changes: `int` of `Change[int]`, Any of `Change`; None where records are
    not known to be changes.

    >>> row_type_of(Change[int]), row_type_of(int)
    (<class 'int'>, None)
    """
    if record_type is Change:
        return Any
    return get_args(record_type)[0] if get_origin(record_type) is Change else None


def differences(before: Any, after: Any) -> list[Change[Any]]:
    """The changes that lead from one row to another; None is no row."""
    if before is None:
        return [] if after is None else [Change(ChangeKind.INSERT, after)]
    if after is None:
        return [Change(ChangeKind.DELETE, before)]
    if before == after:
        return []
    return [Change(ChangeKind.UPDATE_BEFORE, before), Change(ChangeKind.UPDATE_AFTER, after)]
