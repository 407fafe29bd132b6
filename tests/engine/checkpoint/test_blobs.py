"""Whole files under a root."""

from __future__ import annotations

import hashlib
import os
import resource
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from tidegate.engine.checkpoint.blobs import BlobExistsError, Blobs
from tidegate.engine.checkpoint.local_files import STAGING
from tidegate.engine.errors import CheckpointError, ConfigError


@pytest.fixture(params=["local", "file-url", "memory", "s3"])
def blobs(request: pytest.FixtureRequest, tmp_path: Path) -> Blobs:
    """Every kind of root."""
    if request.param == "s3":
        return Blobs(request.getfixturevalue("s3_url"), settings=request.getfixturevalue("s3_settings"))
    locations: dict[str, str | Path] = {
        "local": tmp_path / "root",
        "file-url": f"file://{tmp_path}/root",
        "memory": "memory://",
    }
    return Blobs(locations[request.param])


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte, where the tests may mount one."""
    mount = tmp_path / "disk"
    mount.mkdir()
    if (
        os.geteuid() != 0
        or subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=1m", "tidegate-test", str(mount)],
            capture_output=True,
            check=False,
        ).returncode
    ):
        pytest.skip("a file system cannot be mounted here")
    yield mount
    subprocess.run(["umount", str(mount)], check=True)


def files_below(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


def test_what_is_put_can_be_got(blobs: Blobs) -> None:
    """And listed, with its size."""
    blobs.put("job/a/one", b"1")
    blobs.put("job/a/two", b"22")
    assert blobs.get("job/a/one") == b"1"
    assert sorted((blob.path, blob.size) for blob in blobs.list("job/a")) == [
        ("job/a/one", 1),
        ("job/a/two", 2),
    ]
    assert "a" in blobs.folders("job")


def test_what_is_not_there_is_none(blobs: Blobs) -> None:
    """No file, no listing, no error, before anything was written."""
    assert blobs.get("job/a") is None
    assert blobs.digest("job/a") is None
    assert list(blobs.list("job")) == []
    assert list(blobs.folders()) == []
    blobs.delete([])


def test_a_file_is_replaced_as_a_whole(blobs: Blobs) -> None:
    """The last one put is there."""
    blobs.put("job/a", b"long content")
    blobs.put("job/a", b"short")
    assert blobs.get("job/a") == b"short"


def test_a_file_that_is_there_is_not_created_again(blobs: Blobs) -> None:
    """It keeps its content."""
    blobs.put("job/a", b"first", create=True)
    with pytest.raises(BlobExistsError):
        blobs.put("job/a", b"second", create=True)
    assert blobs.get("job/a") == b"first"


def test_of_many_writers_exactly_one_creates(blobs: Blobs) -> None:
    """All at the same time; the content is the winner's."""
    won: list[bytes] = []
    barrier = threading.Barrier(8)

    def write(content: bytes) -> None:
        barrier.wait()
        try:
            blobs.put("job/manifest", content * 1000, create=True)
        except BlobExistsError:
            return
        won.append(content)

    threads = [threading.Thread(target=write, args=(bytes([65 + i]),)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert blobs.get("job/manifest") == won[0] * 1000


def test_a_file_is_copied_out_while_its_digest_is_taken(blobs: Blobs, tmp_path: Path) -> None:
    """Over several chunks."""
    content = os.urandom(3_000_000)
    (tmp_path / "source").write_bytes(content)
    blobs.put_file("job/a", tmp_path / "source")
    expected = (len(content), hashlib.sha256(content).hexdigest())
    assert blobs.digest("job/a") == expected
    assert blobs.digest("job/a", tmp_path / "copy") == expected
    assert (tmp_path / "copy").read_bytes() == content


def test_deleting_what_is_gone_is_no_error(blobs: Blobs) -> None:
    """A crash between deletions is repaired by deleting again."""
    blobs.put("job/a/one", b"1")
    blobs.delete(["job/a/one", "job/a/two"])
    blobs.delete(["job/a/one"])
    assert blobs.get("job/a/one") is None
    blobs.delete_folder("job/a")
    assert list(blobs.folders("job")) in ([], [STAGING])


def test_nothing_is_left_in_staging(tmp_path: Path) -> None:
    """Neither after a write nor after a refused one."""
    blobs = Blobs(tmp_path / "root")
    (tmp_path / "source").write_bytes(b"1")
    blobs.put_file("job/a", tmp_path / "source")
    with pytest.raises(BlobExistsError):
        blobs.put("job/a", b"2", create=True)
    assert files_below(tmp_path / "root") == ["job/a"]


def test_a_file_can_be_replaced_by_a_link_to_itself(tmp_path: Path) -> None:
    """Renaming one name of a file onto another does nothing, so the first is removed by hand."""
    blobs = Blobs(tmp_path / "root")
    (tmp_path / "source").write_bytes(b"1")
    blobs.put_file("job/a", tmp_path / "source")
    blobs.put_file("job/a", tmp_path / "source")
    assert files_below(tmp_path / "root") == ["job/a"]


def test_a_folder_that_cannot_be_synchronised_takes_back_only_what_is_new(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A created file is gone again; one that replaced another stays, for others may need it."""
    blobs = Blobs(tmp_path / "root")
    blobs.put("job/a", b"1")

    def refuse(path: Path) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("tidegate.engine.checkpoint.local_files.sync_folder", refuse)
    with pytest.raises(CheckpointError, match="cannot write"):
        blobs.put("job/manifest", b"new", create=True)
    with pytest.raises(CheckpointError, match="cannot write"):
        blobs.put("job/a", b"1")
    assert files_below(tmp_path / "root") == ["job/a"]


def test_a_stored_file_outlives_its_source(tmp_path: Path) -> None:
    """A snapshot's directory is deleted after it was stored."""
    blobs = Blobs(tmp_path / "root")
    (tmp_path / "source").write_bytes(b"1")
    blobs.put_file("job/a", tmp_path / "source")
    (tmp_path / "source").unlink()
    assert blobs.get("job/a") == b"1"


def test_a_copy_can_be_changed_without_changing_the_stored_file(tmp_path: Path) -> None:
    """The database that is restored writes to its files."""
    blobs = Blobs(tmp_path / "root")
    blobs.put("job/a", b"stored")
    blobs.digest("job/a", tmp_path / "copy")
    with (tmp_path / "copy").open("r+b") as file:
        file.write(b"CHANGED")
    assert blobs.get("job/a") == b"stored"


def test_reading_makes_no_directory(tmp_path: Path) -> None:
    """A listing of a directory that is not there leaves it so."""
    blobs = Blobs(tmp_path / "root")
    assert list(blobs.list("job")) == []
    assert not (tmp_path / "root").exists()
    assert not blobs.exists()


def test_a_location_that_is_no_url_is_refused() -> None:
    """With examples of what is."""
    with pytest.raises(ConfigError, match=r"checkpoints cannot be kept at 'foo://bar'.*give a directory"):
        Blobs("foo://bar")


def test_a_full_disk_is_named_with_its_remedy_and_leaves_nothing_half_written(small_disk: Path) -> None:
    """What was there stays readable, and the next small file fits again."""
    blobs = Blobs(small_disk)
    blobs.put("job/old", b"old")
    with pytest.raises(CheckpointError, match=rf"cannot write {small_disk}/job/big: the disk is full; free some"):
        blobs.put("job/big", os.urandom(2_000_000))
    assert files_below(small_disk) == ["job/old"]
    blobs.put("job/small", b"new")
    assert blobs.get("job/old") == b"old"


def test_a_read_only_file_system_is_named_with_its_remedy(small_disk: Path) -> None:
    """For writing and deleting; reading goes on."""
    blobs = Blobs(small_disk)
    blobs.put("job/old", b"old")
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(CheckpointError, match=r"cannot write .*: the file system is read-only; make it writable"):
        blobs.put("job/new", b"new")
    with pytest.raises(CheckpointError, match=r"cannot delete .*: the file system is read-only"):
        blobs.delete(["job/old"])
    assert blobs.get("job/old") == b"old"


def test_a_path_through_a_file_is_named_with_its_remedy(tmp_path: Path) -> None:
    """The directory given is a file."""
    (tmp_path / "root").write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"cannot write .*root/job/a: "):
        Blobs(tmp_path / "root").put("job/a", b"1")


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is forbidden to root")
def test_a_forbidden_directory_is_named_with_its_remedy(tmp_path: Path) -> None:
    """Permissions are the commonest cause of all."""
    (tmp_path / "root").mkdir(mode=0o500)
    with pytest.raises(CheckpointError, match="permission denied; make it writable"):
        Blobs(tmp_path / "root").put("job/a", b"1")


@pytest.mark.slow
def test_a_write_that_the_system_cuts_off_leaves_nothing_half_written(tmp_path: Path) -> None:
    """With a limit on the size of files in place of a full disk: in a process of its own."""
    program = f"""
import resource, signal
from tidegate.engine.checkpoint.blobs import Blobs
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, {resource.RLIM_INFINITY}))
blobs = Blobs({str(tmp_path / "root")!r})
blobs.put("job/small", b"1")
try:
    blobs.put("job/big", bytes(1_000_000), create=True)
except Exception as error:
    print(type(error).__name__, error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.startswith(f"CheckpointError cannot write {tmp_path}/root/job/big: the file is larger")
    assert files_below(tmp_path / "root") == ["job/small"]
