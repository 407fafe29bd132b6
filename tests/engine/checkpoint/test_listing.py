"""Which checkpoints there are, whole or damaged."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from tidegate.engine.checkpoint.blobs import Blobs
from tidegate.engine.checkpoint.listing import inspect, list_checkpoints, manifest_path
from tidegate.engine.checkpoint.manifest import Manifest, encode

MakeManifest = Callable[..., Manifest]


@pytest.fixture
def blobs(tmp_path: Path) -> Blobs:
    """A local root."""
    return Blobs(tmp_path)


def put(blobs: Blobs, manifest: Manifest) -> None:
    blobs.put(manifest_path("job", manifest.checkpoint_id, manifest.name), encode(manifest))


def test_checkpoints_and_savepoints_are_listed_by_id(blobs: Blobs, make_manifest: MakeManifest) -> None:
    """Together, for they share their numbers."""
    for manifest in (make_manifest(10), make_manifest(2), make_manifest(9, name="deploy")):
        put(blobs, manifest)
    infos = list_checkpoints(blobs, "job")
    assert [info.title for info in infos] == ["checkpoint 2", "savepoint 'deploy'", "checkpoint 10"]
    assert all(info.problem is None and info.manifest is not None for info in infos)


def test_a_damaged_one_is_listed_with_its_problem(blobs: Blobs, make_manifest: MakeManifest) -> None:
    """A checkpoint's id is in its path; a savepoint's is salvaged where it can be."""
    for path, data in {
        manifest_path("job", 7): b"{}",
        manifest_path("job", 0, "cut"): encode(make_manifest(8, name="cut"))[:-9],
        manifest_path("job", 0, "gone"): b"",
    }.items():
        blobs.put(path, data)
    infos = list_checkpoints(blobs, "job")
    assert [(info.checkpoint_id, info.name, info.damaged) for info in infos] == [
        (7, None, True),
        (8, "cut", True),
        (None, "gone", True),
    ]
    assert infos[0].problem is not None
    assert "does not end in a checksum" in infos[0].problem


def test_one_of_a_newer_version_is_listed_and_is_not_damaged(blobs: Blobs, make_manifest: MakeManifest) -> None:
    """It says to update."""
    put(blobs, msgspec.structs.replace(make_manifest(7), format_version=99))
    (info,) = list_checkpoints(blobs, "job")
    assert (info.manifest, info.damaged) == (None, False)
    assert "update Tidegate" in (info.problem or "")


def test_a_manifest_in_the_wrong_place_is_damage(blobs: Blobs, make_manifest: MakeManifest) -> None:
    """A file copied over another is whole and yet not what was written there."""
    blobs.put(manifest_path("job", 7), encode(make_manifest(6)))
    blobs.put(manifest_path("job", 0, "b"), encode(make_manifest(5, name="a")))
    problems = [info.problem for info in list_checkpoints(blobs, "job")]
    assert sorted(map(str, problems)) == ["it is the manifest of checkpoint 6", "it is the manifest of savepoint 'a'"]


def test_a_folder_without_a_manifest_is_no_checkpoint(blobs: Blobs, tmp_path: Path) -> None:
    """Its writer crashed before the end; nor is a stranger's file one."""
    (tmp_path / "job/checkpoints/0000000003").mkdir(parents=True)
    blobs.put("job/checkpoints/notes/manifest.json", b"")
    blobs.put("job/checkpoints/0000000004/other.json", b"")
    blobs.put("job/savepoints/stray", b"")
    assert list_checkpoints(blobs, "job") == []


def test_one_that_is_not_there_is_none(blobs: Blobs) -> None:
    """It may have been deleted after the listing."""
    assert inspect(blobs, manifest_path("job", 1), 1, None) is None
