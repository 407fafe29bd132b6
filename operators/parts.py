"""The parts that accumulators are made of.

A part is a mergeable piece of an accumulator: a sum, a count, the state of Welford's method. It says the same
thing twice: as functions over a list of slots, for people and as the oracle, and as lines of source, for the
generated loops. In the source `$x` is the value, `$t` the record's timestamp, `$0`, `$1` the slots, `$o0`,
`$o1` those of the accumulator merged in, and `$p` begins the names of the part's own functions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

_STORABLE = frozenset({type(None), bool, int, float, str, bytes, list, dict})


@dataclass(frozen=True)
class Slot:
    """One field of an accumulator.

    Attributes:
        name: what it holds, unique in its part.
        type: the type it is stored as.
        empty: source of its value before any record.
        copy: source of an independent copy of `$0`.
    """

    name: str
    type: Any
    empty: str
    copy: str = "$0"


@dataclass(frozen=True)
class Part:
    """A mergeable piece of an accumulator; see the module.

    Attributes:
        kind: what it computes.
        slots: where it keeps it.
        empty: the slots before any value.
        add: take in a value with its timestamp.
        merge: take in the slots of a later part of the same records.
        add_code, merge_code: the same as lines of source.
        functions: what the source calls, besides builtins.
        options: what two parts of one kind and field must have in common to be the same part.
        every_record: whether records without a value count as well.
        subtract: undo a merge of the slots of another part, exactly; None where that cannot be done.
        subtract_code: the same as lines of source.
        subtracts_integers: whether that is exact where all values are integers, and not otherwise.
    """

    kind: str
    slots: tuple[Slot, ...]
    empty: Callable[[], list[Any]]
    add: Callable[[list[Any], Any, int], None]
    merge: Callable[[list[Any], list[Any]], None]
    add_code: tuple[str, ...]
    merge_code: tuple[str, ...]
    functions: Mapping[str, Any] = field(default_factory=dict)
    options: tuple[Any, ...] = ()
    every_record: bool = False
    subtract: Callable[[list[Any], list[Any]], None] | None = None
    subtract_code: tuple[str, ...] = ()
    subtracts_integers: bool = False


def storable(value: Any) -> Any:
    """The value, which an accumulator without a declared type may keep.

    Raises:
        TypeError: stored without its type it would come back as something else; says what to do.
    """
    if type(value) not in _STORABLE:
        name = type(value).__name__
        raise TypeError(f"an aggregate keeps values of type {name}: pass type={name} so that they can be stored")
    return value


def count_part(*, every_record: bool) -> Part:
    """How many records, or how many values that are not None."""

    def add(slots: list[Any], value: Any, timestamp_ms: int) -> None:
        slots[0] += 1

    return Part(
        kind="records" if every_record else "count",
        slots=(Slot("count", int, "0"),),
        empty=lambda: [0],
        add=add,
        merge=_merge_sums,
        add_code=("$0 += 1",),
        merge_code=("$0 += $o0",),
        every_record=every_record,
        subtract=_subtract_sums,
        subtract_code=("$0 -= $o0",),
    )


def sum_part(type_: Any) -> Part:
    """The sum, added up in the order of the records."""
    zero = int if type_ is None else type_

    def add(slots: list[Any], value: Any, timestamp_ms: int) -> None:
        slots[0] += value

    return Part(
        kind="sum",
        slots=(Slot("sum", int | float if type_ is None else type_, "0" if type_ is None else "$p_zero()"),),
        empty=lambda: [zero()],
        add=add,
        merge=_merge_sums,
        add_code=("$0 += $x",),
        merge_code=("$0 += $o0",),
        functions={} if type_ is None else {"$p_zero": type_},
        options=(type_,),
        # A sum of floats depends on what was added in between.
        subtract=_subtract_sums if type_ in (None, int) else None,
        subtract_code=("$0 -= $o0",),
        subtracts_integers=type_ is None,
    )


def extreme_part(type_: Any, *, greatest: bool) -> Part:
    """The smallest or the greatest value. NaN is greater than every number."""

    def replaces(value: Any, held: Any) -> bool:
        if greatest:
            return bool(not value <= held and held == held)  # noqa: PLR0124  # only NaN differs from itself
        return bool(not value >= held and value == value)  # noqa: PLR0124  # only NaN differs from itself

    def add(slots: list[Any], value: Any, timestamp_ms: int) -> None:
        if slots[0] is None:
            slots[0] = storable(value) if type_ is None else value
        elif replaces(value, slots[0]):
            slots[0] = value

    def merge(slots: list[Any], other: list[Any]) -> None:
        if other[0] is not None and (slots[0] is None or replaces(other[0], slots[0])):
            slots[0] = other[0]

    def test(value: str) -> str:
        return f"not {value} <= old and old == old" if greatest else f"not {value} >= old and {value} == {value}"

    return Part(
        kind="max" if greatest else "min",
        slots=(Slot("max" if greatest else "min", _optional(type_), "None"),),
        empty=lambda: [None],
        add=add,
        merge=merge,
        add_code=(
            "old = $0",
            "if old is None:",
            f"    $0 = {_kept(type_)}",
            f"elif {test('$x')}:",
            "    $0 = $x",
        ),
        merge_code=(
            "old = $0",
            "new = $o0",
            f"if new is not None and (old is None or {test('new')}):",
            "    $0 = new",
        ),
        functions={"storable": storable},
        options=(type_,),
    )


def moments_part() -> Part:
    """Count, mean and sum of squared deviations, by Welford's method; merged by the formula of Chan, Golub,
    LeVeque."""

    def add(slots: list[Any], value: Any, timestamp_ms: int) -> None:
        slots[0] += 1
        delta = value - slots[1]
        slots[1] += delta / slots[0]
        slots[2] += delta * (value - slots[1])

    def merge(slots: list[Any], other: list[Any]) -> None:
        if other[0]:
            n = slots[0] + other[0]
            delta = other[1] - slots[1]
            slots[2] += other[2] + delta * delta * slots[0] * other[0] / n
            slots[1] += delta * other[0] / n
            slots[0] = n

    return Part(
        kind="moments",
        slots=(Slot("count", int, "0"), Slot("mean", float, "0.0"), Slot("squares", float, "0.0")),
        empty=lambda: [0, 0.0, 0.0],
        add=add,
        merge=merge,
        add_code=(
            "$0 += 1",
            "delta = $x - $1",
            "$1 += delta / $0",
            "$2 += delta * ($x - $1)",
        ),
        merge_code=(
            "if $o0:",
            "    n = $0 + $o0",
            "    delta = $o1 - $1",
            "    $2 += $o2 + delta * delta * $0 * $o0 / n",
            "    $1 += delta * $o0 / n",
            "    $0 = n",
        ),
    )


def edge_part(type_: Any, *, newest: bool) -> Part:
    """The value with the smallest or the greatest timestamp; of equal timestamps the one that came first, or
    last."""

    def replaces(timestamp_ms: int, held: int) -> bool:
        return timestamp_ms >= held if newest else timestamp_ms < held

    def add(slots: list[Any], value: Any, timestamp_ms: int) -> None:
        if slots[0] is None:
            slots[:] = [timestamp_ms, storable(value) if type_ is None else value]
        elif replaces(timestamp_ms, slots[0]):
            slots[:] = [timestamp_ms, value]

    def merge(slots: list[Any], other: list[Any]) -> None:
        if other[0] is not None and (slots[0] is None or replaces(other[0], slots[0])):
            slots[:] = other

    compare = ">=" if newest else "<"
    return Part(
        kind="last" if newest else "first",
        slots=(Slot("time", int | None, "None"), Slot("value", _optional(type_), "None")),
        empty=lambda: [None, None],
        add=add,
        merge=merge,
        add_code=(
            "old = $0",
            "if old is None:",
            "    $0 = $t",
            f"    $1 = {_kept(type_)}",
            f"elif $t {compare} old:",
            "    $0 = $t",
            "    $1 = $x",
        ),
        merge_code=(
            "old = $0",
            "new = $o0",
            f"if new is not None and (old is None or new {compare} old):",
            "    $0 = new",
            "    $1 = $o1",
        ),
        functions={"storable": storable},
        options=(type_,),
    )


def user_part(
    init: Callable[[], Any],
    add: Callable[[Any, Any], Any],
    merge: Callable[[Any, Any], Any],
    type_: Any,
) -> Part:
    """What a user's functions make of the values."""

    def add_slot(slots: list[Any], value: Any, timestamp_ms: int) -> None:
        slots[0] = add(slots[0], value)

    def merge_slot(slots: list[Any], other: list[Any]) -> None:
        slots[0] = merge(slots[0], other[0])

    return Part(
        kind="user",
        slots=(Slot("state", Any if type_ is None else type_, "$p_init()", "$p_merge($p_init(), $0)"),),
        empty=lambda: [init()],
        add=add_slot,
        merge=merge_slot,
        add_code=("$0 = $p_add($0, $x)",),
        merge_code=("$0 = $p_merge($0, $o0)",),
        functions={"$p_init": init, "$p_add": add, "$p_merge": merge},
        options=(init, add, merge, type_),
    )


def reduce_part(function: Callable[[Any, Any], Any], type_: Any) -> Part:
    """The values folded into one by a user's function; None before the first."""

    def add(slots: list[Any], value: Any, timestamp_ms: int) -> None:
        if slots[0] is None:
            slots[0] = storable(value) if type_ is None else value
        else:
            slots[0] = function(slots[0], value)

    def merge(slots: list[Any], other: list[Any]) -> None:
        if other[0] is not None:
            slots[0] = other[0] if slots[0] is None else function(slots[0], other[0])

    return Part(
        kind="reduce",
        slots=(Slot("value", _optional(type_), "None"),),
        empty=lambda: [None],
        add=add,
        merge=merge,
        add_code=(
            "old = $0",
            f"$0 = {_kept(type_)} if old is None else $p_reduce(old, $x)",
        ),
        merge_code=(
            "new = $o0",
            "if new is not None:",
            "    old = $0",
            "    $0 = new if old is None else $p_reduce(old, new)",
        ),
        functions={"storable": storable, "$p_reduce": function},
        options=(function, type_),
    )


def _merge_sums(slots: list[Any], other: list[Any]) -> None:
    slots[0] += other[0]


def _subtract_sums(slots: list[Any], other: list[Any]) -> None:
    slots[0] -= other[0]


def _optional(type_: Any) -> Any:
    return Any if type_ is None else type_ | None


def _kept(type_: Any) -> str:
    return "storable($x)" if type_ is None else "$x"
