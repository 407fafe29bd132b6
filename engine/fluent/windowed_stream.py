"""The fluent face of windows."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from ...operators.aggregate import Aggregate
from ...operators.results import WindowResult
from ...operators.time import Duration
from ...operators.windowed import (
    AnyWindowOperator,
    window_aggregate,
    window_collect,
    window_fold,
    window_process,
    window_reduce,
    window_top_n,
)
from ...operators.windows import Assigner, Trigger, Window

if TYPE_CHECKING:
    from .keyed_stream import KeyedStream

T = TypeVar("T")
U = TypeVar("U")
K = TypeVar("K")
A = TypeVar("A")


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

    def top_n(
        self, n: int, by: str | Callable[[T], Any], *, smallest: bool = False, name: str | None = None, type: Any = None
    ) -> KeyedStream[K, WindowResult[K]]:
        """The `n` records of a window that rank highest, or with `smallest` lowest, as `values`; of equal ranks those that
        came first."""
        record_type = self._stream.record_type
        return self._then(window_top_n, name, n, by, smallest=smallest, type=type, record_type=record_type)

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
