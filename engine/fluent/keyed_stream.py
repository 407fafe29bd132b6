"""The fluent face of keyed streams."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

from ...operators.agg import Aggregate
from ...operators.fold import Fold
from ...operators.keyed_aggregate import KeyedAggregate
from ...operators.operator import Operator
from ...operators.reduce import Reduce
from ...operators.results import KeyResult
from ...operators.time import Duration, duration_ms
from ...operators.windows import Assigner, Trigger
from ..topology import Edge, Node
from .stream import Stream
from .windowed_stream import WindowedStream

T = TypeVar("T")
K = TypeVar("K")
A = TypeVar("A")


class KeyedStream(Stream[T], Generic[K, T]):
    """Records of type `T` under keys of type `K`: what keeps state per key goes on from here."""

    def _of(self, node: Node) -> Stream[Any]:
        # Records keep their key through every operator: a window's result may be windowed again.
        return KeyedStream(self._topology, [Edge(node, keyed=True)], self._key_type)

    def aggregate(
        self, *, name: str | None = None, emit_every: Duration | None = None, **aggregates: Aggregate[T, Any]
    ) -> KeyedStream[K, KeyResult[K]]:
        """The aggregates of all records of a key so far: one updated result per record, or with `emit_every` the newest of
        each changed key, so often: see `KeyedAggregate`."""
        every_ms = None if emit_every is None else duration_ms(emit_every)
        operator = KeyedAggregate(aggregates, emit_every_ms=every_ms, record_type=self.record_type)
        return self._keyed_then(operator, name, operator.result_type)

    def reduce(self, function: Callable[[T, T], T], *, name: str | None = None, type: Any = None) -> KeyedStream[K, T]:
        """The records of a key so far, put together: one updated value per record: see `Reduce`."""
        return self._keyed_then(Reduce(function, type=type or self.record_type), name, self.record_type)

    def fold(
        self,
        initial: A | Callable[[], A],
        function: Callable[[A, T], A],
        *,
        name: str | None = None,
        type: Any = None,
    ) -> KeyedStream[K, A]:
        """The records of a key so far, folded into a value of another type: see `Fold`."""
        return self._keyed_then(Fold(initial, function, type=type), name, type)

    def window(
        self, assigner: Assigner, *, allowed_lateness: Duration = "0ms", trigger: Trigger | None = None
    ) -> WindowedStream[K, T]:
        """The records of a key grouped into windows: `windows.tumbling("1h")`, `sliding`, `session`, `count`, `global_`.

        Args:
            assigner: which windows a record belongs to.
            allowed_lateness: how long a window that has fired still takes records and fires again; later ones go to the side
                output `late`.
            trigger: when windows fire; None: when they are complete.
        """
        return WindowedStream(self, assigner, allowed_lateness, trigger)

    def _keyed_then(self, operator: Operator[Any, Any], name: str | None, record_type: Any) -> KeyedStream[K, Any]:
        stream = self._then(operator, name, record_type=record_type)
        assert isinstance(stream, KeyedStream)
        return stream
