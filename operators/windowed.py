"""The operators behind `stream.window(…)`: one function per thing that can be done with a window."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

from . import agg
from .aggregate import Aggregate
from .errors import OnError
from .joined import How
from .session_join import SessionJoin
from .time import Duration, duration_ms
from .window import WindowOperator
from .window_count import SlidingCountOperator
from .window_cumulative import CumulativeWindowOperator
from .window_global import GlobalWindowOperator
from .window_join import WindowJoin
from .window_session import SessionOperator
from .windows import Assigner, CountWindows, CumulativeWindows, SessionWindows, TimeWindows, Trigger, Window

AnyWindowOperator: TypeAlias = WindowOperator | SessionOperator | GlobalWindowOperator | SlidingCountOperator

JoinWindows: TypeAlias = TimeWindows | SessionWindows
"""The windows in which streams can be joined."""


def window_aggregate(
    assigner: Assigner,
    aggregates: Mapping[str, Aggregate[Any, Any]],
    *,
    allowed_lateness: Duration = "0ms",
    trigger: Trigger | None = None,
    record_type: Any = None,
    results: Callable[[Any, Window, Any], Iterable[Any]] | None = None,
    inline: bool = True,
) -> AnyWindowOperator:
    """The operator that aggregates per key and window: results have `key`, `start_ms`, `end_ms` and the
    aggregates.

    Args:
        assigner: which windows.
        aggregates: name → aggregate.
        allowed_lateness: how long a window that has fired still takes records, in event time.
        trigger: when windows fire; None: when they are complete.
        record_type: the type of the records, where it is known; field types then need no `type=`.
        results: makes of (key, window, result) the values to give out; None gives out the result.
        inline: write the inner loop out; False runs its plain twin.

    Raises:
        ValueError: a setting is wrong, or settings do not go together.
    """
    lateness_ms = duration_ms(allowed_lateness)
    if isinstance(assigner, TimeWindows):
        operator = CumulativeWindowOperator if isinstance(assigner, CumulativeWindows) else WindowOperator
        return operator(
            assigner,
            aggregates,
            allowed_lateness_ms=lateness_ms,
            trigger=trigger,
            record_type=record_type,
            results=results,
            inline=inline,
        )
    if isinstance(assigner, SessionWindows):
        return SessionOperator(
            assigner,
            aggregates,
            allowed_lateness_ms=lateness_ms,
            trigger=trigger,
            record_type=record_type,
            results=results,
            inline=inline,
        )
    if lateness_ms:
        raise ValueError(f"windows {assigner} never take a record as late: leave allowed_lateness out")
    if isinstance(assigner, CountWindows) and assigner.every is not None:
        return SlidingCountOperator(
            assigner, aggregates, trigger=trigger, record_type=record_type, results=results, inline=inline
        )
    return GlobalWindowOperator(
        assigner, aggregates, trigger=trigger, record_type=record_type, results=results, inline=inline
    )


def window_reduce(
    assigner: Assigner,
    function: Callable[[Any, Any], Any],
    *,
    type: Any = None,
    allowed_lateness: Duration = "0ms",
    trigger: Trigger | None = None,
    record_type: Any = None,
) -> AnyWindowOperator:
    """The operator that folds the values of a window into one by an associative function, which must not
    change its arguments. Results have `key`, `start_ms`, `end_ms` and `value`."""
    return window_aggregate(
        assigner,
        {"value": agg.reducing(function, type=type)},
        allowed_lateness=allowed_lateness,
        trigger=trigger,
        record_type=record_type,
    )


def window_fold(
    assigner: Assigner,
    initial: Any,
    function: Callable[[Any, Any], Any],
    *,
    merge: Callable[[Any, Any], Any] | None = None,
    type: Any = None,
    allowed_lateness: Duration = "0ms",
    trigger: Trigger | None = None,
) -> AnyWindowOperator:
    """The operator that folds the values of a window into a value of another type. `initial` is that value,
    or a callable that makes it; `merge` puts two folded values together, which sliding and session windows
    need. Results have `key`, `start_ms`, `end_ms` and `value`."""
    return window_aggregate(
        assigner,
        {"value": agg.folding(initial, function, merge, type=type)},
        allowed_lateness=allowed_lateness,
        trigger=trigger,
    )


def window_collect(
    assigner: Assigner,
    *,
    limit: int | None = None,
    type: Any = None,
    allowed_lateness: Duration = "0ms",
    trigger: Trigger | None = None,
    record_type: Any = None,
) -> AnyWindowOperator:
    """The operator that gives out the values of a window. Results have `key`, `start_ms`, `end_ms` and
    `values`."""
    return window_aggregate(
        assigner,
        {"values": agg.collect(None, limit, type=type)},
        allowed_lateness=allowed_lateness,
        trigger=trigger,
        record_type=record_type,
    )


def window_top_n(
    assigner: Assigner,
    n: int,
    by: str | Callable[[Any], Any],
    *,
    smallest: bool = False,
    type: Any = None,
    allowed_lateness: Duration = "0ms",
    trigger: Trigger | None = None,
    record_type: Any = None,
) -> AnyWindowOperator:
    """The operator that gives out the `n` records of a window that rank highest by a field or function, the highest
    first, or with `smallest` the lowest; of equal ranks those that came first. No more than these are kept in state.
    Results have `key`, `start_ms`, `end_ms` and `values`."""
    return window_aggregate(
        assigner,
        {"values": agg.top_n(n, by, smallest=smallest, type=type)},
        allowed_lateness=allowed_lateness,
        trigger=trigger,
        record_type=record_type,
    )


def window_process(
    assigner: Assigner,
    function: Callable[[Any, Window, list[Any]], Iterable[Any]],
    *,
    type: Any = None,
    allowed_lateness: Duration = "0ms",
    trigger: Trigger | None = None,
    record_type: Any = None,
) -> AnyWindowOperator:
    """The operator that gives out what `function(key, window, values)` returns, any number of results per
    window. All values of a window are kept in state until it fires."""
    return window_aggregate(
        assigner,
        {"values": agg.collect(type=type)},
        allowed_lateness=allowed_lateness,
        trigger=trigger,
        record_type=record_type,
        results=lambda key, window, result: function(key, window, result.values),
    )


def window_join(
    assigner: JoinWindows,
    *,
    left_type: Any,
    right_type: Any,
    how: How = "inner",
    select: Callable[[Any, Any], Any] | None = None,
    allowed_lateness: Duration = "0ms",
    on_error: OnError = "fail",
) -> WindowJoin[Any] | SessionJoin[Any]:
    """The operator that gives out the pairs of records of two streams in the same window. Arguments as `WindowJoin`.

    Raises:
        ValueError: a setting is wrong, or settings do not go together.
    """
    lateness_ms = duration_ms(allowed_lateness)
    if isinstance(assigner, TimeWindows) and not isinstance(assigner, CumulativeWindows):
        return WindowJoin(
            assigner,
            left_type=left_type,
            right_type=right_type,
            how=how,
            select=select,
            allowed_lateness_ms=lateness_ms,
            on_error=on_error,
        )
    if not isinstance(assigner, SessionWindows):
        raise ValueError(f"streams cannot be joined in windows {assigner}: use tumbling, sliding or session windows")
    return SessionJoin(
        assigner,
        left_type=left_type,
        right_type=right_type,
        how=how,
        select=select,
        allowed_lateness_ms=lateness_ms,
        on_error=on_error,
    )
