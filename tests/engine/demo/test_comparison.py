"""Two sets of rows are equal when they hold the same rows, each as often."""

from __future__ import annotations

import polars as pl
from tidegate.engine.demo.comparison import compare_rows

ROWS = pl.DataFrame({"key": ["JFK", "LGA", None], "flights": [3, 1, 2], "mean": [0.5, None, 1.0]})


def test_equal_rows_in_another_order_are_equal():
    """Order means nothing; an absent value equals an absent value."""
    result = compare_rows("rows", ROWS.reverse(), ROWS)
    assert result.equal
    assert (result.rows, result.expected_rows) == (3, 3)


def test_a_row_that_was_written_twice_differs():
    """Exactly once means once."""
    result = compare_rows("rows", pl.concat([ROWS, ROWS.head(1)]), ROWS)
    assert not result.equal
    assert (result.rows, result.missing, result.unexpected) == (4, 1, 1)


def test_a_row_that_was_not_written_is_missing():
    """A lost row is named."""
    result = compare_rows("rows", ROWS.head(2), ROWS)
    assert (result.missing, result.unexpected) == (1, 0)
    assert "missing" in result.examples[0]
    assert "1.0" in result.examples[0]


def test_a_wrong_value_is_missing_and_unexpected():
    """Both rows are shown."""
    result = compare_rows("rows", ROWS.with_columns(flights=pl.Series([4, 1, 2])), ROWS)
    assert not result.equal
    assert (result.missing, result.unexpected) == (1, 1)


def test_floats_are_compared_at_nine_decimals():
    """The last bit of an interpolation is not a difference; the ninth decimal is."""
    close, far = (ROWS.with_columns(mean=pl.col("mean") + by) for by in (1e-13, 1e-8))
    assert compare_rows("rows", close, ROWS).equal
    assert not compare_rows("rows", far, ROWS).equal
