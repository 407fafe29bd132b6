"""The fluent face of joins with what is looked up record by record: in a copy of a table, or by a coroutine."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Generic, Literal, TypedDict, TypeVar, Unpack, overload

from ...operators.broadcast_join import BroadcastJoin
from ...operators.errors import OnError, Retry
from ...operators.joined import How, Joined
from ...operators.key_by import Key
from ...operators.lookup_join import LookupJoin
from ...operators.time import Duration
from ..errors import TopologyError
from .stored_types import joined_type, returned_type, stored_type

if TYPE_CHECKING:
    from .stream import Stream
    from .table import Table

T = TypeVar("T")
U = TypeVar("U")
V = TypeVar("V")


class BroadcastJoinOptions(TypedDict, total=False):
    """What a broadcast join takes besides what it is.

    Attributes:
        on: what gives the key that a record is looked up by.
        match: in place of `on`, what gives the rows that a record matches.
        name: the operator's id.
        on_error: what to do with a record that `on`, `match` or `select` fails on.
    """

    on: Key[Any]
    match: Callable[[Any, Mapping[Any, Any]], Iterable[Any]]
    name: str | None
    on_error: OnError


class LookupJoinOptions(TypedDict, total=False):
    """What a lookup join takes besides what it is: see `LookupJoin`.

    Attributes:
        name: the operator's id.
    """

    on: Key[Any]
    cache_size: int
    cache_ttl: Duration | None
    ordered: bool
    capacity: int
    timeout: Duration | None
    retry: Retry | None
    on_error: OnError | None
    input_type: Any
    name: str | None


class Lookups(Generic[T]):
    """What joins any stream with rows that are looked up."""

    # fmt: off
    @overload
    def broadcast_join(self, table: Table[Any, V], *, how: Literal["inner"] = ...,
                       **options: Unpack[BroadcastJoinOptions]) -> Stream[Joined[T, V]]: ...
    @overload
    def broadcast_join(self, table: Table[Any, V], *, how: Literal["left"],
                       **options: Unpack[BroadcastJoinOptions]) -> Stream[Joined[T, V | None]]: ...
    @overload
    def broadcast_join(self, table: Table[Any, V], *, how: Literal["inner"] = ...,
                       select: Callable[[T, V], U], **options: Unpack[BroadcastJoinOptions]) -> Stream[U]: ...
    @overload
    def broadcast_join(self, table: Table[Any, V], *, how: Literal["left"],
                       select: Callable[[T, V | None], U], **options: Unpack[BroadcastJoinOptions]) -> Stream[U]: ...
    # fmt: on
    def broadcast_join(
        self,
        table: Table[Any, Any],
        *,
        how: How = "inner",
        select: Callable[[Any, Any], Any] | None = None,
        **options: Unpack[BroadcastJoinOptions],
    ) -> Stream[Any]:
        """Each record with the rows that it matches, by a key (`on=`) or by a function (`match=`), in a table of which every
        subtask has a copy: see `BroadcastJoin`."""
        stream = self._as_stream()
        operator = BroadcastJoin[Any](
            table.rows,
            key_type=table.stream._key_type or Any,
            on=options.get("on"),
            match=options.get("match"),
            how=how,
            select=select,
            on_error=options.get("on_error", "fail"),
        )
        made = joined_type(stream.record_type, table.rows.row_type, how, select)
        return stream._then(operator, options.get("name"), table.stream.broadcast(), record_type=made)

    # fmt: off
    @overload
    def lookup_join(self, function: Callable[[Any], Awaitable[V | None]], *, how: Literal["inner"] = ...,
                    **options: Unpack[LookupJoinOptions]) -> Stream[Joined[T, V]]: ...
    @overload
    def lookup_join(self, function: Callable[[Any], Awaitable[V | None]], *, how: Literal["left"],
                    **options: Unpack[LookupJoinOptions]) -> Stream[Joined[T, V | None]]: ...
    @overload
    def lookup_join(self, function: Callable[[Any], Awaitable[V | None]], *, how: Literal["inner"] = ...,
                    select: Callable[[T, V], U], **options: Unpack[LookupJoinOptions]) -> Stream[U]: ...
    @overload
    def lookup_join(self, function: Callable[[Any], Awaitable[V | None]], *, how: Literal["left"],
                    select: Callable[[T, V | None], U], **options: Unpack[LookupJoinOptions]) -> Stream[U]: ...
    @overload
    def lookup_join(self, function: Callable[[list[Any]], Awaitable[Mapping[Any, V]]], *, batch_size: int,
                    how: Literal["inner"] = ..., **options: Unpack[LookupJoinOptions]) -> Stream[Joined[T, V]]: ...
    @overload
    def lookup_join(self, function: Callable[[list[Any]], Awaitable[Mapping[Any, V]]], *, batch_size: int,
                    how: Literal["left"], **options: Unpack[LookupJoinOptions]) -> Stream[Joined[T, V | None]]: ...
    @overload
    def lookup_join(self, function: Callable[[list[Any]], Awaitable[Mapping[Any, V]]], *, batch_size: int,
                    how: Literal["inner"] = ..., select: Callable[[T, V], U],
                    **options: Unpack[LookupJoinOptions]) -> Stream[U]: ...
    @overload
    def lookup_join(self, function: Callable[[list[Any]], Awaitable[Mapping[Any, V]]], *, batch_size: int,
                    how: Literal["left"], select: Callable[[T, V | None], U],
                    **options: Unpack[LookupJoinOptions]) -> Stream[U]: ...
    # fmt: on
    def lookup_join(
        self,
        function: Callable[[Any], Awaitable[Any]],
        *,
        batch_size: int | None = None,
        how: How = "inner",
        select: Callable[[Any, Any], Any] | None = None,
        **options: Unpack[LookupJoinOptions],
    ) -> Stream[Any]:
        """Each record with what a coroutine finds for its key (`on=`), many at a time, with a cache: see `LookupJoin`. Calls
        in flight are part of every checkpoint and are made again after a recovery.

        Raises:
            TopologyError: the type of the records is not known, so they cannot be stored: pass `input_type`; or the stream
                is not keyed: pass `on`.
        """
        stream = self._as_stream()
        settings: dict[str, Any] = {**options}
        name = settings.pop("name", None)
        if settings.get("on") is None and not stream._keyed:
            raise TopologyError("lookup_join looks records up by a key: pass on=, or put .key_by(...) before it")
        settings["input_type"] = stored_type(
            "lookup_join", "input_type", settings.get("input_type") or stream.record_type
        )
        operator = LookupJoin[Any, Any](
            function,
            how=how,
            select=select,
            batch_size=batch_size,
            key_type=stream._key_type or Any,
            **settings,
        )
        return stream._then(operator, name, record_type=None if select is None else returned_type(select))

    def _as_stream(self) -> Stream[T]:
        from .stream import Stream

        assert isinstance(self, Stream)
        return self
