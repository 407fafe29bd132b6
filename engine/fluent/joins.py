"""The fluent face of joins between keyed streams."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Generic, Literal, TypedDict, TypeVar, Unpack, overload

from ...operators.changes import Change, row_type_of
from ...operators.errors import OnError
from ...operators.interval_join import IntervalJoin
from ...operators.joined import How, Joined
from ...operators.regular_join import RegularJoin
from ...operators.stream_table_join import StreamTableJoin
from ...operators.table_input import TableInput
from ...operators.temporal_join import TemporalJoin
from ...operators.time import Duration, signed_duration_ms
from ...operators.windowed import JoinWindows, window_join
from .stored_types import joined_type, known_row_type, stored_type, table_row_type
from .stream import Stream

if TYPE_CHECKING:
    from .keyed_stream import KeyedStream
    from .table import Table

T = TypeVar("T")
U = TypeVar("U")
K = TypeVar("K")
V = TypeVar("V")
R = TypeVar("R")


class JoinOptions(TypedDict, total=False):
    """What joins of two streams take besides what they are.

    Attributes:
        name: the operator's id.
        left_type: the type of the left records, for storing them, where the topology does not know it.
        right_type: the same of the right.
        on_error: what to do with a pair that `select` fails on.
    """

    name: str | None
    left_type: Any
    right_type: Any
    on_error: OnError


class WindowJoinOptions(JoinOptions, total=False):
    """What a join in windows takes besides.

    Attributes:
        allowed_lateness: how long a window that has fired still takes records.
    """

    allowed_lateness: Duration


class RegularJoinOptions(JoinOptions, total=False):
    """What a regular join takes besides.

    Attributes:
        left_ttl: forget a left row so long after it came, by processing time; None: never, so that state grows for ever.
        right_ttl: the same of the right.
    """

    left_ttl: Duration | None
    right_ttl: Duration | None


class TableJoinOptions(TypedDict, total=False):
    """What joins with a table take besides what they are.

    Attributes:
        name: the operator's id.
        on_error: what to do with a pair that `select` fails on.
    """

    name: str | None
    on_error: OnError


class TemporalJoinOptions(TableJoinOptions, total=False):
    """What a temporal join takes besides.

    Attributes:
        record_type: the type of the records, for storing those that wait, where the topology does not know it.
    """

    record_type: Any


class KeyedJoins(Stream[T], Generic[K, T]):
    """What joins a keyed stream with others of the same key."""

    # fmt: off
    @overload
    def join(self, right: KeyedStream[K, U], windows: JoinWindows, *, how: Literal["inner"] = ...,
             **options: Unpack[WindowJoinOptions]) -> KeyedStream[K, Joined[T, U]]: ...
    @overload
    def join(self, right: KeyedStream[K, U], windows: JoinWindows, *, how: Literal["left"],
             **options: Unpack[WindowJoinOptions]) -> KeyedStream[K, Joined[T, U | None]]: ...
    @overload
    def join(self, right: KeyedStream[K, U], windows: JoinWindows, *, how: Literal["right"],
             **options: Unpack[WindowJoinOptions]) -> KeyedStream[K, Joined[T | None, U]]: ...
    @overload
    def join(self, right: KeyedStream[K, U], windows: JoinWindows, *, how: Literal["outer"],
             **options: Unpack[WindowJoinOptions]) -> KeyedStream[K, Joined[T | None, U | None]]: ...
    @overload
    def join(self, right: KeyedStream[K, U], windows: JoinWindows, *, how: Literal["inner"] = ...,
             select: Callable[[T, U], R], **options: Unpack[WindowJoinOptions]) -> KeyedStream[K, R]: ...
    @overload
    def join(self, right: KeyedStream[K, U], windows: JoinWindows, *, how: Literal["left"],
             select: Callable[[T, U | None], R], **options: Unpack[WindowJoinOptions]) -> KeyedStream[K, R]: ...
    @overload
    def join(self, right: KeyedStream[K, U], windows: JoinWindows, *, how: Literal["right"],
             select: Callable[[T | None, U], R], **options: Unpack[WindowJoinOptions]) -> KeyedStream[K, R]: ...
    @overload
    def join(self, right: KeyedStream[K, U], windows: JoinWindows, *, how: Literal["outer"],
             select: Callable[[T | None, U | None], R], **options: Unpack[WindowJoinOptions]) -> KeyedStream[K, R]: ...
    # fmt: on
    def join(
        self,
        right: KeyedStream[K, Any],
        windows: JoinWindows,
        *,
        how: How = "inner",
        select: Callable[[Any, Any], Any] | None = None,
        **options: Unpack[WindowJoinOptions],
    ) -> KeyedStream[K, Any]:
        """The pairs of records of the same key in the same window, when the window ends: see `WindowJoin`, `SessionJoin`."""
        left_type, right_type = self._pair_types("join", right, options)
        operator = window_join(
            windows,
            left_type=left_type,
            right_type=right_type,
            how=how,
            select=select,
            allowed_lateness=options.get("allowed_lateness", "0ms"),
            on_error=options.get("on_error", "fail"),
        )
        return self._joined(operator, right, options.get("name"), joined_type(left_type, right_type, how, select))

    # fmt: off
    @overload
    def interval_join(self, right: KeyedStream[K, U], *, lower: Duration, upper: Duration, how: Literal["inner"] = ...,
                      **options: Unpack[JoinOptions]) -> KeyedStream[K, Joined[T, U]]: ...
    @overload
    def interval_join(self, right: KeyedStream[K, U], *, lower: Duration, upper: Duration, how: Literal["left"],
                      **options: Unpack[JoinOptions]) -> KeyedStream[K, Joined[T, U | None]]: ...
    @overload
    def interval_join(self, right: KeyedStream[K, U], *, lower: Duration, upper: Duration, how: Literal["right"],
                      **options: Unpack[JoinOptions]) -> KeyedStream[K, Joined[T | None, U]]: ...
    @overload
    def interval_join(self, right: KeyedStream[K, U], *, lower: Duration, upper: Duration, how: Literal["outer"],
                      **options: Unpack[JoinOptions]) -> KeyedStream[K, Joined[T | None, U | None]]: ...
    @overload
    def interval_join(self, right: KeyedStream[K, U], *, lower: Duration, upper: Duration, how: Literal["inner"] = ...,
                      select: Callable[[T, U], R], **options: Unpack[JoinOptions]) -> KeyedStream[K, R]: ...
    @overload
    def interval_join(self, right: KeyedStream[K, U], *, lower: Duration, upper: Duration, how: Literal["left"],
                      select: Callable[[T, U | None], R], **options: Unpack[JoinOptions]) -> KeyedStream[K, R]: ...
    @overload
    def interval_join(self, right: KeyedStream[K, U], *, lower: Duration, upper: Duration, how: Literal["right"],
                      select: Callable[[T | None, U], R], **options: Unpack[JoinOptions]) -> KeyedStream[K, R]: ...
    @overload
    def interval_join(self, right: KeyedStream[K, U], *, lower: Duration, upper: Duration, how: Literal["outer"],
                      select: Callable[[T | None, U | None], R], **options: Unpack[JoinOptions]) -> KeyedStream[K, R]: ...
    # fmt: on
    def interval_join(
        self,
        right: KeyedStream[K, Any],
        *,
        lower: Duration,
        upper: Duration,
        how: How = "inner",
        select: Callable[[Any, Any], Any] | None = None,
        **options: Unpack[JoinOptions],
    ) -> KeyedStream[K, Any]:
        """The pairs of records of the same key of which the right one's time is the left one's plus `lower` (`"-5m"`) to
        `upper` (`"10m"`), as soon as both are there: see `IntervalJoin`."""
        left_type, right_type = self._pair_types("interval_join", right, options)
        operator = IntervalJoin[Any](
            signed_duration_ms(lower),
            signed_duration_ms(upper),
            left_type=left_type,
            right_type=right_type,
            how=how,
            select=select,
            on_error=options.get("on_error", "fail"),
        )
        return self._joined(operator, right, options.get("name"), joined_type(left_type, right_type, how, select))

    # fmt: off
    @overload
    def regular_join(self: KeyedJoins[K, Change[V]], right: KeyedStream[K, Any], *, how: How = ...,
                     select: Callable[[Any, Any], R], **options: Unpack[RegularJoinOptions],
                     ) -> KeyedStream[K, Change[R]]: ...
    @overload  # changes are records too, and the first that fits counts
    def regular_join(self: KeyedJoins[K, Change[V]], right: KeyedStream[K, Any], *, how: How = ...,  # type: ignore[overload-overlap]
                     **options: Unpack[RegularJoinOptions]) -> KeyedStream[K, Change[Joined[Any, Any]]]: ...
    @overload
    def regular_join(self, right: KeyedStream[K, Change[U]], *, how: How = ..., select: Callable[[Any, Any], R],
                     **options: Unpack[RegularJoinOptions]) -> KeyedStream[K, Change[R]]: ...
    @overload
    def regular_join(self, right: KeyedStream[K, Change[U]], *, how: How = ...,  # type: ignore[overload-overlap]
                     **options: Unpack[RegularJoinOptions]) -> KeyedStream[K, Change[Joined[Any, Any]]]: ...
    @overload
    def regular_join(self, right: KeyedStream[K, U], *, how: Literal["inner"] = ...,
                     **options: Unpack[RegularJoinOptions]) -> KeyedStream[K, Joined[T, U]]: ...
    @overload
    def regular_join(self, right: KeyedStream[K, U], *, how: Literal["left"],
                     **options: Unpack[RegularJoinOptions]) -> KeyedStream[K, Change[Joined[T, U | None]]]: ...
    @overload
    def regular_join(self, right: KeyedStream[K, U], *, how: Literal["right"],
                     **options: Unpack[RegularJoinOptions]) -> KeyedStream[K, Change[Joined[T | None, U]]]: ...
    @overload
    def regular_join(self, right: KeyedStream[K, U], *, how: Literal["outer"],
                     **options: Unpack[RegularJoinOptions]) -> KeyedStream[K, Change[Joined[T | None, U | None]]]: ...
    @overload
    def regular_join(self, right: KeyedStream[K, U], *, how: Literal["inner"] = ..., select: Callable[[T, U], R],
                     **options: Unpack[RegularJoinOptions]) -> KeyedStream[K, R]: ...
    @overload
    def regular_join(self, right: KeyedStream[K, U], *, how: Literal["left"], select: Callable[[T, U | None], R],
                     **options: Unpack[RegularJoinOptions]) -> KeyedStream[K, Change[R]]: ...
    @overload
    def regular_join(self, right: KeyedStream[K, U], *, how: Literal["right"], select: Callable[[T | None, U], R],
                     **options: Unpack[RegularJoinOptions]) -> KeyedStream[K, Change[R]]: ...
    @overload
    def regular_join(self, right: KeyedStream[K, U], *, how: Literal["outer"], select: Callable[[T | None, U | None], R],
                     **options: Unpack[RegularJoinOptions]) -> KeyedStream[K, Change[R]]: ...
    # fmt: on
    def regular_join(
        self,
        right: KeyedStream[K, Any],
        *,
        how: How = "inner",
        select: Callable[[Any, Any], Any] | None = None,
        **options: Unpack[RegularJoinOptions],
    ) -> KeyedStream[K, Any]:
        """The pairs of records of the same key, however far they are from each other in time. Without `left_ttl` and
        `right_ttl` every record is kept for ever. Other than inner, or of update streams, the result is an update stream:
        see `RegularJoin`."""
        left_type, right_type = (
            stored_type("regular_join", argument, given or known_row_type(stream.record_type))
            for argument, given, stream in (
                ("left_type", options.get("left_type"), self),
                ("right_type", options.get("right_type"), right),
            )
        )
        operator = RegularJoin(
            left_type=left_type,
            right_type=right_type,
            how=how,
            select=select,
            left_changes=row_type_of(self.record_type) is not None,
            right_changes=row_type_of(right.record_type) is not None,
            left_ttl=options.get("left_ttl"),
            right_ttl=options.get("right_ttl"),
            on_error=options.get("on_error", "fail"),
        )
        made = joined_type(left_type, right_type, how, select)
        if operator.gives_changes:
            made = Change if made is None else Change[made]  # type: ignore[valid-type]  # the type is a value here
        return self._joined(operator, right, options.get("name"), made)

    @overload
    def latest(
        self: KeyedJoins[K, Change[V]], *, row_type: Any = ..., ttl: Duration | None = ..., on_error: OnError = ...
    ) -> Table[K, V]: ...
    @overload
    def latest(self, *, row_type: Any = ..., ttl: Duration | None = ..., on_error: OnError = ...) -> Table[K, T]: ...
    @overload
    def latest(
        self,
        row: Callable[[T], V | None],
        *,
        row_type: Any = ...,
        ttl: Duration | None = ...,
        on_error: OnError = ...,
    ) -> Table[K, V]: ...
    def latest(
        self,
        row: Callable[[Any], Any] | None = None,
        *,
        row_type: Any = None,
        ttl: Duration | None = None,
        on_error: OnError = "fail",
    ) -> Table[K, Any]:
        """The newest record of each key, as a table to join with. Every use of the table keeps its rows for itself.

        Args:
            row: makes the row of a record; None deletes the key's row. Without it the record is the row, and None, or a
                `Change` that retracts, deletes it.
            row_type: the type of the rows, for storing them, where the topology does not know it.
            ttl: forget a row so long after it was last written, by processing time.
            on_error: what to do with a record that `row` fails on.

        Raises:
            TopologyError: the type of the rows is not known.
        """
        from .table import Table

        return Table(self._as_keyed(), TableInput(table_row_type(self.record_type, row, row_type), row, ttl, on_error))

    # fmt: off
    @overload
    def join_table(self, table: Table[K, V], *, how: Literal["inner"] = ...,
                   **options: Unpack[TableJoinOptions]) -> KeyedStream[K, Joined[T, V]]: ...
    @overload
    def join_table(self, table: Table[K, V], *, how: Literal["left"],
                   **options: Unpack[TableJoinOptions]) -> KeyedStream[K, Joined[T, V | None]]: ...
    @overload
    def join_table(self, table: Table[K, V], *, how: Literal["inner"] = ...,
                   select: Callable[[T, V], R], **options: Unpack[TableJoinOptions]) -> KeyedStream[K, R]: ...
    @overload
    def join_table(self, table: Table[K, V], *, how: Literal["left"],
                   select: Callable[[T, V | None], R], **options: Unpack[TableJoinOptions]) -> KeyedStream[K, R]: ...
    # fmt: on
    def join_table(
        self,
        table: Table[K, Any],
        *,
        how: How = "inner",
        select: Callable[[Any, Any], Any] | None = None,
        **options: Unpack[TableJoinOptions],
    ) -> KeyedStream[K, Any]:
        """Each record with the row that the table has for its key when the record comes: see `StreamTableJoin`."""
        operator = StreamTableJoin[Any](table.rows, how=how, select=select, on_error=options.get("on_error", "fail"))
        made = joined_type(self.record_type, table.rows.row_type, how, select)
        return self._joined(operator, table.stream, options.get("name"), made)

    # fmt: off
    @overload
    def temporal_join(self, versions: Table[K, V], *, how: Literal["inner"] = ...,
                      **options: Unpack[TemporalJoinOptions]) -> KeyedStream[K, Joined[T, V]]: ...
    @overload
    def temporal_join(self, versions: Table[K, V], *, how: Literal["left"],
                      **options: Unpack[TemporalJoinOptions]) -> KeyedStream[K, Joined[T, V | None]]: ...
    @overload
    def temporal_join(self, versions: Table[K, V], *, how: Literal["inner"] = ...,
                      select: Callable[[T, V], R], **options: Unpack[TemporalJoinOptions]) -> KeyedStream[K, R]: ...
    @overload
    def temporal_join(self, versions: Table[K, V], *, how: Literal["left"],
                      select: Callable[[T, V | None], R], **options: Unpack[TemporalJoinOptions]) -> KeyedStream[K, R]: ...
    # fmt: on
    def temporal_join(
        self,
        versions: Table[K, Any],
        *,
        how: How = "inner",
        select: Callable[[Any, Any], Any] | None = None,
        **options: Unpack[TemporalJoinOptions],
    ) -> KeyedStream[K, Any]:
        """Each record with the row that held for its key at its event time, once the watermark has reached that: see
        `TemporalJoin`."""
        record_type = stored_type("temporal_join", "record_type", options.get("record_type") or self.record_type)
        operator = TemporalJoin[Any](
            versions.rows,
            record_type=record_type,
            how=how,
            select=select,
            on_error=options.get("on_error", "fail"),
        )
        made = joined_type(record_type, versions.rows.row_type, how, select)
        return self._joined(operator, versions.stream, options.get("name"), made)

    def _pair_types(self, kind: str, right: KeyedStream[K, Any], options: JoinOptions) -> tuple[Any, Any]:
        return (
            stored_type(kind, "left_type", options.get("left_type") or self.record_type),
            stored_type(kind, "right_type", options.get("right_type") or right.record_type),
        )

    def _joined(self, operator: Any, right: Stream[Any], name: str | None, record_type: Any) -> KeyedStream[K, Any]:
        return self._as_keyed()._keyed_then(operator, name, record_type, right)

    def _as_keyed(self) -> KeyedStream[K, T]:
        from .keyed_stream import KeyedStream

        assert isinstance(self, KeyedStream)
        return self
