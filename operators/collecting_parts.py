"""The parts of accumulators that keep many values, or a summary of them."""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable
from typing import Any

from .parts import Part, Slot, storable
from .sample import sample_hash
from .sketches import hll_add, hll_merge, nan_last, quantile_add, quantile_merge


def list_part(type_: Any, limit: int | None) -> Part:
    """The values in the order in which they came, the first `limit` of them."""

    def add(slots: list[Any], value: Any, timestamp_ms: int) -> None:
        if type_ is None and not slots[0]:
            storable(value)
        if limit is None or len(slots[0]) < limit:
            slots[0].append(value)

    def merge(slots: list[Any], other: list[Any]) -> None:
        slots[0] += other[0]
        if limit is not None:
            del slots[0][limit:]

    check = ("if not $0:", "    storable($x)") if type_ is None else ()
    append = ("$0.append($x)",) if limit is None else (f"if len($0) < {limit}:", "    $0.append($x)")
    cut = () if limit is None else (f"del $0[{limit}:]",)
    return Part(
        kind="list",
        slots=(Slot("list", list[Any] if type_ is None else list[type_], "[]", "$0.copy()"),),
        empty=lambda: [[]],
        add=add,
        merge=merge,
        add_code=(*check, *append),
        merge_code=("$0 += $o0", *cut),
        functions={"storable": storable},
        options=(type_, limit),
    )


def set_part(type_: Any) -> Part:
    """The distinct values; None stands for NaN, which is not equal to itself."""

    def add(slots: list[Any], value: Any, timestamp_ms: int) -> None:
        if type_ is None and not slots[0]:
            storable(value)
        slots[0].add(value if value == value else None)  # noqa: PLR0124  # only NaN differs from itself

    check = ("if not $0:", "    storable($x)") if type_ is None else ()
    return Part(
        kind="set",
        slots=(Slot("set", set[Any] if type_ is None else set[type_ | None], "set()", "$0.copy()"),),
        empty=lambda: [set()],
        add=add,
        merge=_merge_sets,
        add_code=(*check, "$0.add($x if $x == $x else None)"),
        merge_code=("$0 |= $o0",),
        functions={"storable": storable},
        options=(type_,),
    )


def counts_part(type_: Any) -> Part:
    """How often each distinct value came; None stands for NaN."""

    def add(slots: list[Any], value: Any, timestamp_ms: int) -> None:
        if type_ is None and not slots[0]:
            storable(value)
        count_value(slots[0], value)

    def merge(slots: list[Any], other: list[Any]) -> None:
        quantile_merge(slots[0], other[0])

    check = ("if not $0:", "    storable($x)") if type_ is None else ()
    return Part(
        kind="counts",
        slots=(Slot("counts", dict[Any, int] if type_ is None else dict[type_ | None, int], "{}", "$0.copy()"),),
        empty=lambda: [{}],
        add=add,
        merge=merge,
        add_code=(*check, "count_value($0, $x)"),
        merge_code=("merge_counts($0, $o0)",),
        functions={"storable": storable, "count_value": count_value, "merge_counts": quantile_merge},
        options=(type_,),
    )


def registers_part() -> Part:
    """A HyperLogLog of the values."""

    def add(slots: list[Any], value: Any, timestamp_ms: int) -> None:
        hll_add(slots[0], slots[1], value)

    def merge(slots: list[Any], other: list[Any]) -> None:
        hll_merge(slots[0], slots[1], other[0], other[1])

    return Part(
        kind="registers",
        slots=(
            Slot("sparse", set[int], "set()", "$0.copy()"),
            Slot("registers", bytearray, "bytearray()", "$0.copy()"),
        ),
        empty=lambda: [set(), bytearray()],
        add=add,
        merge=merge,
        add_code=("hll_add($0, $1, $x)",),
        merge_code=("hll_merge($0, $1, $o0, $o1)",),
        functions={"hll_add": hll_add, "hll_merge": hll_merge},
    )


def buckets_part() -> Part:
    """A quantile sketch of the values."""

    def add(slots: list[Any], value: Any, timestamp_ms: int) -> None:
        quantile_add(slots[0], value)

    def merge(slots: list[Any], other: list[Any]) -> None:
        quantile_merge(slots[0], other[0])

    return Part(
        kind="buckets",
        slots=(Slot("buckets", dict[int, int], "{}", "$0.copy()"),),
        empty=lambda: [{}],
        add=add,
        merge=merge,
        add_code=("quantile_add($0, $x)",),
        merge_code=("merge_counts($0, $o0)",),
        functions={"quantile_add": quantile_add, "merge_counts": quantile_merge},
    )


def top_part(type_: Any, k: int) -> Part:
    """The `k` greatest values, ascending."""

    def add(slots: list[Any], value: Any, timestamp_ms: int) -> None:
        if type_ is None and not slots[0]:
            storable(value)
        insert_top(slots[0], value, k)

    def merge(slots: list[Any], other: list[Any]) -> None:
        for value in other[0]:
            insert_top(slots[0], value, k)

    check = ("if not $0:", "    storable($x)") if type_ is None else ()
    return Part(
        kind="top",
        slots=(Slot("top", list[Any] if type_ is None else list[type_], "[]", "$0.copy()"),),
        empty=lambda: [[]],
        add=add,
        merge=merge,
        add_code=(
            *check,
            f"if len($0) < {k} or not $x <= $0[0]:",
            f"    insert_top($0, $x, {k})",
        ),
        merge_code=("for new in $o0:", f"    insert_top($0, new, {k})"),
        functions={"storable": storable, "insert_top": insert_top},
        options=(type_, k),
    )


def ranked_part(rank: Callable[[Any], Any], n: int, type_: Any, *, smallest: bool) -> Part:
    """The `n` values of the highest rank, the highest first; of equal ranks those that came first."""

    def add(slots: list[Any], value: Any, timestamp_ms: int) -> None:
        if type_ is None and not slots[0]:
            storable(value)
        insert_ranked(slots[0], value, rank, n, smallest)

    def merge(slots: list[Any], other: list[Any]) -> None:
        for value in other[0]:
            insert_ranked(slots[0], value, rank, n, smallest)

    check = ("if not $0:", "    storable($x)") if type_ is None else ()
    return Part(
        kind="ranked",
        slots=(Slot("ranked", list[Any] if type_ is None else list[type_], "[]", "$0.copy()"),),
        empty=lambda: [[]],
        add=add,
        merge=merge,
        add_code=(*check, f"insert_ranked($0, $x, $p_rank, {n}, {smallest})"),
        merge_code=("for new in $o0:", f"    insert_ranked($0, new, $p_rank, {n}, {smallest})"),
        functions={"storable": storable, "insert_ranked": insert_ranked, "$p_rank": rank},
        options=(rank, n, type_, smallest),
    )


def sampled_part(type_: Any, n: int) -> Part:
    """The `n` values that a hash of value and timestamp puts first, each with its hash, in that order: a sample that
    is the same however the records come and are put together."""

    def add(slots: list[Any], value: Any, timestamp_ms: int) -> None:
        if type_ is None and not slots[0]:
            storable(value)
        insert_sampled(slots[0], (sample_hash((timestamp_ms, value)), value), n)

    def merge(slots: list[Any], other: list[Any]) -> None:
        for entry in other[0]:
            insert_sampled(slots[0], entry, n)

    check = ("if not $0:", "    storable($x)") if type_ is None else ()
    entries = list[tuple[int, Any]] if type_ is None else list[tuple[int, type_]]
    return Part(
        kind="sampled",
        slots=(Slot("sampled", entries, "[]", "$0.copy()"),),
        empty=lambda: [[]],
        add=add,
        merge=merge,
        add_code=(*check, f"insert_sampled($0, (sample_hash(($t, $x)), $x), {n})"),
        merge_code=("for new in $o0:", f"    insert_sampled($0, new, {n})"),
        functions={"storable": storable, "insert_sampled": insert_sampled, "sample_hash": sample_hash},
        options=(type_, n),
    )


def insert_ranked(best: list[Any], value: Any, rank: Callable[[Any], Any], n: int, smallest: bool) -> bool:
    """Keep a value among the `n` of the highest rank, the highest first, if it is one of them. A value without a
    rank (None) is none. Returns whether it is kept."""
    own = rank(value)
    if own is None:
        return False
    own = nan_last(own)
    place = len(best)
    if smallest:
        while place and nan_last(rank(best[place - 1])) > own:
            place -= 1
    else:
        while place and nan_last(rank(best[place - 1])) < own:
            place -= 1
    if place == n:
        return False
    best.insert(place, value)
    if len(best) > n:
        del best[n]
    return True


def insert_sampled(first: list[tuple[int, Any]], entry: tuple[int, Any], n: int) -> None:
    """Keep an entry among the `n` with the smallest hashes, ascending, if it is one of them."""
    if len(first) < n or entry[0] < first[-1][0]:
        insort(first, entry, key=_hash_of)
        if len(first) > n:
            del first[-1]


def _hash_of(entry: tuple[int, Any]) -> int:
    return entry[0]


def count_value(counts: dict[Any, int], value: Any) -> None:
    """Count a value; every NaN is counted under None."""
    if value != value:  # noqa: PLR0124  # only NaN differs from itself
        value = None
    counts[value] = counts.get(value, 0) + 1


def insert_top(ascending: list[Any], value: Any, k: int) -> None:
    """Keep a value among the `k` greatest, if it is one of them."""
    insort(ascending, value, key=nan_last)
    if len(ascending) > k:
        del ascending[0]


def _merge_sets(slots: list[Any], other: list[Any]) -> None:
    slots[0] |= other[0]
