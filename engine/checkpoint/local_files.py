"""Whole files on a local disk: there completely or not at all, also after a power cut. Blocking."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final, cast

from .objects import Pace

if TYPE_CHECKING:
    from obstore import ObjectMeta
    from obstore.store import ObjectStore

STAGING: Final = "staging"
_serials: Final = count()


class LocalFiles:
    """The files below a directory. Nothing is made on disk before the first write."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._opened: ObjectStore | None = None

    def list(self, prefix: str) -> list[ObjectMeta]:
        """All files below a folder.

        Raises:
            FileNotFoundError: there is no such folder.
        """
        return [found for page in self._store(make=False).list(prefix) for found in page]

    def folders(self, prefix: str) -> Sequence[str]:
        """The folders directly below a folder."""
        return self._store(make=False).list_with_delimiter(prefix or None)["common_prefixes"]

    def put(self, path: str, data: bytes) -> None:
        """Write a file, replacing what is there."""
        self._put(path, data, create=False)

    def create(self, path: str, data: bytes) -> bool:
        """Write a file if there is none of that name; whether that was so."""
        from obstore.exceptions import AlreadyExistsError

        try:
            self._put(path, data, create=True)
        except AlreadyExistsError:
            return False
        return True

    def send(self, path: str, source: Path, pace: Pace | None = None) -> None:
        """Write a file with the content of another one, linked where that is possible, replacing what is there."""
        if pace is not None:
            pace(0)  # a link sends nothing
        self._put(path, source, create=False)

    def get(self, path: str) -> bytes:
        """A file's content.

        Raises:
            FileNotFoundError: there is none.
        """
        return (self._root / path).read_bytes()

    def open(self, path: str) -> BinaryIO:
        """A file to be read. Reading it through the store costs seven times as much."""
        return cast("BinaryIO", (self._root / path).open("rb", buffering=0))

    def delete(self, paths: Sequence[str]) -> None:
        """Delete files, durably; those that are gone already do not matter."""
        for path in paths:
            try:
                self._store(make=False).delete(path)
            except FileNotFoundError:
                continue
        for folder in {(self._root / path).parent for path in paths}:
            sync_folder(folder)

    def _put(self, path: str, content: bytes | Path, *, create: bool) -> None:
        """Write a file under another name, synchronise it, rename it, and synchronise its folder."""
        root, store = self._root, self._store(make=True)
        staged = _stage(root, f"{path.split('/', 1)[0]}/{STAGING}", content)
        try:
            if (root / staged).stat().st_size == 0:
                store.put(staged, content)
            _sync_file(root / staged)
            fresh = _missing_folders(root, (root / path).parent)
            store.rename(staged, path, overwrite=not create)
        finally:
            # After a failure, and when it was a link to the very file it should replace.
            with suppress(OSError):
                (root / staged).unlink(missing_ok=True)
        try:
            for folder in (*fresh, (root / path).parent):
                sync_folder(folder)
        except OSError:
            # What was replaced may be named by an older manifest: only what is new is taken back.
            if create:
                (root / path).unlink(missing_ok=True)
            raise

    def _store(self, *, make: bool) -> ObjectStore:
        if self._opened is None:
            from obstore.store import LocalStore

            self._opened = LocalStore(self._root, mkdir=make)
        return self._opened


def _stage(root: Path, folder: str, content: bytes | Path) -> str:
    """A name in the staging folder that is nobody else's: a link to the content, or still empty.

    A link shares the content instead of copying it, where both lie in one file system. A snapshot's files
    are never written again, so the stored one cannot change with the other.
    """
    (root / folder).mkdir(parents=True, exist_ok=True)
    while True:
        staged = f"{folder}/{os.getpid()}-{next(_serials)}"
        try:
            if isinstance(content, Path) and link(content, root / staged):
                return staged
            (root / staged).touch(exist_ok=False)
        except FileExistsError:
            continue
        return staged


def link(source: Path, target: Path) -> bool:
    """Give a file a second name; whether that is possible.

    Raises:
        FileExistsError: there is a file of that name.
    """
    try:
        os.link(source, target)
    except FileExistsError:
        raise
    except OSError:
        return False
    return True


def sync_folder(path: Path) -> None:
    """Make the names in a folder durable; one that is gone does not matter."""
    try:
        _sync_file(path)
    except FileNotFoundError:
        return


def _missing_folders(root: Path, folder: Path) -> list[Path]:
    """The folders that will get a new folder inside when `folder` is made: their entries must reach the disk
    too."""
    parents = []
    while folder != root and not folder.is_dir():
        folder = folder.parent
        parents.append(folder)
    return parents


def _sync_file(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
