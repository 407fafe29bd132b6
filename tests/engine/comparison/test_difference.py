"""What differs between two outputs, against a count by hand."""

from __future__ import annotations

from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tidegate.engine.comparison.difference import ChangedRecord, Difference, OutputDifference
from tidegate.engine.comparison.entries import EntryMaker


def difference(
    folder: Path, old: list[Any], new: list[Any], key: list[str] | None = None, **how: Any
) -> OutputDifference:
    """Of two lists of records."""
    sides = [EntryMaker("out", key).entries(values) for values in (old, new)]
    return Difference("out", folder, **how).of(*(iter(sorted(side)) for side in sides))


RECORDS = st.lists(st.fixed_dictionaries({"id": st.integers(0, 4), "n": st.integers(0, 3)}), max_size=25)


@given(old=RECORDS, new=RECORDS, memory_bytes=st.sampled_from([2, 1 << 20]))
def test_by_key_it_counts_as_one_would(
    tmp_path_factory: pytest.TempPathFactory, old: list[Any], new: list[Any], memory_bytes: int
) -> None:
    """Of each key: twins are equal; of the rest, as many as both have are changed, the surplus is missing or added."""
    sides: list[dict[int, Counter[int]]] = []
    for records in (old, new):
        side: dict[int, Counter[int]] = defaultdict(Counter)
        for record in records:
            side[record["id"]][record["n"]] += 1
        sides.append(side)
    equal = changed = missing = added = 0
    for key in range(5):
        a, b = sides[0][key], sides[1][key]
        equal += (a & b).total()
        left, right = (a - b).total(), (b - a).total()
        changed += min(left, right)
        missing += left - min(left, right)
        added += right - min(left, right)
    found = difference(tmp_path_factory.mktemp("d"), old, new, ["id"], memory_bytes=memory_bytes)
    assert (found.equal, found.changed, found.missing, found.added) == (equal, changed, missing, added)
    assert (found.old_records, found.new_records) == (len(old), len(new))
    assert found.same == (changed == missing == added == 0)


@given(old=RECORDS, new=RECORDS)
def test_without_a_key_outputs_are_compared_as_multisets(
    tmp_path_factory: pytest.TempPathFactory, old: list[Any], new: list[Any]
) -> None:
    """A record more or less, however often it is there."""
    a, b = (Counter((record["id"], record["n"]) for record in side) for side in (old, new))
    found = difference(tmp_path_factory.mktemp("d"), old, new)
    assert (found.equal, found.missing, found.added) == ((a & b).total(), (a - b).total(), (b - a).total())
    assert found.changed == 0


def test_changed_records_are_shown_side_by_side(tmp_path: Path) -> None:
    """With the names of the fields that differ."""
    old = [{"id": 1, "n": 1, "x": 0}, {"id": 2, "n": 5}]
    new = [{"id": 1, "n": 2, "x": 0}, {"id": 3, "n": 5}]
    found = difference(tmp_path, old, new, ["id"])
    assert found.changed_examples == (ChangedRecord([1], old[0], new[0], ("n",)),)
    assert found.missing_examples == (old[1],)
    assert found.added_examples == (new[1],)


def test_revisions_of_one_key_are_paired_in_the_order_in_which_they_came(tmp_path: Path) -> None:
    """The second of the old with the second of the new."""
    old = [{"id": 1, "n": n} for n in (9, 1, 5)]
    new = [{"id": 1, "n": n} for n in (8, 1, 6)]
    found = difference(tmp_path, old, new, ["id"])
    assert [(changed.old["n"], changed.new["n"]) for changed in found.changed_examples] == [(9, 8), (5, 6)]


def test_numbers_within_the_tolerance_are_equal(tmp_path: Path) -> None:
    """Of records with one key."""
    old, new = [{"id": 1, "mean": 0.1 + 0.2}], [{"id": 1, "mean": 0.3}]
    (tmp_path / "exact").mkdir()
    (tmp_path / "about").mkdir()
    assert difference(tmp_path / "exact", old, new, ["id"]).changed == 1
    assert difference(tmp_path / "about", old, new, ["id"], tolerance=1e-9).same


def test_few_examples_are_kept(tmp_path: Path) -> None:
    """The first by key; all are counted."""
    found = difference(tmp_path, [], [*range(100)], examples=3)
    assert (found.added, len(found.added_examples)) == (100, 3)
