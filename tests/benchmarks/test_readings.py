"""The records of the growth scenario."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from benchmarks.readings import PER_MS, START_MS, Reading, Shape, readings_file


def read(path: Path) -> list[Reading]:
    """All records of a file."""
    return [msgspec.json.decode(line, type=Reading) for line in path.read_bytes().splitlines()]


def test_a_file_is_as_its_shape_says(tmp_path: Path) -> None:
    """So many keys, so many of them late, and none later than said."""
    readings = read(readings_file(tmp_path, 5_000, Shape(n_keys=20, most_delay_ms=30, delayed_per_mille=200)))
    assert {reading.key for reading in readings} == set(range(20))
    delays = [START_MS + i // PER_MS - reading.time_ms for i, reading in enumerate(readings)]
    assert min(delays) == 0
    assert max(delays) == 30
    assert sum(delay > 0 for delay in delays) == pytest.approx(1_000, rel=0.1)


def test_a_longer_file_begins_with_a_shorter_one(tmp_path: Path) -> None:
    """And the same call makes the same records."""
    shorter, longer = (read(readings_file(tmp_path, n, Shape())) for n in (500, 1_000))
    assert longer[:500] == shorter
