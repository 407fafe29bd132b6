"""Sums from which what was added can be taken away again."""

from fractions import Fraction
from math import inf, isnan, nan

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from tidegate.operators.exact_sum import ExactSum

NUMBERS = st.one_of(st.integers(-(2**62), 2**62), st.floats(-1e300, 1e300), st.floats(-1, 1))


@settings(max_examples=100, deadline=None)
@given(st.lists(NUMBERS, max_size=12), st.lists(NUMBERS, max_size=12))
def test_what_is_taken_away_leaves_no_trace(kept: list[int | float], passing: list[int | float]) -> None:
    """The sum of what is left is rounded once, whatever came and went."""
    total = ExactSum()
    for number in [*passing, *kept]:
        total.add(number)
    for number in passing:
        total.remove(number)
    assert total.exactly() == sum(map(Fraction, kept), Fraction(0))
    if any(isinstance(number, float) for number in kept):
        assert total.value() == float(sum(map(Fraction, kept), Fraction(0)))
    else:
        assert (total.value(), type(total.value())) == (sum(kept), int)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(total), type=ExactSum) == total


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.one_of(st.integers(-(2**40), 2**40), st.floats(-1e140, 1e140)), max_size=8), st.floats(-1e140, 1e140)
)
def test_squares_are_exact(kept: list[int | float], passing: float) -> None:
    """As long as the square of a float has no bits below the smallest float."""
    kept = [number for number in kept if not 0 < abs(number) < 1e-140]
    passing = 0.0 if abs(passing) < 1e-140 else passing
    total = ExactSum()
    for number in [passing, *kept]:
        total.add_square(number)
    total.add_square(passing, -1)
    assert total.exactly() == sum((Fraction(number) ** 2 for number in kept), Fraction(0))


def test_what_is_no_number_goes_as_it_came() -> None:
    """NaN and infinities do not stay behind."""
    total = ExactSum()
    total.add(1.5)
    total.add(inf)
    assert total.value() == inf
    total.add(-inf)
    assert isnan(total.value())
    total.remove(inf)
    assert total.value() == -inf
    total.add(nan)
    total.remove(-inf)
    assert isnan(total.value())
    total.remove(nan)
    assert total.value() == 1.5
