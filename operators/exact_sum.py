"""Sums from which what was added can be taken away again, without a trace."""

from __future__ import annotations

from fractions import Fraction
from math import fsum, inf
from typing import Any, Final

import msgspec

_SPLITTER: Final = 2.0**27 + 1
_SQUARE_LIMIT: Final = 2.0**500


class ExactSum(msgspec.Struct, array_like=True):
    """A sum of numbers, whole and floating, without any rounding until it is asked for.

    Floats are held as a sum of floats that do not overlap (Shewchuk, 1997), usually one to three of them. NaN and
    infinities are counted apart, so that they go when they are taken away.

    Attributes:
        whole: the sum of the whole numbers.
        floats: how many floats are in the sum; a sum of whole numbers only is a whole number.
        parts: the floats that do not overlap, the smallest first.
        nans, ups, downs: how many NaN, infinities, and negative infinities.
    """

    whole: int = 0
    floats: int = 0
    parts: list[float] = []
    nans: int = 0
    ups: int = 0
    downs: int = 0

    def add(self, value: Any) -> None:
        """Add a number."""
        if isinstance(value, float):
            self.floats += 1
            self._put(value, 1)
        else:
            self.whole += value

    def remove(self, value: Any) -> None:
        """Take a number away that was added."""
        if isinstance(value, float):
            self.floats -= 1
            self._put(value, -1)
        else:
            self.whole -= value

    def add_square(self, value: Any, sign: int = 1) -> None:
        """Add the square of a number, or with `sign=-1` take it away; without rounding for floats up to 2**500."""
        if not isinstance(value, float):
            self.whole += sign * value * value
            return
        self.floats += sign
        if not -_SQUARE_LIMIT < value < _SQUARE_LIMIT:
            self._put(value * value, sign)
            return
        square = value * value
        scaled = _SPLITTER * value
        high = scaled - (scaled - value)
        low = value - high
        self._put(square, sign)
        self._put(((high * high - square) + 2 * high * low) + low * low, sign)

    def value(self) -> int | float:
        """The sum, rounded once."""
        if not self.floats:
            return self.whole
        special = self._special()
        if special is not None:
            return special
        high = float(self.whole)
        return fsum([*self.parts, high, float(self.whole - int(high))])

    def exactly(self) -> Fraction | float:
        """The sum as a fraction; NaN or an infinity where it is none."""
        special = self._special()
        if special is not None:
            return special
        return sum(map(Fraction, self.parts), Fraction(self.whole))

    def _special(self) -> float | None:
        if self.nans or (self.ups and self.downs):
            return inf - inf
        if self.ups:
            return inf
        return -inf if self.downs else None

    def _put(self, value: float, sign: int) -> None:
        if value != value:  # noqa: PLR0124  # only NaN differs from itself
            self.nans += sign
        elif value == inf:
            self.ups += sign
        elif value == -inf:
            self.downs += sign
        else:
            _grow(self.parts, sign * value)


def _grow(parts: list[float], value: float) -> None:
    """Add a float to a sum of floats that do not overlap."""
    kept = 0
    for part in parts:
        large, small = (value, part) if abs(value) >= abs(part) else (part, value)
        total = large + small
        lost = small - (total - large)
        if lost:
            parts[kept] = lost
            kept += 1
        value = total
    parts[kept:] = [value] if value else []
