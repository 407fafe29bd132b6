"""Whole files under a root: a local directory, an object store, or memory. Blocking; called through the
executor."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from ..errors import CheckpointError
from .local_files import LocalFiles
from .object_store import is_missing_object, open_store, refusal
from .objects import Objects, Pace
from .store_options import StoreSettings

if TYPE_CHECKING:
    from obstore.store import ObjectStore

_CHUNK_BYTES: Final = 1 << 20


class BlobExistsError(Exception):
    """`put(create=True)` found something there already."""


@dataclass(frozen=True, slots=True)
class Blob:
    """One entry of a listing: where it is, how big, and when it was last written (ms since 1970 UTC)."""

    path: str
    size: int
    modified_ms: int


class Blobs:
    """Reads and writes whole files: what stands under a name was written completely.

    Nothing is assumed of a listing but that it shows, some time, what was written: names that matter are created
    conditionally and read by name.

    Args:
        location: a local path, or a URL: `file://`, `memory://`, `s3://bucket/prefix`, `gs://`, `az://`….
        store: an obstore store to use in place of one made from `location`: to share one `memory://` store.
        settings: how an object store is spoken to.

    Raises:
        ConfigError: the location is not a path or URL that is known, or a setting means nothing there.
    """

    def __init__(
        self, location: str | Path, store: ObjectStore | None = None, settings: StoreSettings | None = None
    ) -> None:
        self.location = str(location)
        self.root: Path | None = None
        if store is None and "://" in self.location.removeprefix("file://"):
            store = open_store(self.location, settings or StoreSettings())
        if store is None:
            self.root = Path(self.location.removeprefix("file://")).absolute()
            self._store: LocalFiles | Objects = LocalFiles(self.root)
        else:
            self._store = Objects(store)

    def address(self, path: str) -> str:
        """Where a file is, as people write it."""
        return str(self.root / path) if self.root is not None else f"{self.location.rstrip('/')}/{path}"

    def exists(self) -> bool:
        """Whether the root is there; an object store's always is."""
        return self.root is None or self.root.is_dir()

    # Writing --------------------------------------------------------------------------------------------

    def put(self, path: str, data: bytes, *, create: bool = False) -> None:
        """Write a file; with `create` only if there is none of that name.

        An object store's answer can get lost after the file was created, so one that is there with just these
        bytes is ours: write what tells writers apart.

        Raises:
            BlobExistsError: there is another one, and `create` is set. Of several writers of different bytes exactly
                one does not get this.
            CheckpointError: the store refuses; names the file and the remedy. Where it does not answer, a
                `StoreUnavailableError`.
        """
        try:
            if not create:
                self._store.put(path, data)
                return
            is_ours = self._store.create(path, data)
        except Exception as error:
            raise self._refused("write", path, error) from error
        if not is_ours:
            raise BlobExistsError(path)

    def put_file(self, path: str, source: Path, pace: Pace | None = None) -> None:
        """Write a file with the content of `source`, replacing what is there. Errors as `put`.

        Args:
            pace: how fast it may be sent to an object store.
        """
        try:
            self._store.send(path, source, pace)
        except Exception as error:
            raise self._refused("write", path, error) from error

    def delete(self, paths: Sequence[str]) -> None:
        """Delete files, durably; those that are gone already do not matter."""
        if not paths:
            return
        try:
            self._store.delete(paths)
        except Exception as error:
            where = paths[0] if len(paths) == 1 else paths[0].split("/", 1)[0]
            raise self._refused("delete", where, error) from error

    def delete_folder(self, path: str) -> None:
        """Remove an empty folder, which only a local directory has; one that is not empty stays."""
        if self.root is not None:
            try:
                (self.root / path).rmdir()
            except OSError:
                return

    # Reading --------------------------------------------------------------------------------------------

    def get(self, path: str) -> bytes | None:
        """A file's content; None when there is none."""
        try:
            return self._store.get(path)
        except FileNotFoundError as error:
            if not is_missing_object(error):
                raise self._refused("read", path, error) from error
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
            if (target is not None and not target.parent.is_dir()) or not is_missing_object(error):
                raise self._refused("copy", path, error) from error
            return None
        except Exception as error:
            raise self._refused("read", path, error) from error
        return size, hasher.hexdigest()

    def fetch_range(self, path: str, start: int, end: int, target: Path) -> int | None:
        """Write the bytes from `start` to before `end` of an object into `target` at the same place; the size of the
        whole object, None when there is none. The file is there already. Object stores only.

        Raises:
            CheckpointError: the store refuses, or the file cannot be written.
        """
        assert isinstance(self._store, Objects)
        size = None
        try:
            with target.open("r+b", buffering=0) as file:
                file.seek(start)
                for total, chunk in self._store.stream(path, start, end):
                    file.write(chunk)
                    size = total
        except FileNotFoundError as error:
            if not target.parent.is_dir() or not is_missing_object(error):
                raise self._refused("read", path, error) from error
            return None
        except Exception as error:
            raise self._refused("read", path, error) from error
        return size

    def list(self, prefix: str) -> Sequence[Blob]:
        """All files below a folder, in no order."""
        if not self.exists():
            return []
        try:
            return [
                Blob(found["path"], found["size"], int(found["last_modified"].timestamp() * 1000))
                for found in self._store.list(prefix)
            ]
        except FileNotFoundError as error:
            if not is_missing_object(error):
                raise self._refused("list", prefix, error) from error
            return []
        except Exception as error:
            raise self._refused("list", prefix, error) from error

    def folders(self, prefix: str = "") -> Sequence[str]:
        """The names of the folders directly below a folder, sorted."""
        if not self.exists():
            return []
        try:
            found = self._store.folders(prefix)
        except Exception as error:
            raise self._refused("list", prefix, error) from error
        return sorted(path.rsplit("/", 1)[-1] for path in found)

    def local_path(self, path: str) -> Path | None:
        """Where a file lies on this machine; None in an object store."""
        return None if self.root is None else self.root / path

    # ----------------------------------------------------------------------------------------------------

    def _chunks(self, path: str) -> Iterator[Any]:
        if isinstance(self._store, Objects):
            yield from (chunk for _, chunk in self._store.stream(path))
            return
        with self._store.open(path) as file:
            while chunk := file.read(_CHUNK_BYTES):
                yield chunk

    def _refused(self, what: str, path: str, error: Exception) -> CheckpointError:
        return refusal(what, self.address(path), error)


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
