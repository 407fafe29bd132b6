"""Whole files under a root: a local directory, an object store, or memory. Blocking; called through the
executor."""

from __future__ import annotations

import errno
import hashlib
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from ..errors import CheckpointError, ConfigError

if TYPE_CHECKING:
    from obstore.store import ObjectStore

STAGING: Final = "staging"
_CHUNK_BYTES: Final = 1 << 20
_serials: Final = count()
_OS_ERROR: Final = re.compile(r"\(os error (\d+)\)")
_REMEDIES: Final = {
    errno.ENOSPC: "the disk is full; free some space, or keep fewer checkpoints",
    errno.EDQUOT: "the disk quota is used up; raise it, or keep fewer checkpoints",
    errno.EFBIG: "the file is larger than this process or file system may write; raise the limit (ulimit -f)",
    errno.EROFS: "the file system is read-only; make it writable or use another directory",
    errno.EACCES: "permission denied; make it writable for this user or use another directory",
    errno.EPERM: "not permitted; make it writable for this user or use another directory",
    errno.ENOTDIR: "a part of the path is a file; use another directory",
}


class BlobExistsError(Exception):
    """`put(create=True)` found something there already."""


@dataclass(frozen=True, slots=True)
class Blob:
    """One entry of a listing: where it is, how big, and when it was last written (ms since 1970 UTC)."""

    path: str
    size: int
    modified_ms: int


class Blobs:
    """Reads and writes whole files, never parts: what stands under a name was written completely.

    On a local directory a file is written under another name, synchronised to the disk, renamed, and its
    folder is
    synchronised: after a power cut it is there completely or not at all. Object stores do so by themselves.

    Args:
        location: a local path, or a URL: `file://`, `memory://`, `s3://bucket/prefix`, `gs://`, `az://`….
        store: an obstore store to use in place of one made from `location`: for settings that a URL does not
            hold, and to share one `memory://` store.

    Raises:
        ConfigError: the location is not a path or URL that is known.
    """

    def __init__(self, location: str | Path, store: ObjectStore | None = None) -> None:
        text = str(location)
        self.location = text
        self._store = store
        self.root: Path | None = None
        if store is None:
            if text.startswith("file://"):
                self.root = Path(text.removeprefix("file://"))
            elif "://" not in text:
                self.root = Path(location)
            else:
                self._store = _from_url(text)
        if self.root is not None:
            self.root = self.root.absolute()

    def address(self, path: str) -> str:
        """Where a file is, as people write it."""
        return str(self.root / path) if self.root is not None else f"{self.location.rstrip('/')}/{path}"

    def exists(self) -> bool:
        """Whether the root is there; an object store's always is."""
        return self.root is None or self.root.is_dir()

    def put(self, path: str, data: bytes, *, create: bool = False) -> None:
        """Write a file; with `create` only if there is none of that name.

        Raises:
            BlobExistsError: there is one, and `create` is set. Of several writers exactly one does not get
                this.
            CheckpointError: the store refuses; names the file and the remedy.
        """
        self._put(path, data, create)

    def put_file(self, path: str, source: Path) -> None:
        """Write a file with the content of `source`, replacing what is there. Errors as `put`."""
        self._put(path, source, False)

    def get(self, path: str) -> bytes | None:
        """A file's content; None when there is none."""
        try:
            if self.root is not None:
                return (self.root / path).read_bytes()
            return bytes(self._open_store(make=False).get(path).bytes())
        except FileNotFoundError:
            return None
        except Exception as error:
            raise self._refused("read", path, error) from error

    def digest(self, path: str, target: Path | None = None) -> tuple[int, str] | None:
        """Read a file to its end, copying it to `target` if given; its size and SHA-256, None when there is
        none."""
        hasher = hashlib.sha256()
        size = 0
        try:
            with _Target(target) as out:
                for chunk in self._chunks(path):
                    hasher.update(chunk)
                    size += len(chunk)
                    out.write(chunk)
        except FileNotFoundError as error:
            if target is not None and not target.parent.is_dir():
                raise self._refused("copy", path, error) from error
            return None
        except Exception as error:
            raise self._refused("read", path, error) from error
        return size, hasher.hexdigest()

    def list(self, prefix: str) -> Sequence[Blob]:
        """All files below a folder, in no order."""
        if not self.exists():
            return []
        try:
            return [
                Blob(found["path"], found["size"], int(found["last_modified"].timestamp() * 1000))
                for page in self._open_store(make=False).list(prefix)
                for found in page
            ]
        except FileNotFoundError:
            return []
        except Exception as error:
            raise self._refused("list", prefix, error) from error

    def folders(self, prefix: str = "") -> Sequence[str]:
        """The names of the folders directly below a folder, sorted."""
        if not self.exists():
            return []
        try:
            found = self._open_store(make=False).list_with_delimiter(prefix or None)
        except Exception as error:
            raise self._refused("list", prefix, error) from error
        return sorted(path.rsplit("/", 1)[-1] for path in found["common_prefixes"])

    def delete(self, paths: Sequence[str]) -> None:
        """Delete files, durably; those that are gone already do not matter."""
        for path in paths:
            try:
                self._open_store(make=False).delete(path)
            except FileNotFoundError:
                continue
            except Exception as error:
                raise self._refused("delete", path, error) from error
        if self.root is not None:
            for folder in {(self.root / path).parent for path in paths}:
                _sync_folder(folder)

    def delete_folder(self, path: str) -> None:
        """Remove an empty folder, which only a local directory has; one that is not empty stays."""
        if self.root is not None:
            try:
                (self.root / path).rmdir()
            except OSError:
                return

    def _put(self, path: str, content: bytes | Path, create: bool) -> None:
        from obstore.exceptions import AlreadyExistsError, PreconditionError

        try:
            store = self._open_store(make=True)
            if self.root is None:
                store.put(
                    path,
                    content,
                    mode="create" if create else "overwrite",
                    use_multipart=False if create else None,
                )
                return
            staged = self._stage(self.root, f"{path.split('/', 1)[0]}/{STAGING}", content)
            try:
                if (self.root / staged).stat().st_size == 0:
                    store.put(staged, content)
                _sync_file(self.root / staged)
                fresh = _missing_folders(self.root, (self.root / path).parent)
                store.rename(staged, path, overwrite=not create)
            finally:
                # After a failure, and when it was a link to the very file it should replace.
                with suppress(OSError):
                    (self.root / staged).unlink(missing_ok=True)
            try:
                for folder in (*fresh, (self.root / path).parent):
                    _sync_folder(folder)
            except OSError:
                # What was replaced may be named by an older manifest: only what is new is taken back.
                if create:
                    (self.root / path).unlink(missing_ok=True)
                raise
        except (AlreadyExistsError, PreconditionError) as error:
            raise BlobExistsError(path) from error
        except Exception as error:
            raise self._refused("write", path, error) from error

    def _stage(self, root: Path, folder: str, content: bytes | Path) -> str:
        """A name in the staging folder that is nobody else's: a link to the content, or still empty.

        A link shares the content instead of copying it, where both lie in one file system. A snapshot's files
        are never written again, so the stored one cannot change with the other.
        """
        (root / folder).mkdir(parents=True, exist_ok=True)
        while True:
            staged = f"{folder}/{os.getpid()}-{next(_serials)}"
            try:
                if isinstance(content, Path) and _link(content, root / staged):
                    return staged
                (root / staged).touch(exist_ok=False)
            except FileExistsError:
                continue
            return staged

    def _chunks(self, path: str) -> Iterator[Any]:
        if self.root is None:
            yield from self._open_store(make=False).get(path).stream(min_chunk_size=_CHUNK_BYTES)
            return
        # Reading through the store's stream costs seven times as much as reading the file.
        with (self.root / path).open("rb", buffering=0) as file:
            while chunk := file.read(_CHUNK_BYTES):
                yield chunk

    def _open_store(self, *, make: bool) -> ObjectStore:
        if self._store is None:
            from obstore.store import LocalStore

            assert self.root is not None
            self._store = LocalStore(self.root, mkdir=make)
        return self._store

    def _refused(self, what: str, path: str, error: Exception) -> CheckpointError:
        if isinstance(error, CheckpointError):
            return error
        code = error.errno if isinstance(error, OSError) else None
        if code is None:
            found = _OS_ERROR.search(str(error))
            code = None if found is None else int(found[1])
        first_line = (str(error) or type(error).__name__).splitlines()[0]
        return CheckpointError(f"cannot {what} {self.address(path)}: {_REMEDIES.get(code or 0, first_line)}")


class _Target:
    """The file to copy to, or nothing; a copy that failed is deleted."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._file: BinaryIO | None = None

    def __enter__(self) -> _Target:
        if self._path is not None:
            self._file = self._path.open("wb")
        return self

    def write(self, chunk: Any) -> None:
        if self._file is not None:
            self._file.write(chunk)

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        if self._file is not None and self._path is not None:
            self._file.close()
            if kind is not None:
                self._path.unlink(missing_ok=True)


def _from_url(url: str) -> ObjectStore:
    from obstore.exceptions import BaseError
    from obstore.store import from_url

    try:
        return from_url(url)
    except (BaseError, ValueError) as error:
        raise ConfigError(
            f"checkpoints cannot be kept at {url!r}: {str(error).splitlines()[0]}; give a directory, or a URL "
            'such as "s3://bucket/prefix", "gs://…", "az://…" or "memory://"'
        ) from error


def _link(source: Path, target: Path) -> bool:
    try:
        os.link(source, target)
    except FileExistsError:
        raise
    except OSError:
        return False
    return True


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


def _sync_folder(path: Path) -> None:
    try:
        _sync_file(path)
    except FileNotFoundError:
        return
