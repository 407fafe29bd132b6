"""Quantiles of durations."""

import math

from hypothesis import given
from hypothesis import strategies as st
from tidegate.engine.metrics.histogram import BOUNDS, Histogram

durations = st.lists(st.tuples(st.floats(0, 2000), st.integers(1, 50)), min_size=1, max_size=40)


@given(durations, st.floats(0, 1))
def test_a_quantile_is_no_further_off_than_its_bucket(added: list[tuple[float, int]], q: float) -> None:
    """Compared with the sorted durations themselves."""
    histogram = Histogram()
    for seconds, n in added:
        histogram.add(seconds, n)
    everything = sorted(seconds for seconds, n in added for _ in range(n))
    exact = everything[max(math.ceil(q * len(everything)) - 1, 0)]
    found = histogram.quantile(q)
    assert found is not None
    assert everything[0] <= found <= everything[-1]
    if 0.001 < exact <= BOUNDS[-1]:
        assert exact / 1.2 <= found <= exact * 1.2
    assert len(histogram) == len(everything)


def test_an_empty_histogram_has_no_quantiles() -> None:
    """Nothing is not zero."""
    assert Histogram().quantile(0.5) is None
    assert Histogram().snapshot()["least_s"] is None


def test_what_clocks_put_below_zero_counts_as_zero() -> None:
    """Durations are never negative."""
    histogram = Histogram()
    histogram.add(-0.5)
    assert (histogram.sum_s, histogram.quantile(1.0)) == (0.0, 0.0)


def test_the_buckets_reach_from_a_millisecond_to_ten_minutes() -> None:
    """Longer durations fall into the last, open bucket and keep their maximum."""
    histogram = Histogram()
    histogram.add(5000.0)
    assert BOUNDS[0] == 0.001
    assert 600 < BOUNDS[-1] < 720
    assert histogram.counts[-1] == 1
    assert histogram.quantile(0.99) == 5000.0
