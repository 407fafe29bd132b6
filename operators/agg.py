"""Aggregates: `count()`, `sum("delay")`, `mean(lambda f: f.delay)`…

The argument says what is aggregated: a field name, a callable, or nothing for the value itself. A field is
read as an attribute, or as an entry where records are dicts. None is not a value: every aggregate but
`count()` passes over it. NaN is a value: sums, means and variances with a NaN in them are NaN, and where
values are ordered (`min`, `max`, `quantile`, `top_k`) NaN is greater than every number; two NaN are not
distinct.

What an aggregate keeps is stored in checkpoints. Numbers, strings, booleans, bytes, and lists and dicts of
them, are stored as they are; for other values (`datetime`, `Decimal`, a struct) pass `type=`. Whole numbers
are stored in 64 bits.
"""

from __future__ import annotations

from collections.abc import Callable
from math import nan, sqrt
from typing import Any, TypeAlias, TypeVar

from .aggregate import Aggregate, list_type, optional_type, retyped
from .collecting_parts import (
    buckets_part,
    counts_part,
    list_part,
    ranked_part,
    registers_part,
    sampled_part,
    set_part,
    top_part,
)
from .fields import reader
from .parts import count_part, edge_part, extreme_part, moments_part, reduce_part, sum_part, user_part
from .sketches import exact_quantile, hll_estimate, quantile_estimate
from .sketches import most_common as _most_common

In = TypeVar("In")
Out = TypeVar("Out")
A = TypeVar("A")
V = TypeVar("V")

Field: TypeAlias = str | Callable[[In], V] | None
"""What to aggregate: a field's name, a callable, or None for the value itself."""


def count() -> Aggregate[Any, int]:
    """How many records."""
    return Aggregate("count", None, (count_part(every_record=True),), _itself, "$0", int)


def sum(f: Field[In, Any] = None, *, type: Any = None) -> Aggregate[In, Any]:
    """The sum, added up in the order of the records; 0 of nothing. `type` is needed for sums of `Decimal` and
    the like."""
    return Aggregate("sum", f, (sum_part(type),), _itself, "$0", int | float if type is None else type)


def min(f: Field[In, V] = None, *, type: Any = None) -> Aggregate[In, V | None]:
    """The smallest value; None of nothing."""
    return Aggregate(
        "min",
        f,
        (extreme_part(type, greatest=False),),
        _itself,
        "$0",
        optional_type(type),
        typed=retyped(type, lambda known: min(f, type=known)),
    )


def max(f: Field[In, V] = None, *, type: Any = None) -> Aggregate[In, V | None]:
    """The greatest value; None of nothing. NaN is greater than every number."""
    return Aggregate(
        "max",
        f,
        (extreme_part(type, greatest=True),),
        _itself,
        "$0",
        optional_type(type),
        typed=retyped(type, lambda known: max(f, type=known)),
    )


def mean(f: Field[In, Any] = None) -> Aggregate[In, float | None]:
    """Sum divided by count; None of nothing."""
    return Aggregate(
        "mean",
        f,
        (count_part(every_record=False), sum_part(None)),
        lambda n, total: total / n if n else None,
        "$1 / $0 if $0 else None",
        float | None,
    )


def variance(f: Field[In, Any] = None, *, ddof: int = 1) -> Aggregate[In, float | None]:
    """The variance of the sample, or with `ddof=0` of the population; None of `ddof` or fewer values."""
    return Aggregate(
        "variance",
        f,
        (moments_part(),),
        lambda n, _mean, squares: squares / (n - ddof) if n > ddof else None,
        f"$2 / ($0 - {ddof}) if $0 > {ddof} else None",
        float | None,
    )


def stddev(f: Field[In, Any] = None, *, ddof: int = 1) -> Aggregate[In, float | None]:
    """The standard deviation: the square root of `variance`."""
    return Aggregate(
        "stddev",
        f,
        (moments_part(),),
        lambda n, _mean, squares: sqrt(squares / (n - ddof)) if n > ddof else None,
        f"sqrt($2 / ($0 - {ddof})) if $0 > {ddof} else None",
        float | None,
        functions={"sqrt": sqrt},
    )


def first(f: Field[In, V] = None, *, type: Any = None) -> Aggregate[In, V | None]:
    """The value with the smallest timestamp, of equal ones the first that came; without event time the first
    that came."""
    return Aggregate(
        "first",
        f,
        (edge_part(type, newest=False),),
        _second,
        "$1",
        optional_type(type),
        typed=retyped(type, lambda known: first(f, type=known)),
    )


def last(f: Field[In, V] = None, *, type: Any = None) -> Aggregate[In, V | None]:
    """The value with the greatest timestamp, of equal ones the last that came; without event time the last
    that came."""
    return Aggregate(
        "last",
        f,
        (edge_part(type, newest=True),),
        _second,
        "$1",
        optional_type(type),
        typed=retyped(type, lambda known: last(f, type=known)),
    )


def collect(f: Field[In, V] = None, limit: int | None = None, *, type: Any = None) -> Aggregate[In, list[V]]:
    """All values, or the first `limit`, in the order in which they came (of sliding and session windows:
    pieces in order of time, within each in the order in which they came). All are kept in state."""
    if limit is not None and limit < 1:
        raise ValueError(f"collect(limit=…) must be at least 1, not {limit}")
    return Aggregate(
        "collect",
        f,
        (list_part(type, limit),),
        lambda values: values.copy(),
        "$0.copy()",
        list_type(type),
        typed=retyped(type, lambda known: collect(f, limit, type=known)),
    )


def count_distinct(f: Field[In, Any] = None, *, type: Any = None) -> Aggregate[In, int]:
    """How many distinct values, exactly. All distinct values are kept in state."""
    return Aggregate(
        "count_distinct",
        f,
        (set_part(type),),
        len,
        "len($0)",
        int,
        typed=retyped(type, lambda known: count_distinct(f, type=known)),
    )


def count_distinct_approx(f: Field[In, Any] = None) -> Aggregate[In, int]:
    """How many distinct values: exact up to 256, beyond with a standard error of 1.6 % in 4 KiB of state
    (HyperLogLog)."""
    return Aggregate(
        "count_distinct_approx",
        f,
        (registers_part(),),
        hll_estimate,
        "hll_estimate($0, $1)",
        int,
        functions={"hll_estimate": hll_estimate},
    )


def quantile(f: Field[In, Any], q: float) -> Aggregate[In, float | None]:
    """The value at rank `q * (n - 1)`, rounded down, within a relative error of 1 %; None of nothing.

    Kept as a sketch of some hundred counters (DDSketch: Masson, Rim, Lee, VLDB 2019).

    Raises:
        ValueError: `q` is not between 0 and 1.
    """
    _check_quantile(q)
    return Aggregate(
        "quantile",
        f,
        (buckets_part(),),
        lambda buckets: quantile_estimate(buckets, q),
        f"quantile_estimate($0, {q!r})",
        float | None,
        functions={"quantile_estimate": quantile_estimate},
    )


def quantile_exact(f: Field[In, Any], q: float) -> Aggregate[In, float | None]:
    """The exact quantile, by linear interpolation between the values next to rank `q * (n - 1)`; None of
    nothing. All values are kept in state.

    Raises:
        ValueError: `q` is not between 0 and 1.
    """
    _check_quantile(q)
    return Aggregate(
        "quantile_exact",
        f,
        (list_part(int | float, None),),
        lambda values: exact_quantile(values, q),
        f"exact_quantile($0, {q!r})",
        float | None,
        functions={"exact_quantile": exact_quantile},
    )


def top_k(f: Field[In, V], k: int, *, type: Any = None) -> Aggregate[In, list[V]]:
    """The `k` greatest values, the greatest first.

    Raises:
        ValueError: `k` is less than 1.
    """
    _check_k(k)
    return Aggregate(
        "top_k",
        f,
        (top_part(type, k),),
        lambda ascending: ascending[::-1],
        "$0[::-1]",
        list_type(type),
        typed=retyped(type, lambda known: top_k(f, k, type=known)),
    )


def top_n(n: int, by: Field[In, Any], *, smallest: bool = False, type: Any = None) -> Aggregate[In, list[In]]:
    """The `n` records that rank highest by a field or function, the highest first, or with `smallest` those that rank
    lowest, the lowest first; of equal ranks those that came first. NaN ranks above every number; a record whose rank
    is None is left out.

    Raises:
        ValueError: `n` is less than 1.
    """
    if n < 1:
        raise ValueError(f"top_n keeps at least 1 record, not {n}")
    return Aggregate(
        "top_n",
        None,
        (ranked_part(reader(by), n, type, smallest=smallest),),
        lambda best: best.copy(),
        "$0.copy()",
        list_type(type),
        typed=retyped(type, lambda known: top_n(n, by, smallest=smallest, type=known)),
    )


def sample(f: Field[In, V], n: int, *, type: Any = None) -> Aggregate[In, list[V]]:
    """`n` values picked at random, each with the same chance: those whose hash, of value and timestamp, comes first.
    So a replay picks the same, and equal values of one time stand and fall together.

    Raises:
        ValueError: `n` is less than 1.
    """
    if n < 1:
        raise ValueError(f"sample picks at least 1 value, not {n}")
    return Aggregate(
        "sample",
        f,
        (sampled_part(type, n),),
        lambda entries: [value for _, value in entries],
        "[value for _, value in $0]",
        list_type(type),
        typed=retyped(type, lambda known: sample(f, n, type=known)),
    )


def most_common(f: Field[In, V], k: int, *, type: Any = None) -> Aggregate[In, list[tuple[V, int]]]:
    """The `k` values that came most often, each with its count. All distinct values are kept in state.

    Raises:
        ValueError: `k` is less than 1.
    """
    _check_k(k)

    def finish(counts: dict[Any, int]) -> list[tuple[Any, int]]:
        return [(nan if value is None else value, n) for value, n in _most_common(counts, k)]

    return Aggregate(
        "most_common",
        f,
        (counts_part(type),),
        finish,
        f"most_common_{k}($0)",
        list[tuple[Any if type is None else type, int]],  # type: ignore[misc]  # the type is a value here
        functions={f"most_common_{k}": finish},
        typed=retyped(type, lambda known: most_common(f, k, type=known)),
    )


def custom(
    init: Callable[[], A],
    add: Callable[[A, Any], A],
    merge: Callable[[A, A], A],
    result: Callable[[A], Out],
    *,
    field: Field[In, Any] = None,
    type: Any = None,
    result_type: Any = Any,
) -> Aggregate[In, Out]:
    """An aggregate of your own.

    Args:
        init: makes an empty accumulator.
        add: takes a value in and returns the accumulator, the same one changed or a new one.
        merge: takes a second accumulator in and returns the first, changed or new. The second must stay as it
            is.
        result: the result; it must not be changed by a later `add`.
        field: what is given to `add`: a field's name, a callable, or None for the value itself.
        type: the type of the accumulator, for storing it; without it only numbers, strings, lists and dicts
            of them.
        result_type: the type of the result.
    """
    return Aggregate(
        "custom",
        field,
        (user_part(init, add, merge, type),),
        result,
        "$p_result($0)",
        result_type,
        functions={"$p_result": result},
    )


def reducing(function: Callable[[In, In], In], *, type: Any = None) -> Aggregate[In, In | None]:
    """All values folded into one by an associative function, which must not change its arguments; None of
    nothing."""
    return Aggregate(
        "reduce",
        None,
        (reduce_part(function, type),),
        _itself,
        "$0",
        optional_type(type),
        typed=retyped(type, lambda known: reducing(function, type=known)),
    )


def folding(
    initial: A | Callable[[], A],
    function: Callable[[A, Any], A],
    merge: Callable[[A, A], A] | None = None,
    *,
    type: Any = None,
) -> Aggregate[Any, A]:
    """`function(so_far, value)` over all values, from `initial`, a value or a callable that makes one. The
    function must not change its first argument. `merge` puts two folded values together; without it only
    tumbling, count and global windows can use it."""

    def init() -> A:
        return initial() if callable(initial) else initial

    def cannot_merge(acc: A, other: A) -> A:
        raise TypeError("fold was given no merge=")

    return Aggregate(
        "fold",
        None,
        (user_part(init, function, merge or cannot_merge, type),),
        _itself,
        "$0",
        Any if type is None else type,
        mergeable=merge is not None,
    )


def _itself(slot: Any) -> Any:
    return slot


def _second(_first: Any, second: Any) -> Any:
    return second


def _check_quantile(q: float) -> None:
    if not 0 <= q <= 1:
        raise ValueError(f"a quantile lies between 0 and 1, not at {q}")


def _check_k(k: int) -> None:
    if k < 1:
        raise ValueError(f"k must be at least 1, not {k}")
