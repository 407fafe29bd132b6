"""Event time: from a record to milliseconds since 1970 UTC, and what is not fit to be one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from operator import attrgetter, itemgetter
from types import UnionType
from typing import Any, NamedTuple, TypeAlias, Union, get_args, get_origin

import msgspec

from ...operators.fields import read_all
from ...operators.time import timestamp_ms
from .bounds import Bounds

EventTimeField: TypeAlias = str | Callable[[Any], int | datetime]
"""A field name (attribute, or key of a dict), or a function of the record; it gives milliseconds or a `datetime`."""


class Times(NamedTuple):
    """The event times of a batch.

    Attributes:
        timestamps: one per record; 0 for one that has none that can be used.
        bounds: of all timestamps.
        bad: index → reason, for the records that have none that can be used.
    """

    timestamps: list[int]
    bounds: Bounds
    bad: dict[int, str]


class EventTime:
    """Reads the event times of a source's records."""

    def __init__(self, field: EventTimeField, max_ahead_ms: int | None, record_type: Any = None) -> None:
        self._field = field
        # A decoder that checks the field's type need not be checked again.
        self._always_int = isinstance(field, str) and _always_int(record_type, field)
        self._max_ahead_ms = max_ahead_ms
        self._read: Callable[[Any], Any] = attrgetter(field) if isinstance(field, str) else field
        self._read_all = read_all([field]) if isinstance(field, str) else None

    def extract(self, values: Sequence[Any], now_ms: int) -> Times:
        """The event times of records."""
        read = self._read
        read_many = self._read_all
        if isinstance(self._field, str) and type(values[0]) is dict:
            read, read_many = itemgetter(self._field), None
        try:
            timestamps = list(map(read, values)) if read_many is None else read_many(values)
            if self._always_int or set(map(type, timestamps)) == {int}:
                bounds = Bounds(timestamps)
                if self._in_range(bounds, now_ms):
                    return Times(timestamps, bounds, {})
        except Exception:  # one by one, below: the good records must not suffer for the bad
            pass
        return self._one_by_one(read, values, now_ms)

    def check(self, timestamps: list[int], now_ms: int) -> Times:
        """The event times that the source brings itself."""
        bounds = Bounds(timestamps)
        if self._in_range(bounds, now_ms):
            return Times(timestamps, bounds, {})
        reasons = ((i, self._reason(timestamp, now_ms)) for i, timestamp in enumerate(timestamps))
        return Times(timestamps, bounds, {i: reason for i, reason in reasons if reason is not None})

    def _in_range(self, bounds: Bounds, now_ms: int) -> bool:
        return bounds.lowest >= 0 and (self._max_ahead_ms is None or bounds.highest <= now_ms + self._max_ahead_ms)

    def _reason(self, timestamp: int, now_ms: int) -> str | None:
        if timestamp < 0:
            return f"event time {timestamp} ms is before 1970"
        if self._max_ahead_ms is not None and timestamp > now_ms + self._max_ahead_ms:
            return (
                f"event time {timestamp} ms is {(timestamp - now_ms) / 86_400_000:.1f} days in the future "
                "(the limit is Watermarks(max_ahead=...); are these microseconds?)"
            )
        return None

    def _one_by_one(self, read: Callable[[Any], Any], values: Sequence[Any], now_ms: int) -> Times:
        timestamps: list[int] = []
        bad: dict[int, str] = {}
        for index, value in enumerate(values):
            timestamp = 0
            try:
                moment = read(value)
            except Exception as error:
                bad[index] = f"no event time: {type(error).__name__}: {error}"
            else:
                if isinstance(moment, datetime):
                    moment = timestamp_ms(moment)
                if isinstance(moment, bool) or not isinstance(moment, int):
                    bad[index] = f"event time must be int milliseconds or a datetime, not {moment!r}"
                elif (reason := self._reason(moment, now_ms)) is not None:
                    bad[index] = reason
                else:
                    timestamp = moment
            timestamps.append(timestamp)
        return Times(timestamps, Bounds(timestamps), bad)


def _always_int(record_type: Any, field: str) -> bool:
    """Whether a decoder guarantees that a field is an int: that of a Struct, or of a union of such."""
    members = get_args(record_type) if get_origin(record_type) in (Union, UnionType) else (record_type,)
    return all(_field_type(member, field) is int for member in members)


def _field_type(record_type: Any, field: str) -> Any:
    """The type that a Struct's decoder guarantees for a field; None where nothing does."""
    if isinstance(record_type, type) and issubclass(record_type, msgspec.Struct):
        return next((f.type for f in msgspec.structs.fields(record_type) if f.name == field), None)
    return None
