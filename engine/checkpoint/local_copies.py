"""Files of checkpoints that are on this machine anyway: linked when they are restored instead of fetched."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec

from .local_files import link
from .manifest import FileEntry

_SHARED: Final = (".sst",)
"""Files that no state backend ever writes to again, by their ending: only these may have a second name."""

Identity = tuple[int, int, int, int]


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file. Blocking."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def share(source: Path, name: str, target: Path) -> bool:
    """Give a file of a checkpoint a second place: a link where nobody will write to it, else a copy; whether it is
    there now. Blocking."""
    try:
        if name.endswith(_SHARED) and link(source, target):
            return True
        shutil.copyfile(source, target)
    except OSError:
        target.unlink(missing_ok=True)
        return False
    return True


class Verified:
    """Which files this process itself has hashed, and has not seen changed since.

    Hashing two gigabytes takes a second and more, so after a failure a file that is still the same one (device, inode, size
    and time of change of content) is taken as it is. Once: if the attempt that starts from it fails too, everything is
    hashed again. RocksDB checks its blocks besides.
    """

    def __init__(self) -> None:
        self._identities: dict[str, Identity] = {}

    def note(self, sha256: str, path: Path) -> None:
        """This file has just been hashed, or is one that has been."""
        try:
            self._identities[sha256] = _identity(path)
        except OSError:
            self._identities.pop(sha256, None)

    def check(self, entry: FileEntry, path: Path) -> bool:
        """Whether a file has the content of an entry; hashes it unless it is known. Blocking.

        Raises:
            OSError: it is not there, or cannot be read.
        """
        identity = _identity(path)
        if self._identities.pop(entry.sha256, None) == identity:
            return True
        return identity[2] == entry.size and sha256_of(path) == entry.sha256

    def save(self, path: Path) -> None:
        """Write down what is known, for the next process of this machine until it is started anew. Blocking.

        Raises:
            OSError: it cannot be written.
        """
        written = path.with_name(f"{path.name}.{os.getpid()}")
        written.write_bytes(msgspec.json.encode((_boot_id(), self._identities)))
        written.replace(path)

    def load(self, path: Path) -> None:
        """Take over what an earlier process has written down, once: if what starts from it fails, the next hashes. After a
        start of the machine it means nothing, for what had not reached the disk is lost then. Blocking."""
        with suppress(OSError, msgspec.MsgspecError):
            data = path.read_bytes()
            path.unlink()
            boot_id, identities = msgspec.json.decode(data, type=tuple[str, dict[str, Identity]])
            if boot_id and boot_id == _boot_id():
                self._identities.update(identities)

    def forget(self, keep: Collection[str]) -> None:
        """Forget all contents but these."""
        self._identities = {sha256: found for sha256, found in self._identities.items() if sha256 in keep}


def _boot_id() -> str:
    """What tells this run of the machine from others; empty where that cannot be known."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def _identity(path: Path) -> Identity:
    found = path.stat()
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


class LocalCopies:
    """The files of the newest checkpoint, under their SHA-256 in a folder: second names of files that are there anyway,
    beside an object store that has them too. Only ever a help: what cannot be kept or is damaged is fetched.

    Args:
        folder: on the file system of the databases. What an earlier process left there is used; it is hashed, unless that
            process had hashed it since the machine was started, and the file is still the same one.
        verified: which of them need no hashing.
    """

    def __init__(self, folder: Path, verified: Verified) -> None:
        self._folder = folder
        self._verified = verified
        self._notes = folder / ".verified"
        verified.load(self._notes)

    def keep(self, sha256: str, source: Path) -> None:
        """Give a file that was just hashed a second name here. Blocking."""
        target = self._folder / sha256
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            if target.exists() and not target.samefile(source):
                target.unlink()  # left by an earlier process, and not hashed since
            if not target.exists() and not link(source, target):
                return
        except OSError:
            return
        self._verified.note(sha256, target)

    def take(self, entry: FileEntry, target: Path) -> bool:
        """Put the content of an entry at `target` if it is here and whole; whether it is there now. Blocking."""
        path = self._folder / entry.sha256
        try:
            whole = self._verified.check(entry, path)
        except OSError:
            return False
        if not whole:
            path.unlink(missing_ok=True)
            return False
        return share(path, entry.name, target)

    def prune(self, keep: Collection[str]) -> None:
        """Let go of all contents but these. Blocking."""
        try:
            names = os.listdir(self._folder)
        except OSError:
            return
        for name in names:
            if name not in keep:
                with suppress(OSError):
                    (self._folder / name).unlink()
        self._verified.forget(keep)
        with suppress(OSError):
            self._verified.save(self._notes)
