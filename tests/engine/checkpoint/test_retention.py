"""Deleting what is no longer wanted."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tidegate.engine.checkpoint.blobs import Blobs
from tidegate.engine.checkpoint.manifest import Manifest
from tidegate.engine.checkpoint.retention import apply_retention, delete_savepoint, sweep
from tidegate.engine.checkpoint.storage import CheckpointStorage
from tidegate.engine.errors import CheckpointError
from tidegate.engine.state.backend import SnapshotFiles
from tidegate.engine.testing import ManualClock

MakeManifest = Callable[..., Manifest]
OpenStorage = Callable[..., CheckpointStorage]
MakeSnapshot = Callable[..., SnapshotFiles]
Take = Callable[..., Any]


@pytest.fixture(params=["local", "memory", "s3"])
def storage(request: pytest.FixtureRequest, open_storage: OpenStorage) -> CheckpointStorage:
    """A storage on each kind of root."""
    if request.param == "s3":
        settings = request.getfixturevalue("s3_settings")
        return open_storage(request.getfixturevalue("s3_url"), settings=settings)
    return open_storage("memory://" if request.param == "memory" else None)


@pytest.fixture
def take(make_manifest: MakeManifest, make_snapshot: MakeSnapshot) -> Take:
    """Takes a whole checkpoint: `await take(storage, 7, "ab")` with one content per letter."""

    async def take_one(storage: CheckpointStorage, checkpoint_id: int, letters: str, **more: Any) -> None:
        contents = {letter: letter.encode() for letter in letters}
        entries = await storage.store_files(make_snapshot(contents), {})
        await storage.write_manifest(make_manifest(checkpoint_id, entries, **more))

    return take_one


async def problems(storage: CheckpointStorage) -> list[str]:
    return [p for info in await storage.list() for p in await storage.verify(info.name or info.checkpoint_id or 0)]


async def test_old_checkpoints_go_with_their_contents(storage: CheckpointStorage, take: Take) -> None:
    """What the kept ones share with them stays."""
    for checkpoint_id, letters in ((1, "ab"), (2, "bc"), (3, "cd")):
        await take(storage, checkpoint_id, letters)
    deletions = await apply_retention(storage, 2)
    assert deletions.checkpoint_ids == (1,)
    assert len(deletions.contents) == 1
    assert [info.checkpoint_id for info in await storage.list()] == [2, 3]
    assert await problems(storage) == []


async def test_savepoints_stay(storage: CheckpointStorage, take: Take) -> None:
    """Whole, with all they name."""
    await take(storage, 1, "ab", name="deploy")
    for checkpoint_id in (2, 3, 4):
        await take(storage, checkpoint_id, "bc")
    await apply_retention(storage, 1)
    assert [info.title for info in await storage.list()] == ["savepoint 'deploy'", "checkpoint 4"]
    assert await problems(storage) == []


async def test_nothing_to_delete_deletes_nothing(storage: CheckpointStorage, take: Take) -> None:
    """Also on an empty storage."""
    assert (await apply_retention(storage, 1)).checkpoint_ids == ()
    await take(storage, 1, "a")
    assert (await apply_retention(storage, 1)).checkpoint_ids == ()


async def test_the_sweep_takes_what_nobody_names(
    storage: CheckpointStorage, take: Take, make_snapshot: MakeSnapshot, clock: ManualClock
) -> None:
    """After the grace period, and not what a checkpoint under way has stored."""
    await take(storage, 1, "a")
    abandoned = await storage.store_files(make_snapshot({"x": b"x"}), {})
    under_way = await storage.store_files(make_snapshot({"y": b"y"}), {})
    storage.release(abandoned)
    assert await sweep(storage, grace_ms=10**13) == ()
    clock.advance(1_000_000_000)
    assert await sweep(storage, grace_ms=1_000) == (abandoned[0].sha256,)
    assert storage.pinned == {under_way[0].sha256}
    assert await problems(storage) == []


async def test_the_sweep_takes_nothing_while_a_manifest_is_damaged(
    open_storage: OpenStorage, take: Take, clock: ManualClock
) -> None:
    """What it names would be lost for good; the manifest may be mended."""
    storage = open_storage()
    await take(storage, 1, "a")
    path = Path(storage.address) / "checkpoints/0000000001/manifest.json"
    whole = path.read_bytes()
    path.write_bytes(whole[:-5])
    clock.advance(1_000_000_000)
    assert await sweep(storage, grace_ms=1_000) == ()
    path.write_bytes(whole)
    assert await storage.verify(1) == []


async def test_leftovers_of_crashed_writers_are_swept(
    open_storage: OpenStorage, take: Take, clock: ManualClock
) -> None:
    """Files that were being written."""
    storage = open_storage()
    await take(storage, 1, "a")
    leftover = Path(storage.address) / "staging/123-4"
    leftover.write_bytes(b"half")
    clock.advance(1_000_000_000)
    await sweep(storage, grace_ms=1_000)
    assert not leftover.exists()


async def test_checkpoints_taken_during_retention_stay_whole(open_storage: OpenStorage, take: Take) -> None:
    """They reuse contents that retention is about to delete."""
    storage = open_storage(threads=4)
    for checkpoint_id in range(1, 30):
        await asyncio.gather(
            take(storage, checkpoint_id, "abc" if checkpoint_id % 2 else "cde"),
            apply_retention(storage, 1),
        )
        assert await problems(storage) == []


@pytest.fixture
def failing_deletes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """After as many deletions as the list says all are refused: a disk gone read-only."""
    left = [10**9]
    delete = Blobs.delete

    def refuse(blobs: Blobs, paths: Any) -> None:
        for path in paths:
            if left[0] == 0:
                raise CheckpointError(f"cannot delete {path}: the file system is read-only")
            left[0] -= 1
            delete(blobs, [path])

    monkeypatch.setattr(Blobs, "delete", refuse)
    return left


async def test_interrupted_anywhere_no_manifest_loses_its_contents(
    open_storage: OpenStorage, take: Take, failing_deletes: list[int]
) -> None:
    """After each number of deletions: every manifest that is left is whole, and the next time finishes the
    work."""
    storage = open_storage()
    for checkpoint_id, letters in enumerate(("abc", "bcd", "cde", "def", "efg"), 1):
        await take(storage, checkpoint_id, letters)
    for allowed in (0, 1, 1, 1, 1, 1, 1, 1):
        failing_deletes[0] = allowed
        try:
            await apply_retention(storage, 2)
        except CheckpointError:
            assert await problems(storage) == []
    failing_deletes[0] = 10**9
    await apply_retention(storage, 2)
    assert [info.checkpoint_id for info in await storage.list()] == [4, 5]
    assert await problems(storage) == []


async def test_a_savepoint_goes_with_what_only_it_names(storage: CheckpointStorage, take: Take) -> None:
    """On the user's word; everything else stays whole."""
    await take(storage, 1, "ab", name="deploy")
    await take(storage, 2, "bc")
    gone = await delete_savepoint(storage, "deploy")
    assert len(gone) == 1
    assert [info.checkpoint_id for info in await storage.list()] == [2]
    assert await problems(storage) == []
    assert await sweep(storage, -1) == ()
    with pytest.raises(CheckpointError, match="there is no savepoint 'deploy'"):
        await delete_savepoint(storage, "deploy")


async def test_while_a_manifest_is_damaged_a_savepoint_leaves_its_contents(
    open_storage: OpenStorage, take: Take, tmp_path: Path
) -> None:
    """The damaged one may name them."""
    storage = open_storage()
    await take(storage, 1, "ab", name="deploy")
    await take(storage, 2, "bc")
    (tmp_path / "state/job/checkpoints/0000000002/manifest.json").write_bytes(b"{}")
    assert await delete_savepoint(storage, "deploy") == ()
    assert len([path for path in (tmp_path / "state/job/files").rglob("*") if path.is_file()]) == 3
