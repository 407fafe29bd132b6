"""The fluent face of moving windows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar

from ...operators.aggregate import Aggregate
from ...operators.over import OverRows, OverTime
from ...operators.results import OverResult

if TYPE_CHECKING:
    from .keyed_stream import KeyedStream

T = TypeVar("T")
K = TypeVar("K")


class OverStream(Generic[K, T]):
    """Records of type `T` under keys of type `K`, each with those of its key before it: say what to make of them."""

    def __init__(self, stream: KeyedStream[K, T], span_ms: int | None, last: int | None) -> None:
        self._stream = stream
        self._span_ms = span_ms
        self._last = last

    def aggregate(
        self, *, name: str | None = None, **aggregates: Aggregate[T, Any]
    ) -> KeyedStream[K, OverResult[K, T]]:
        """`key`, `value` (the record) and the named aggregates, for each record: see `OverRows` and `OverTime`."""
        record_type = self._stream.record_type
        operator: OverRows | OverTime
        if self._span_ms is not None:
            operator = OverTime(aggregates, self._span_ms, record_type=record_type)
        else:
            assert self._last is not None
            operator = OverRows(aggregates, self._last, record_type=record_type)
        return self._stream._keyed_then(operator, name, operator.result_type)
