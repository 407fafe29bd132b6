"""The fluent face of tables."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar, overload

from ...operators.changes import Change
from ...operators.joined import How, Joined
from ...operators.table_input import TableInput
from ...operators.table_join import TableJoin
from .stored_types import joined_type

if TYPE_CHECKING:
    from .keyed_stream import KeyedStream

K = TypeVar("K")
V = TypeVar("V")
W = TypeVar("W")
R = TypeVar("R")


class Table(Generic[K, V]):
    """The newest row of type `V` of each key of type `K`. Made by `KeyedStream.latest`.

    Attributes:
        stream: the records that bring the rows.
        rows: how they do.
    """

    def __init__(self, stream: KeyedStream[K, Any], rows: TableInput) -> None:
        self.stream = stream
        self.rows = rows

    # fmt: off
    @overload
    def join(self, right: Table[K, W], *, how: Literal["inner"] = ..., name: str | None = ...,
             ) -> KeyedStream[K, Change[Joined[V, W]]]: ...
    @overload
    def join(self, right: Table[K, W], *, how: Literal["left"], name: str | None = ...,
             ) -> KeyedStream[K, Change[Joined[V, W | None]]]: ...
    @overload
    def join(self, right: Table[K, W], *, how: Literal["right"], name: str | None = ...,
             ) -> KeyedStream[K, Change[Joined[V | None, W]]]: ...
    @overload
    def join(self, right: Table[K, W], *, how: Literal["outer"], name: str | None = ...,
             ) -> KeyedStream[K, Change[Joined[V | None, W | None]]]: ...
    @overload
    def join(self, right: Table[K, W], *, how: Literal["inner"] = ..., select: Callable[[V, W], R],
             name: str | None = ...) -> KeyedStream[K, Change[R]]: ...
    @overload
    def join(self, right: Table[K, W], *, how: Literal["left"], select: Callable[[V, W | None], R],
             name: str | None = ...) -> KeyedStream[K, Change[R]]: ...
    @overload
    def join(self, right: Table[K, W], *, how: Literal["right"], select: Callable[[V | None, W], R],
             name: str | None = ...) -> KeyedStream[K, Change[R]]: ...
    @overload
    def join(self, right: Table[K, W], *, how: Literal["outer"], select: Callable[[V | None, W | None], R],
             name: str | None = ...) -> KeyedStream[K, Change[R]]: ...
    # fmt: on
    def join(
        self,
        right: Table[K, Any],
        *,
        how: How = "inner",
        select: Callable[[Any, Any], Any] | None = None,
        name: str | None = None,
    ) -> KeyedStream[K, Any]:
        """What happens to the rows that are made of the rows of both tables with the same key, as an update stream: see
        `TableJoin`."""
        made = joined_type(self.rows.row_type, right.rows.row_type, how, select)
        operator = TableJoin(self.rows, right.rows, how=how, select=select)
        return self.stream._keyed_then(operator, name, _change_of(made), right.stream)


def _change_of(row_type: Any) -> Any:
    return None if row_type is None else Change[row_type]
