"""Sketches: their error bounds, and that merging parts gives the sketch of the whole."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tidegate.operators import sketches


def counted(values: range) -> tuple[set[int], bytearray]:
    """A HyperLogLog of these values."""
    sparse: set[int] = set()
    registers = bytearray()
    for value in values:
        sketches.hll_add(sparse, registers, value)
    return sparse, registers


@pytest.mark.parametrize("n", [0, 1, 256, 257, 3_000, 12_000])
def test_distinct_counts_are_within_five_standard_errors(n: int) -> None:
    """Exact while the hashes are kept, 1.6 % standard error beyond; the hash is fixed, so this never varies."""
    estimate = sketches.hll_estimate(*counted(range(n)))
    assert estimate == n if n <= sketches.HLL_SPARSE_LIMIT else abs(estimate - n) <= 0.08 * n


@pytest.mark.parametrize(("first", "second"), [(100, 100), (100, 900), (900, 100), (900, 900), (200, 200)])
def test_merged_distinct_counts_are_those_of_the_whole(first: int, second: int) -> None:
    """Few or many in either part."""
    sparse, registers = counted(range(first))
    sketches.hll_merge(sparse, registers, *counted(range(first // 2, first // 2 + second)))
    assert (sparse, registers) == counted(range(max(first, first // 2 + second)))


def test_equal_values_have_equal_hashes() -> None:
    """As in a set: `True`, `1`, `1.0` are one value; so are the two zeros, and every NaN."""
    assert len({sketches.stable_hash(v) for v in (True, 1, 1.0)}) == 1
    assert sketches.stable_hash(0.0) == sketches.stable_hash(-0.0)
    assert sketches.stable_hash(math.nan) == sketches.stable_hash(-math.nan)
    assert sketches.stable_hash(2**70) == sketches.stable_hash(float(2**70))
    assert sketches.stable_hash("1") != sketches.stable_hash(1)


def test_hashes_are_the_same_in_every_process() -> None:
    """They are stored in checkpoints."""
    assert sketches.stable_hash("tidegate") == sketches.stable_hash("tide" + "gate")
    assert sketches.stable_hash(1) == 65369308820478381


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_comes_back_from_its_bucket_within_one_percent(value: float) -> None:
    """Over the whole range of doubles, of either sign."""
    buckets: dict[int, int] = {}
    sketches.quantile_add(buckets, value)
    estimate = sketches.quantile_estimate(buckets, 0.5)
    assert estimate is not None
    assert abs(estimate - value) <= sketches.QUANTILE_ACCURACY * abs(value) * (1 + 1e-9) + 5e-324


def test_buckets_are_in_the_order_of_what_they_hold() -> None:
    """Negative infinity first, NaN last."""
    ordered = [-math.inf, -1e308, -1.0, -1e-308, 0.0, 1e-308, 1.0, 1e308, math.inf, math.nan]
    buckets: dict[int, int] = {}
    for value in ordered:
        sketches.quantile_add(buckets, value)
    assert list(buckets) == sorted(buckets)
    assert sketches.quantile_estimate(buckets, 0) == -math.inf
    assert math.isnan(sketches.quantile_estimate(buckets, 1) or 0)


def test_quantiles_of_nothing_are_none() -> None:
    """There is no value to give."""
    assert sketches.quantile_estimate({}, 0.5) is None
    assert sketches.exact_quantile([], 0.5) is None


def test_exact_quantiles_interpolate() -> None:
    """Linearly between the two values next to the rank."""
    assert sketches.exact_quantile([4, 1, 3, 2], 0.5) == 2.5
    assert sketches.exact_quantile([1, 2, 3], 1) == 3
