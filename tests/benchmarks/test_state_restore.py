"""The restores that are measured are those that are meant."""

from __future__ import annotations

from pathlib import Path

import pytest
from tidegate.engine.testing.s3_server import LocalS3

from benchmarks.scenario import BenchmarkError, Bucket, Setup
from benchmarks.scenarios.state_restore import SCENARIO


@pytest.mark.slow
def test_each_way_restores_the_whole_state(s3: LocalS3, s3_url: str, tmp_path: Path) -> None:
    """Eight megabytes: built, linked, taken from a local directory, fetched."""
    folder = s3.objects / s3_url.rsplit("/", 1)[-1]
    setup = Setup(8, tmp_path / "none", tmp_path, store=Bucket(s3_url, s3.options, folder))
    built = SCENARIO.sides["build-whole"](setup)
    assert built["state_mb"] == pytest.approx(8, rel=0.1)
    for side in ("linked-whole", "hashed-whole", "local-whole", "fetched-whole"):
        figures = SCENARIO.sides[side](setup)
        assert figures["state_mb"] == pytest.approx(built["state_mb"], rel=0.01)
        assert 0 < figures["files_s"] < figures["from_start_s"]
    assert figures["share_of_raw"] > 0
    assert figures["share_of_kept"] > 0


@pytest.mark.slow
def test_a_restore_of_another_kind_than_meant_has_no_speed(s3: LocalS3, s3_url: str, tmp_path: Path) -> None:
    """Here the kept files are gone, so what should be linked is fetched."""
    setup = Setup(2, tmp_path / "none", tmp_path, store=Bucket(s3_url, s3.options, s3.objects))
    SCENARIO.sides["build-whole"](setup)
    for path in (tmp_path / "state-whole").glob("*.copies/*"):
        path.unlink()
    with pytest.raises(BenchmarkError, match="not what was to be measured"):
        SCENARIO.sides["linked-whole"](setup)
