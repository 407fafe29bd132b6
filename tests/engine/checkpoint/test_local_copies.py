"""Files that are on this machine anyway."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
from tidegate.engine.checkpoint import local_copies
from tidegate.engine.checkpoint.local_copies import LocalCopies, Verified
from tidegate.engine.checkpoint.manifest import FileEntry

CONTENT = b"content of a file"
ENTRY = FileEntry("000012.sst", len(CONTENT), hashlib.sha256(CONTENT).hexdigest())


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that get hashed."""
    names: list[str] = []

    def sha256_of(path: Path) -> str:
        names.append(path.name)
        return hashlib.sha256(path.read_bytes()).hexdigest()

    monkeypatch.setattr(local_copies, "sha256_of", sha256_of)
    return names


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A file of a snapshot."""
    path = tmp_path / "000012.sst"
    path.write_bytes(CONTENT)
    return path


def test_what_is_kept_is_linked(tmp_path: Path, source: Path, hashed: list[str]) -> None:
    """One file with three names, and nothing is read: this process has hashed it."""
    copies = LocalCopies(tmp_path / "copies", Verified())
    copies.keep(ENTRY.sha256, source)
    assert copies.take(ENTRY, tmp_path / "restored.sst")
    assert (tmp_path / "restored.sst").samefile(source)
    assert hashed == []


def test_the_second_restore_from_the_same_copy_hashes_it(tmp_path: Path, source: Path, hashed: list[str]) -> None:
    """If what started from it failed, the copy itself may be at fault."""
    copies = LocalCopies(tmp_path / "copies", Verified())
    copies.keep(ENTRY.sha256, source)
    assert copies.take(ENTRY, tmp_path / "first.sst")
    assert copies.take(ENTRY, tmp_path / "second.sst")
    assert hashed == [ENTRY.sha256]


def test_what_another_process_left_is_hashed(tmp_path: Path, source: Path, hashed: list[str]) -> None:
    """When it had no time to write down what it had hashed."""
    LocalCopies(tmp_path / "copies", Verified()).keep(ENTRY.sha256, source)
    assert LocalCopies(tmp_path / "copies", Verified()).take(ENTRY, tmp_path / "restored.sst")
    assert hashed == [ENTRY.sha256]


def leave(folder: Path, source: Path) -> None:
    """A process keeps a file, and has made a checkpoint of it."""
    copies = LocalCopies(folder, Verified())
    copies.keep(ENTRY.sha256, source)
    copies.prune({ENTRY.sha256})


def test_what_another_process_has_hashed_needs_no_hashing_once(tmp_path: Path, source: Path, hashed: list[str]) -> None:
    """A process that starts from it and dies leaves nothing written down: the next hashes."""
    leave(tmp_path / "copies", source)
    assert LocalCopies(tmp_path / "copies", Verified()).take(ENTRY, tmp_path / "first.sst")
    assert hashed == []
    assert LocalCopies(tmp_path / "copies", Verified()).take(ENTRY, tmp_path / "second.sst")
    assert hashed == [ENTRY.sha256]


def test_after_a_start_of_the_machine_all_is_hashed(
    tmp_path: Path, source: Path, hashed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What had not reached the disk when its power failed is lost, whatever its size and time."""
    leave(tmp_path / "copies", source)
    monkeypatch.setattr(local_copies, "_boot_id", lambda: "another one")
    assert LocalCopies(tmp_path / "copies", Verified()).take(ENTRY, tmp_path / "restored.sst")
    assert hashed == [ENTRY.sha256]


@pytest.mark.parametrize("notes", [b"", b"[1]", b'["", {}]', b"\xff"])
def test_notes_that_cannot_be_read_mean_nothing(tmp_path: Path, source: Path, hashed: list[str], notes: bytes) -> None:
    """All is hashed then."""
    leave(tmp_path / "copies", source)
    (tmp_path / "copies" / ".verified").write_bytes(notes)
    assert LocalCopies(tmp_path / "copies", Verified()).take(ENTRY, tmp_path / "restored.sst")
    assert hashed == [ENTRY.sha256]


def test_what_has_changed_since_it_was_hashed_is_hashed(tmp_path: Path, source: Path) -> None:
    """And found out."""
    leave(tmp_path / "copies", source)
    source.write_bytes(CONTENT.upper())
    os.utime(source, ns=(1, 1))  # else it may be the same one as before: clocks of files are coarse
    assert not LocalCopies(tmp_path / "copies", Verified()).take(ENTRY, tmp_path / "restored.sst")


def test_a_copy_that_has_changed_is_let_go(tmp_path: Path, source: Path) -> None:
    """Whatever its size and whenever: it is fetched then."""
    for number, damage in enumerate([CONTENT[:-1], CONTENT + b"!", CONTENT.upper()]):
        copies = LocalCopies(tmp_path / f"copies-{number}", Verified())
        source.write_bytes(CONTENT)
        copies.keep(ENTRY.sha256, source)
        source.write_bytes(damage)
        os.utime(source, ns=(1, number))
        assert not copies.take(ENTRY, tmp_path / "restored.sst")
        assert not (tmp_path / "restored.sst").exists()
        assert list((tmp_path / f"copies-{number}").iterdir()) == []


def test_a_damaged_copy_of_another_process_is_replaced(tmp_path: Path, source: Path) -> None:
    """What this process has just hashed counts."""
    (tmp_path / "copies").mkdir()
    (tmp_path / "copies" / ENTRY.sha256).write_bytes(b"damaged")
    copies = LocalCopies(tmp_path / "copies", Verified())
    copies.keep(ENTRY.sha256, source)
    assert copies.take(ENTRY, tmp_path / "restored.sst")
    assert (tmp_path / "restored.sst").read_bytes() == CONTENT


def test_a_file_that_is_written_to_is_copied(tmp_path: Path, source: Path) -> None:
    """Only SST files may have a second name."""
    copies = LocalCopies(tmp_path / "copies", Verified())
    copies.keep(ENTRY.sha256, source)
    assert copies.take(FileEntry("MANIFEST-000005", ENTRY.size, ENTRY.sha256), tmp_path / "MANIFEST-000005")
    (tmp_path / "MANIFEST-000005").write_bytes(b"changed")
    assert source.read_bytes() == CONTENT


def test_nothing_but_the_newest_is_kept(tmp_path: Path, source: Path) -> None:
    """The disk is not filled with what was once there."""
    copies = LocalCopies(tmp_path / "copies", Verified())
    copies.keep(ENTRY.sha256, source)
    copies.keep("f" * 64, source)
    copies.prune({ENTRY.sha256})
    assert sorted(path.name for path in (tmp_path / "copies").iterdir()) == [".verified", ENTRY.sha256]


def test_a_folder_that_cannot_be_made_keeps_nothing_and_hurts_nobody(tmp_path: Path, source: Path) -> None:
    """It is only ever a help."""
    (tmp_path / "copies").write_bytes(b"a file")
    copies = LocalCopies(tmp_path / "copies", Verified())
    copies.keep(ENTRY.sha256, source)
    assert not copies.take(ENTRY, tmp_path / "restored.sst")
    copies.prune(())
