"""What each aggregate computes, against a naive computation over the list of values."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tidegate.operators import agg
from tidegate.operators.aggregate import Aggregate
from tidegate.operators.codegen import Code
from tidegate.operators.layout import Layout
from tidegate.operators.sketches import exact_quantile

Parts = list[list[Any]]
"""A list of values, cut into parts that are aggregated apart and merged."""

NAN = math.nan


def run(aggregate: Aggregate[Any, Any], parts: Parts, *, inline: bool = True) -> Any:
    """The result of an aggregate in a generated or a plain operator: parts merged in order, each stored and read
    back."""
    layout = Layout({"result": aggregate})
    code = Code(layout, "", inline=inline)
    whole = code["new"]()
    time = 0
    for values in parts:
        acc = code["new"]()
        for value in values:
            code["add"](acc, value, time)
            time += 1
        stored = msgspec.msgpack.encode(code["copy"](acc))
        code["merge"](whole, msgspec.msgpack.decode(stored, type=layout.accumulator))
    return code["result"](whole, "key").result


def by_hand(aggregate: Aggregate[Any, Any], parts: Parts) -> Any:
    """The result by the aggregate's own functions."""
    whole, time = aggregate.init(), 0
    for values in parts:
        slots = aggregate.init()
        for value in values:
            aggregate.add(slots, value, time)
            time += 1
        aggregate.merge(whole, slots)
    return aggregate.result(whole)


def flat(parts: Parts) -> list[Any]:
    """The values that are not None."""
    return [value for values in parts for value in values if value is not None]


def greatest_last(values: list[Any]) -> list[Any]:
    """Ascending, NaN at the end."""
    return sorted(values, key=lambda v: (is_nan(v), 0 if is_nan(v) else v))


def is_nan(value: Any) -> bool:
    """Whether it is NaN."""
    return isinstance(value, float) and math.isnan(value)


def distinct(values: list[Any]) -> int:
    """How many distinct values, all NaN being one."""
    return len({None if is_nan(value) else value for value in values})


def same(one: Any, other: Any) -> bool:
    """Equal, floats within rounding, NaN equal to NaN."""
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, float) and isinstance(other, (int, float)):
        return (is_nan(one) and is_nan(other)) or math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-9)
    return bool(one == other) or (is_nan(one) and is_nan(other))


INTS = st.one_of(st.none(), st.integers(-50, 50))
FLOATS = st.one_of(st.none(), st.sampled_from([NAN, 0.0, -0.0, 1.5]), st.floats(-1e6, 1e6))
CASES: dict[str, tuple[Aggregate[Any, Any], Callable[[list[Any]], Any]]] = {
    "sum": (agg.sum(), sum),
    "min": (agg.min(), lambda v: greatest_last(v)[0] if v else None),
    "max": (agg.max(), lambda v: greatest_last(v)[-1] if v else None),
    "mean": (agg.mean(), lambda v: sum(v) / len(v) if v else None),
    "first": (agg.first(), lambda v: v[0] if v else None),
    "last": (agg.last(), lambda v: v[-1] if v else None),
    "collect": (agg.collect(), list),
    "collect_3": (agg.collect(limit=3), lambda v: v[:3]),
    "top_3": (agg.top_k(None, 3), lambda v: greatest_last(v)[::-1][:3]),
    "best_3": (agg.top_n(3, lambda v: v), lambda v: greatest_last(v)[::-1][:3]),
    "least_3": (agg.top_n(3, lambda v: v, smallest=True), lambda v: greatest_last(v)[:3]),
    "median": (agg.quantile_exact(None, 0.5), lambda v: exact_quantile(v, 0.5)),
    "custom": (agg.custom(lambda: 1, lambda a, v: a + 1, lambda a, b: a + b - 1, lambda a: a - 1), len),
    "reducing": (agg.reducing(lambda a, b: a + b), lambda v: sum(v[1:], v[0]) if v else None),
    "folding": (agg.folding(0, lambda a, v: a + 1, lambda a, b: a + b), len),
    "distinct": (agg.count_distinct(), distinct),
    "approx": (agg.count_distinct_approx(), distinct),
}


@pytest.mark.parametrize("name", CASES)
@settings(max_examples=60, deadline=None)
@given(st.one_of(st.lists(st.lists(INTS, max_size=8), max_size=4), st.lists(st.lists(FLOATS, max_size=8), max_size=4)))
def test_every_aggregate_agrees_with_a_naive_computation(name: str, parts: Parts) -> None:
    """Generated, plain and by hand: the same, whatever is None or NaN and however the values are cut into parts."""
    aggregate, naive = CASES[name]
    wanted = naive(flat(parts))
    for result in (run(aggregate, parts), run(aggregate, parts, inline=False), by_hand(aggregate, parts)):
        assert same(result, wanted)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(INTS, max_size=8), max_size=4))
def test_variance_and_stddev_agree_with_the_statistics_module(parts: Parts) -> None:
    """Sample variance; None of fewer than two values; the population's with `ddof=0`."""
    values = flat(parts)
    sample = statistics.variance(values) if len(values) > 1 else None
    assert same(run(agg.variance(), parts), sample if sample is None else float(sample))
    assert same(run(agg.stddev(), parts), None if sample is None else math.sqrt(sample))
    population = statistics.pvariance(values) if values else None
    assert same(run(agg.variance(ddof=0), parts), population if population is None else float(population))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(INTS, max_size=8), max_size=4))
def test_most_common_counts_values(parts: Parts) -> None:
    """The counts are exact, and in descending order."""
    result = run(agg.most_common(None, 3), parts)
    counts = Counter(flat(parts))
    assert [n for _, n in result] == [n for _, n in counts.most_common(3)]
    assert all(counts[value] == n for value, n in result)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(-1e300, 1e300), min_size=1, max_size=60), st.sampled_from([0, 0.25, 0.5, 0.95, 1]))
def test_a_sketched_quantile_is_within_one_percent(values: list[float], q: float) -> None:
    """The value at rank `q * (n - 1)`, rounded down, with a relative error of at most 1 %."""
    wanted = sorted(values)[int(q * (len(values) - 1))]
    result = run(agg.quantile(None, q), [values[:20], values[20:]])
    assert abs(result - wanted) <= 0.01 * abs(wanted) * (1 + 1e-9) + 5e-324


def test_count_counts_records_without_a_value_too() -> None:
    """As in SQL, `count()` is the only aggregate that sees None."""
    assert run(agg.count(), [[1, None, 2]]) == 3
    assert run(agg.mean(), [[1, None, 2]]) == 1.5


def test_nan_is_greater_than_every_number() -> None:
    """As in PostgreSQL and DuckDB; where values are added up NaN goes through."""
    for order in ([1.0, NAN, 2.0], [NAN, 1.0, 2.0], [1.0, 2.0, NAN]):
        assert run(agg.min(), [order]) == 1.0
        assert math.isnan(run(agg.max(), [order]))
        assert math.isnan(run(agg.sum(), [order]))
        assert run(agg.count_distinct(), [order, order]) == 3
        assert math.isnan(run(agg.quantile(None, 1), [order]))


def test_a_type_that_cannot_be_stored_asks_for_its_declaration() -> None:
    """Without its type a `Decimal` would come back from a checkpoint as a string."""
    with pytest.raises(TypeError, match="type=Decimal"):
        run(agg.max(), [[Decimal(1)]])
    assert run(agg.max(type=Decimal), [[Decimal(1), Decimal(2)]]) == Decimal(2)
    assert run(agg.sum(type=Decimal), [[Decimal("0.1"), Decimal("0.2")]]) == Decimal("0.3")
    assert run(agg.count_distinct(type=Decimal), [[Decimal("0.1"), Decimal("0.1")]]) == 1


@pytest.mark.parametrize(
    "make",
    [
        lambda: agg.quantile("v", 1.5),
        lambda: agg.quantile_exact("v", -0.1),
        lambda: agg.top_k("v", 0),
        lambda: agg.most_common("v", 0),
        lambda: agg.top_n(0, "v"),
        lambda: agg.sample("v", 0),
        lambda: agg.collect("v", limit=0),
    ],
)
def test_settings_out_of_range_are_refused(make: Callable[[], Any]) -> None:
    """A wrong setting is found when the topology is written."""
    with pytest.raises(ValueError):
        make()


@given(st.lists(st.lists(st.integers(-9, 9))), st.integers(-3, 3))
def test_an_aggregate_with_conditions_is_that_of_the_records_for_which_they_hold(parts: Parts, least: int) -> None:
    """Generated and plain; a second condition narrows the first."""
    at_least, even = (lambda x: x >= least), (lambda x: x % 2 == 0)
    kept = [[x for x in values if at_least(x) and even(x)] for values in parts]
    for make in (agg.count, agg.sum, agg.max, agg.mean, agg.count_distinct, lambda: agg.collect(limit=2), agg.last):
        for inline in (True, False):
            # The plain `last` looks at times, which run on over the records left out.
            conditional = run(make().where(at_least).where(even), parts, inline=inline)
            assert conditional == run(make(), kept, inline=inline)


def test_a_condition_stays_when_the_type_becomes_known() -> None:
    """An aggregate of typed records is made anew for their type."""

    class Timed(msgspec.Struct):
        at: Decimal

    layout = Layout({"result": agg.max("at").where(lambda record: record.at < 5)}, record_type=Timed)
    code = Code(layout, "")
    acc = code["new"]()
    for at in (3, 7):
        code["add"](acc, Timed(Decimal(at)), 0)
    assert msgspec.json.decode(msgspec.json.encode(acc), type=layout.accumulator).result == Decimal(3)
