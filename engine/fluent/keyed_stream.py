"""The fluent face of keyed streams."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, TypeVar, overload

from ...operators.aggregate import Aggregate
from ...operators.changes import Change, row_type_of
from ...operators.debounce import debounce_operator
from ...operators.dedupe import TimeDomain, dedupe_operator
from ...operators.errors import LastResort, OnError
from ...operators.fold import Fold
from ...operators.keyed_aggregate import KeyedAggregate
from ...operators.operator import Operator
from ...operators.pattern_match import PatternMatch
from ...operators.patterns import AfterMatch, Match, Pattern
from ...operators.reduce import Reduce
from ...operators.results import KeyResult
from ...operators.retracting_aggregate import RetractingAggregate
from ...operators.sort import KeyedSort
from ...operators.throttle import Throttle
from ...operators.time import Duration, duration_ms
from ...operators.to_changes import ToChanges
from ...operators.top_n import RetractingTopN, TopN
from ...operators.windows import Assigner, Trigger
from ..errors import TopologyError
from ..topology import Edge, Node
from .joins import KeyedJoins
from .over_stream import OverStream
from .stored_types import returned_type, stored_type
from .stream import Stream
from .windowed_stream import WindowedStream

T = TypeVar("T")
K = TypeVar("K")
A = TypeVar("A")
R = TypeVar("R")
U = TypeVar("U")


class KeyedStream(KeyedJoins[K, T]):
    """Records of type `T` under keys of type `K`: what keeps state per key goes on from here."""

    def _of(self, node: Node) -> Stream[Any]:
        # Records keep their key through every operator: a window's result may be windowed again.
        return KeyedStream(self._topology, [Edge(node, keyed=True)], self._key_type)

    @overload
    def aggregate(  # type: ignore[overload-overlap]  # changes are records too, and the first that fits counts
        self: KeyedStream[K, Change[R]],
        *,
        name: str | None = ...,
        emit_every: None = ...,
        **aggregates: Aggregate[R, Any],
    ) -> KeyedStream[K, Change[KeyResult[K]]]: ...
    @overload
    def aggregate(
        self, *, name: str | None = ..., emit_every: Duration | None = ..., **aggregates: Aggregate[T, Any]
    ) -> KeyedStream[K, KeyResult[K]]: ...
    def aggregate(
        self, *, name: str | None = None, emit_every: Duration | None = None, **aggregates: Aggregate[Any, Any]
    ) -> KeyedStream[K, Any]:
        """The aggregates of all records of a key so far: one updated result per record, or with `emit_every` the newest of
        each changed key, so often: see `KeyedAggregate`. Of an update stream the aggregates of the rows that are there, as
        an update stream: see `RetractingAggregate`.

        Raises:
            TopologyError: `emit_every` with an update stream, of which every change counts.
        """
        row_type = row_type_of(self.record_type)
        if row_type is not None:
            if emit_every is not None:
                raise TopologyError("aggregate over an update stream gives out every change: leave emit_every out")
            retracting = RetractingAggregate(aggregates, row_type=None if row_type is Any else row_type)
            return self._keyed_then(retracting, name, Change[retracting.result_type])  # type: ignore[name-defined]  # the type is a value here
        every_ms = None if emit_every is None else duration_ms(emit_every)
        operator = KeyedAggregate(aggregates, emit_every_ms=every_ms, record_type=self.record_type)
        return self._keyed_then(operator, name, operator.result_type)

    def reduce(self, function: Callable[[T, T], T], *, name: str | None = None, type: Any = None) -> KeyedStream[K, T]:
        """The records of a key so far, put together: one updated value per record: see `Reduce`."""
        known = type or self.record_type
        return self._keyed_then(Reduce(function, type=known), name, known)

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

    # ------------------------------------------------------------------- some of the records

    def dedupe(
        self,
        within: Duration | None = None,
        *,
        keep: Literal["first", "last"] = "first",
        time: TimeDomain = "event",
        allowed_lateness: Duration = "0ms",
        name: str | None = None,
        type: Any = None,
    ) -> KeyedStream[K, T]:
        """One record of each key in an interval, the first as it comes or the last at its end: see `Dedupe` and
        `dedupe_operator`. Without `within` one record of each key, ever."""
        operator = dedupe_operator(
            within, keep=keep, time=time, allowed_lateness=allowed_lateness, type=type or self.record_type
        )
        return self._keyed_then(operator, name, self.record_type)

    def throttle(
        self, interval: Duration, *, time: TimeDomain = "processing", name: str | None = None
    ) -> KeyedStream[K, T]:
        """At most one record of a key per interval, the first: see `Throttle`."""
        return self._keyed_then(Throttle(duration_ms(interval), time=time), name, self.record_type)

    def debounce(
        self, silence: Duration, *, time: TimeDomain = "event", name: str | None = None, type: Any = None
    ) -> KeyedStream[K, T]:
        """The last record of a key before each silence of so long: see `debounce_operator`."""
        operator = debounce_operator(silence, time=time, type=type or self.record_type)
        return self._keyed_then(operator, name, self.record_type)

    def sort(self, *, name: str | None = None, type: Any = None) -> KeyedStream[K, T]:
        """The same records in the order of event time: see `KeyedSort`."""
        return self._keyed_then(KeyedSort(type=type or self.record_type), name, self.record_type)

    @overload
    def top_n(
        self: KeyedStream[K, Change[R]],
        n: int,
        by: str | Callable[[R], Any],
        *,
        smallest: bool = ...,
        name: str | None = ...,
        type: Any = ...,
    ) -> KeyedStream[K, Change[R]]: ...
    @overload
    def top_n(
        self, n: int, by: str | Callable[[T], Any], *, smallest: bool = ..., name: str | None = ..., type: Any = ...
    ) -> KeyedStream[K, Change[T]]: ...
    def top_n(
        self,
        n: int,
        by: str | Callable[[Any], Any],
        *,
        smallest: bool = False,
        name: str | None = None,
        type: Any = None,
    ) -> KeyedStream[K, Any]:
        """The records of a key that rank highest so far, or of an update stream the rows that rank highest of those that
        are there, as an update stream: see `TopN` and `RetractingTopN`."""
        row_type = row_type_of(self.record_type)
        kept = type or (self.record_type if row_type is None else row_type)
        operator = (TopN if row_type is None else RetractingTopN)(n, by, smallest=smallest, type=kept)
        return self._keyed_then(operator, name, Change if kept is None else Change[kept])  # type: ignore[valid-type]  # the type is a value here

    # ------------------------------------------------------------------------- update streams

    @overload
    def to_changes(
        self: KeyedStream[K, Change[R]],
        *,
        deleted: Callable[[R], object] | None = ...,
        name: str | None = ...,
        type: Any = ...,
        on_error: OnError = ...,
    ) -> KeyedStream[K, Change[R]]: ...
    @overload
    def to_changes(
        self,
        *,
        deleted: Callable[[T], object] | None = ...,
        name: str | None = ...,
        type: Any = ...,
        on_error: OnError = ...,
    ) -> KeyedStream[K, Change[T]]: ...
    def to_changes(
        self,
        *,
        deleted: Callable[[Any], object] | None = None,
        name: str | None = None,
        type: Any = None,
        on_error: OnError = "fail",
    ) -> KeyedStream[K, Any]:
        """An update stream of the newest record of each key, or of changes of which some are missing or doubled: see
        `ToChanges`."""
        row_type = row_type_of(self.record_type)
        kept = type or (self.record_type if row_type is None else row_type)
        operator = ToChanges(deleted=deleted, type=kept, on_error=on_error)
        return self._keyed_then(operator, name, Change if kept is None else Change[kept])  # type: ignore[valid-type]  # the type is a value here

    # -------------------------------------------------------------------------------- windows

    @overload
    def over(self, span: Duration) -> OverStream[K, T]: ...
    @overload
    def over(self, *, last: int) -> OverStream[K, T]: ...
    def over(self, span: Duration | None = None, *, last: int | None = None) -> OverStream[K, T]:
        """Each record with those of its key before it: from the last `span` of event time, or the `last` so many.

        Raises:
            TopologyError: neither or both are given.
        """
        if (span is None) == (last is None):
            raise TopologyError('over takes either a duration, over("5m"), or a count, over(last=100)')
        return OverStream(self, None if span is None else duration_ms(span), last)

    def window(
        self, assigner: Assigner, *, allowed_lateness: Duration = "0ms", trigger: Trigger | None = None
    ) -> WindowedStream[K, T]:
        """The records of a key grouped into windows: `windows.tumbling("1h")`, `sliding`, `cumulative`, `session`,
        `count`, `global_`.

        Args:
            assigner: which windows a record belongs to.
            allowed_lateness: how long a window that has fired still takes records and fires again; later ones go to the side
                output `late`.
            trigger: when windows fire; None: when they are complete.
        """
        return WindowedStream(self, assigner, allowed_lateness, trigger)

    @overload
    def match(
        self,
        pattern: Pattern[T],
        *,
        name: str | None = ...,
        after_match: AfterMatch | None = ...,
        on_error: LastResort = ...,
    ) -> KeyedStream[K, Match[K, T]]: ...
    @overload
    def match(
        self,
        pattern: Pattern[T],
        *,
        select: Callable[[Match[K, T]], U],
        name: str | None = ...,
        after_match: AfterMatch | None = ...,
        on_error: LastResort = ...,
    ) -> KeyedStream[K, U]: ...
    def match(
        self,
        pattern: Pattern[T],
        *,
        select: Callable[[Match[K, T]], Any] | None = None,
        name: str | None = None,
        after_match: AfterMatch | None = None,
        on_error: LastResort = "fail",
    ) -> KeyedStream[K, Any]:
        """The records of a key that fit a pattern, `patterns.begin("a").where(…).next("b")…`: see `PatternMatch`.

        Args:
            pattern: what to look for.
            select: makes of a `Match` what is given out; None: the `Match`.
            name: the operator id.
            after_match: `patterns.skip_past_last()` and so on; None: every match is given out.
            on_error: what to do with a record that a condition fails on, and with a match that `select` fails on.

        Raises:
            TopologyError: the type of the records is not known, so they cannot be stored: give it to `patterns.begin`.
        """
        name = name or self._topology.generate_name(PatternMatch.kind)
        record_type = stored_type(f"match {name!r}", "type", pattern.type or self.record_type, to="patterns.begin")
        operator = PatternMatch(pattern, type=record_type, select=select, after_match=after_match, on_error=on_error)
        given_out = Match[self._key_type or Any, record_type] if select is None else returned_type(select)  # type: ignore[misc]  # types are values here
        return self._keyed_then(operator, name, given_out)

    def _keyed_then(
        self, operator: Operator[Any, Any], name: str | None, record_type: Any, *others: Stream[Any]
    ) -> KeyedStream[K, Any]:
        stream = self._then(operator, name, *others, record_type=record_type)
        assert isinstance(stream, KeyedStream)
        return stream
