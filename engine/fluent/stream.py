"""The fluent face of streams of any kind."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

from ...connectors.sink import Sink
from ...operators.changes import Change, row_type_of
from ...operators.circuit_breaker import CircuitBreaker
from ...operators.errors import DeadLetter, LastResort, OnError, Retry
from ...operators.filter import Filter
from ...operators.flat_map import FlatMap
from ...operators.key_by import KeyBy
from ...operators.map import Map
from ...operators.map_async import MapAsync, Ordered
from ...operators.map_async_batch import MapAsyncBatch
from ...operators.of_type import OfType
from ...operators.operator import MultiInputOperator, Operator
from ...operators.process import ProcessFunction, process_operator
from ...operators.rate_limit import RateLimit
from ...operators.sample import Sample
from ...operators.sort import Sort
from ...operators.split import Split
from ...operators.time import Duration
from ...operators.to_changes import InsertOnly, ToUpserts
from ...operators.validate import Validate
from ..errors import TopologyError
from ..topology import Edge, Node, PartitionerKind, Topology
from .lookups import Lookups
from .stored_types import returned_type, stored_type

if TYPE_CHECKING:
    from .connected_streams import ConnectedStreams
    from .keyed_stream import KeyedStream

T = TypeVar("T")
U = TypeVar("U")
K = TypeVar("K")


class Stream(Lookups[T]):
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
        return self._then(Map(function, on_error=on_error), name, record_type=returned_type(function))

    def filter(
        self, predicate: Callable[[T], object], *, name: str | None = None, on_error: OnError = "fail"
    ) -> Stream[T]:
        """The records for which the predicate is true: see `Filter`."""
        return self._then(Filter(predicate, on_error=on_error), name, record_type=self.record_type)

    def of_type(self, type: type[U], *, name: str | None = None) -> Stream[U]:
        """The records of a type, of a stream that carries several: see `OfType`."""
        return self._then(OfType(type), name, record_type=type)

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
        ordered: Ordered = True,
        capacity: int = 100,
        timeout: Duration | None = "30s",
        retry: Retry | None = None,
        on_error: OnError | None = None,
        breaker: CircuitBreaker | None = None,
        input_type: Any = None,
    ) -> Stream[U]:
        """Each record turned into another by a coroutine, many at a time: see `MapAsync`. Calls in flight are
        part of every checkpoint and are made again after a recovery.

        Raises:
            TopologyError: the type of the records is not known, so they cannot be stored: pass `input_type`.
        """
        name = name or self._topology.generate_name(MapAsync.kind)
        operator = MapAsync(
            function,
            input_type=self._stored_type(input_type, "map_async", name),
            key_type=self._key_type or Any,
            ordered=ordered,
            capacity=capacity,
            timeout=timeout,
            retry=retry,
            on_error=on_error,
            breaker=breaker,
        )
        return self._then(operator, name, record_type=returned_type(function))

    def map_async_batch(
        self,
        function: Callable[[list[T]], Awaitable[Sequence[U | Exception]]],
        *,
        max_batch: int,
        linger: Duration = "10ms",
        name: str | None = None,
        ordered: Ordered = True,
        capacity: int = 10,
        timeout: Duration | None = "30s",
        retry: Retry | None = None,
        on_error: OnError | None = None,
        breaker: CircuitBreaker | None = None,
        input_type: Any = None,
    ) -> Stream[U]:
        """Records turned into others by a coroutine that takes up to `max_batch` at a time: see `MapAsyncBatch`. A record
        waits up to `linger` for others.

        Raises:
            TopologyError: as `map_async`.
        """
        name = name or self._topology.generate_name(MapAsyncBatch.kind)
        operator: MapAsyncBatch[T, U] = MapAsyncBatch(
            function,
            max_batch=max_batch,
            linger=linger,
            input_type=self._stored_type(input_type, "map_async_batch", name),
            key_type=self._key_type or Any,
            ordered=ordered,
            capacity=capacity,
            timeout=timeout,
            retry=retry,
            on_error=on_error,
            breaker=breaker,
        )
        return self._then(operator, name)

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

    # ---------------------------------------------------- the same records, fewer or later

    def sample(
        self,
        fraction: float,
        *,
        by: str | Callable[[T], Any] | None = None,
        seed: int = 0,
        name: str | None = None,
        on_error: OnError = "fail",
    ) -> Stream[T]:
        """A share of the records, the same in every run: see `Sample`."""
        return self._then(Sample(fraction, by=by, seed=seed, on_error=on_error), name, record_type=self.record_type)

    def sort(self, *, name: str | None = None, type: Any = None) -> Stream[T]:
        """The same records in the order of event time, each when the watermark has reached it: see `Sort`."""
        return self._then(Sort(type=type or self.record_type), name, record_type=self.record_type)

    def rate_limit(self, records_per_second: float, *, name: str | None = None, input_type: Any = None) -> Stream[T]:
        """The same records, no more than so many per second: see `RateLimit`.

        Raises:
            TopologyError: the type of the records is not known, so they cannot be stored: pass `input_type`.
        """
        name = name or self._topology.generate_name(RateLimit.kind)
        input_type = stored_type(
            f"rate_limit {name!r}",
            "input_type",
            input_type or self.record_type,
            "the records that it holds back",
            otherwise="limit the source: topology.source(..., rate_limit=...)",
        )
        operator: RateLimit[T] = RateLimit(records_per_second, input_type=input_type, key_type=self._key_type or Any)
        return self._then(operator, name, record_type=self.record_type)

    # ------------------------------------------------------------------- update streams

    def to_upserts(self: Stream[Change[U]], *, name: str | None = None) -> Stream[Change[U]]:
        """The changes without rows as they were before an update: see `ToUpserts`."""
        return self._then(ToUpserts(), name, record_type=self.record_type)

    def insert_only(self: Stream[Change[U]], *, name: str | None = None, on_error: OnError = "fail") -> Stream[U]:
        """The rows of an update stream that only ever inserts: see `InsertOnly`."""
        row_type = row_type_of(self.record_type)
        return self._then(InsertOnly(on_error=on_error), name, record_type=None if row_type is Any else row_type)

    # -------------------------------------------------------------- several streams

    def union(self, *others: Stream[T]) -> Stream[T]:
        """The records of all streams, in no order between them."""
        edges = [edge for stream in (self, *others) for edge in stream._edges]
        return Stream(self._topology, edges, self._key_type)

    def connect(self, *others: Stream[Any]) -> ConnectedStreams:
        """This stream and others for one function that takes the records of each by a method of its own."""
        from .connected_streams import ConnectedStreams

        return ConnectedStreams((self, *others))

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
        from .keyed_stream import KeyedStream

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

    def _stored_type(self, given: Any, method: str, name: str) -> Any:
        """The type by which records whose calls are in flight are stored."""
        known = given or self.record_type
        return stored_type(f"{method} {name!r}", "input_type", known, "the records whose calls are in flight")

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
