"""The fluent face: one short method per operator. What an operator does stands in its own file."""

from __future__ import annotations

import typing
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Generic, Literal, TypeVar, overload

from ..connectors.sink import Sink
from ..operators.agg import Aggregate
from ..operators.errors import DeadLetter, LastResort, OnError, Retry
from ..operators.filter import Filter
from ..operators.flat_map import FlatMap
from ..operators.fold import Fold
from ..operators.key_by import KeyBy
from ..operators.keyed_aggregate import KeyedAggregate
from ..operators.map import Map
from ..operators.map_async import MapAsync
from ..operators.operator import MultiInputOperator, Operator
from ..operators.process import ProcessFunction, process_operator
from ..operators.reduce import Reduce
from ..operators.results import KeyResult, WindowResult
from ..operators.split import Split
from ..operators.time import Duration, duration_ms
from ..operators.validate import Validate
from ..operators.windowed import (
    AnyWindowOperator,
    window_aggregate,
    window_collect,
    window_fold,
    window_process,
    window_reduce,
)
from ..operators.windows import Assigner, Trigger, Window
from .errors import TopologyError
from .topology import Edge, Node, PartitionerKind, Topology

T = TypeVar("T")
U = TypeVar("U")
K = TypeVar("K")
A = TypeVar("A")


class Stream(Generic[T]):
    """Records of type `T` on their way. Made by `Topology.source`; every method adds to the topology and
    returns the next stream. A stream may be used several times: each use gets all records.

    `name=` is the operator's id, under which its state and measures are kept: give one to every operator with
    state.
    """

    def __init__(self, topology: Topology, edges: Sequence[Edge], key_type: Any = None) -> None:
        self._topology = topology
        self._edges = list(edges)
        self._key_type = key_type

    # ------------------------------------------------------------ record by record

    def map(self, function: Callable[[T], U], *, name: str | None = None, on_error: OnError = "fail") -> Stream[U]:
        """Each record turned into another: see `Map`."""
        return self._then(Map(function, on_error=on_error), name, record_type=_returns(function))

    def filter(
        self, predicate: Callable[[T], object], *, name: str | None = None, on_error: OnError = "fail"
    ) -> Stream[T]:
        """The records for which the predicate is true: see `Filter`."""
        return self._then(Filter(predicate, on_error=on_error), name, record_type=self.record_type)

    def flat_map(
        self, function: Callable[[T], Iterable[U]], *, name: str | None = None, on_error: OnError = "fail"
    ) -> Stream[U]:
        """Each record turned into any number of others: see `FlatMap`."""
        return self._then(FlatMap(function, on_error=on_error), name)

    def map_async(
        self,
        function: Callable[[T], Awaitable[U]],
        *,
        name: str | None = None,
        ordered: bool = True,
        capacity: int = 100,
        timeout: Duration | None = "30s",
        retry: Retry | None = None,
        on_error: OnError | None = None,
        input_type: Any = None,
    ) -> Stream[U]:
        """Each record turned into another by a coroutine, many at a time: see `MapAsync`. Calls in flight are
        part of every checkpoint and are made again after a recovery.

        Raises:
            TopologyError: the type of the records is not known, so they cannot be stored: pass `input_type`.
        """
        input_type = input_type or self.record_type
        name = name or self._topology.generate_name(MapAsync.kind)
        if input_type is None:
            raise TopologyError(
                f"map_async {name!r} stores the records whose calls are in flight and must know their type: pass "
                "input_type=, or give the function before it a return annotation"
            )
        operator = MapAsync(
            function,
            input_type=input_type,
            key_type=self._key_type or Any,
            ordered=ordered,
            capacity=capacity,
            timeout=timeout,
            retry=retry,
            on_error=on_error,
        )
        return self._then(operator, name, record_type=_returns(function))

    def process(
        self, function: ProcessFunction[T, U], *, name: str | None = None, on_error: LastResort = "fail"
    ) -> Stream[U]:
        """A function of your own with side outputs; on a keyed stream with state and timers: see
        `ProcessFunction`.
        """
        return self._then(process_operator(function, keyed=self._keyed, on_error=on_error), name)

    def apply(
        self,
        operator: Operator[T, U],
        *others: Stream[Any],
        name: str | None = None,
        parallelism: int | None = None,
    ) -> Stream[U]:
        """Any operator, ours or yours. One with several inputs (`MultiInputOperator`) takes this stream as its first and
        `others` as the rest.

        Raises:
            TopologyError: the operator has more or fewer inputs.
        """
        return self._then(operator, name, *others, parallelism=parallelism)

    def validate(
        self,
        rules: Mapping[str, Callable[[T], object]],
        *,
        on_fail: LastResort = "fail",
        name: str | None = None,
    ) -> Stream[T]:
        """The records for which all rules hold, each rule counted by name: see `Validate`."""
        return self._then(Validate(rules, on_fail=on_fail), name, record_type=self.record_type)

    # -------------------------------------------------------------- several streams

    def union(self, *others: Stream[T]) -> Stream[T]:
        """The records of all streams, in no order between them."""
        edges = [edge for stream in (self, *others) for edge in stream._edges]
        return Stream(self._topology, edges, self._key_type)

    def split(
        self,
        cases: Mapping[str, Callable[[T], object]],
        *,
        name: str | None = None,
        on_error: OnError = "fail",
    ) -> tuple[dict[str, Stream[T]], Stream[T]]:
        """By tag, the records whose first true predicate is the tag's; and the stream of the rest: see
        `Split`.
        """
        rest = self._then(Split(cases, on_error=on_error), name, record_type=self.record_type)
        return {tag: rest._side(tag) for tag in cases}, rest

    @overload
    def side_output(self, tag: Literal["failed"]) -> Stream[DeadLetter[Any]]: ...
    @overload
    def side_output(self, tag: str) -> Stream[Any]: ...
    def side_output(self, tag: str) -> Stream[Any]:
        """A side output of the operator that made this stream: `late`, `failed`, or a tag of your own."""
        return self._side(tag)

    def round_robin(self) -> Stream[T]:
        """The same records, dealt out batch by batch to the subtasks of the next operator."""
        return self._sent("round_robin")

    def broadcast(self) -> Stream[T]:
        """The same records, all of them to every subtask of the next operator."""
        return self._sent("broadcast")

    # ----------------------------------------------------------------------- keys

    @overload
    def key_by(
        self,
        key: Callable[[T], K],
        *,
        name: str | None = ...,
        key_type: type[K] | None = ...,
        on_error: OnError = ...,
    ) -> KeyedStream[K, T]: ...
    @overload
    def key_by(
        self,
        key: str | Sequence[str],
        *,
        name: str | None = ...,
        key_type: Any = ...,
        on_error: OnError = ...,
    ) -> KeyedStream[Any, T]: ...
    def key_by(
        self,
        key: Callable[[T], Any] | str | Sequence[str],
        *,
        name: str | None = None,
        key_type: Any = None,
        on_error: OnError = "fail",
    ) -> KeyedStream[Any, T]:
        """The records under keys: see `KeyBy`. `key_type` is needed for keys that are not str, int, bytes,
        bool, None or tuples of these."""
        stream = self._then(
            KeyBy(key, on_error=on_error, record_type=self.record_type), name, record_type=self.record_type
        )
        edge = stream._edges[0]
        return KeyedStream(self._topology, [Edge(edge.upstream, keyed=True)], key_type)

    # ----------------------------------------------------------------------- ends

    def sink(self, name: str, sink: Sink[T], *, parallelism: int | None = None) -> None:
        """Where the records go. `name` is the sink's operator id: what it has prepared is kept under it."""
        self._topology.add(
            Node(
                Topology.checked_name(name),
                generated=False,
                what=sink,
                kind="sink",
                inputs=[*self._edges],
                parallelism=parallelism,
            )
        )

    # ------------------------------------------------------------------- internals

    @property
    def record_type(self) -> Any:
        """The type of the records as far as it is known before running; None when it is not."""
        types = {id(edge.upstream.record_type): edge.upstream.record_type for edge in self._edges if edge.tag is None}
        return next(iter(types.values())) if len(types) == 1 else None

    @property
    def _keyed(self) -> bool:
        return all(edge.keyed for edge in self._edges)

    def _then(
        self,
        operator: Operator[Any, Any],
        name: str | None,
        *others: Stream[Any],
        record_type: Any = None,
        parallelism: int | None = None,
    ) -> Stream[Any]:
        wanted = operator.inputs if isinstance(operator, MultiInputOperator) else ("input",)
        if len(wanted) != 1 + len(others):
            called = operator.kind if name is None else f"{operator.kind} {name!r}"
            streams = "1 stream" if len(wanted) == 1 else f"{len(wanted)} streams"
            raise TopologyError(f"{called} takes {streams} ({', '.join(wanted)}), not {1 + len(others)}")
        inputs = [replace(edge, input=index) for index, stream in enumerate((self, *others)) for edge in stream._edges]
        node = self._topology.add(
            Node(
                self._topology.generate_name(operator.kind) if name is None else Topology.checked_name(name),
                generated=name is None,
                what=operator,
                kind="operator",
                inputs=inputs,
                parallelism=parallelism,
                record_type=record_type,
                key_type=self._key_type,
                has_event_time=all(edge.upstream.has_event_time for edge in inputs),
            )
        )
        return self._of(node)

    def _of(self, node: Node) -> Stream[Any]:
        return Stream(self._topology, [Edge(node)])

    def _side(self, tag: str) -> Stream[Any]:
        edges = [Edge(edge.upstream, tag, keyed=False) for edge in self._edges]
        return Stream(self._topology, edges)

    def _sent(self, partitioner: PartitionerKind) -> Stream[T]:
        edges = [Edge(edge.upstream, edge.tag, partitioner, edge.keyed) for edge in self._edges]
        return Stream(self._topology, edges, self._key_type)


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


class WindowedStream(Generic[K, T]):
    """Records of type `T` under keys of type `K`, grouped into windows: say what to make of each window. What is given out
    has the timestamp `end_ms - 1` and the window's key."""

    def __init__(
        self,
        stream: KeyedStream[K, T],
        assigner: Assigner,
        allowed_lateness: Duration,
        trigger: Trigger | None,
    ) -> None:
        self._stream = stream
        self._assigner = assigner
        self._settings: dict[str, Any] = {"allowed_lateness": allowed_lateness, "trigger": trigger}

    def aggregate(self, *, name: str | None = None, **aggregates: Aggregate[T, Any]) -> KeyedStream[K, WindowResult[K]]:
        """`key`, `start_ms`, `end_ms` and the named aggregates."""
        return self._then(window_aggregate, name, aggregates, record_type=self._stream.record_type)

    def reduce(
        self, function: Callable[[T, T], T], *, name: str | None = None, type: Any = None
    ) -> KeyedStream[K, WindowResult[K]]:
        """The values of a window put together by an associative function, as `value`."""
        return self._then(window_reduce, name, function, type=type, record_type=self._stream.record_type)

    def fold(
        self,
        initial: A | Callable[[], A],
        function: Callable[[A, T], A],
        *,
        merge: Callable[[A, A], A] | None = None,
        name: str | None = None,
        type: Any = None,
    ) -> KeyedStream[K, WindowResult[K]]:
        """The values of a window folded into a value of another type, as `value`. Sliding and session windows need `merge`."""
        return self._then(window_fold, name, initial, function, merge=merge, type=type)

    def collect(
        self, *, limit: int | None = None, name: str | None = None, type: Any = None
    ) -> KeyedStream[K, WindowResult[K]]:
        """The values of a window, as `values`."""
        return self._then(window_collect, name, limit=limit, type=type, record_type=self._stream.record_type)

    def process(
        self,
        function: Callable[[K, Window, list[T]], Iterable[U]],
        *,
        name: str | None = None,
        type: Any = None,
    ) -> KeyedStream[K, U]:
        """What a function of (key, window, values) gives out; the values are kept until the window fires."""
        return self._then(window_process, name, function, type=type, record_type=self._stream.record_type)

    def _then(
        self, make: Callable[..., AnyWindowOperator], name: str | None, *arguments: Any, **settings: Any
    ) -> KeyedStream[K, Any]:
        operator = make(self._assigner, *arguments, **settings, **self._settings)
        return self._stream._keyed_then(operator, name, operator.result_type)


def _returns(function: Callable[..., Any]) -> Any:
    """The annotated return type of a function; None when there is none, as with a lambda."""
    try:
        return typing.get_type_hints(function).get("return")
    except Exception:  # annotations that cannot be evaluated say nothing
        return None
