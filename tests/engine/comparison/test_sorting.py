"""Sorting more than fits into memory."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tidegate.engine.comparison import sorting
from tidegate.engine.comparison.entries import Entry
from tidegate.engine.comparison.sorting import Sorter

ENTRIES = st.lists(st.lists(st.tuples(st.binary(max_size=3), st.binary(max_size=3), st.integers(0, 99)), max_size=20))


@given(batches=ENTRIES, memory_bytes=st.sampled_from([1, 2000, 1 << 20]))
def test_what_goes_in_comes_out_in_order(
    tmp_path_factory: pytest.TempPathFactory, batches: list[list[Entry]], memory_bytes: int
) -> None:
    """Whether it fits into memory or not."""
    sorter = Sorter[Entry](tmp_path_factory.mktemp("runs"), Entry, memory_bytes)
    for batch in batches:
        sorter.add(batch)
    assert list(sorter.sorted()) == sorted(entry for batch in batches for entry in batch)


def test_what_does_not_fit_into_memory_waits_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And few files are open at a time, however many runs there were."""
    monkeypatch.setattr(sorting, "_MOST_RUNS", 4)
    sorter = Sorter[Entry](tmp_path, Entry, 1)
    for n in range(50):
        sorter.add([(b"%d" % (n % 7), b"", n)])
    assert 0 < len(list(tmp_path.iterdir())) <= 4
    assert [n for *_, n in sorter.sorted()] == sorted(range(50), key=lambda n: (n % 7, n))


def test_nothing_is_written_while_it_fits(tmp_path: Path) -> None:
    """Small outputs never touch the disk."""
    sorter = Sorter[Entry](tmp_path, Entry)
    sorter.add([(b"b", b"", 1), (b"a", b"", 2)])
    assert list(tmp_path.iterdir()) == []
    assert [key for key, *_ in sorter.sorted()] == [b"a", b"b"]
