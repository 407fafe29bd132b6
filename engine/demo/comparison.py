"""Holds the results of the job against those of the batch query, row for row."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from .batch_query import expected_results

if TYPE_CHECKING:
    import polars as pl

WHAT: Final = {
    "departures": "flights, airline named",
    "hourly": "1 h per origin",
    "sliding": "1 h per origin, slide 15 m",
    "sessions": "per aircraft, gap 12 h",
    "rejected": "flights against a rule",
}
"""What each folder of results holds."""

_SHOWN_ROWS: Final = 3
_DECIMALS: Final = 9


@dataclass(frozen=True)
class Comparison:
    """One folder of results beside the batch query.

    Attributes:
        name: the folder's.
        rows: rows that the job wrote.
        expected_rows: rows of the batch query.
        missing: rows of the batch query that the job did not write.
        unexpected: rows that the job wrote and the batch query does not have, or wrote more often.
        examples: some rows of both.
    """

    name: str
    rows: int
    expected_rows: int
    missing: int
    unexpected: int
    examples: tuple[str, ...] = ()

    @property
    def equal(self) -> bool:
        """Whether both hold the same rows, each as often."""
        return not self.missing and not self.unexpected


def compare(data: Path, results: Path) -> list[Comparison]:
    """Every folder of results, compared.

    Whole numbers and texts must be equal. Floats are compared at nine decimals, because both sides interpolate
    the 95th percentile, and round the last bit of it, in their own way.

    Args:
        data: the folder of the original files.
        results: the folder of the job's results.
    """
    return [
        compare_rows(name, _read(results / name, expected), expected)
        for name, expected in expected_results(data).items()
    ]


def compare_rows(name: str, found: pl.DataFrame, expected: pl.DataFrame) -> Comparison:
    """The rows of both, with how often they occur."""
    found, expected = _counted(found), _counted(expected)
    columns = expected.columns
    missing = expected.join(found, on=columns, how="anti", nulls_equal=True)
    unexpected = found.join(expected, on=columns, how="anti", nulls_equal=True)
    return Comparison(
        name=name,
        rows=int(found["times"].sum()),
        expected_rows=int(expected["times"].sum()),
        missing=missing.height,
        unexpected=unexpected.height,
        examples=(*_shown("missing", missing), *_shown("unexpected", unexpected)),
    )


def _counted(rows: pl.DataFrame) -> pl.DataFrame:
    """Distinct rows and how often each occurs: a row that was written twice differs from one written once."""
    import polars as pl
    import polars.selectors as cs

    # Zero is added because -0.0 and 0.0 are one number.
    rounded = rows.with_columns(cs.float().round(_DECIMALS) + 0.0)
    return rounded.group_by(rows.columns).agg(times=pl.len())


def _read(folder: Path, like: pl.DataFrame) -> pl.DataFrame:
    import polars as pl

    parts = sorted(folder.glob("part-*"))
    schema: Any = like.schema
    if not parts:
        return like.clear()
    return pl.concat([pl.read_ndjson(part, schema=schema) for part in parts])


def _shown(word: str, rows: pl.DataFrame) -> list[str]:
    return [f"{word}: {row}" for row in rows.head(_SHOWN_ROWS).iter_rows(named=True)]
