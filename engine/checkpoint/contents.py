"""The contents that manifests name: stored and fetched by their SHA-256, each once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Mapping, MutableMapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar

from ..clock import Clock
from ..errors import CheckpointError, CorruptionError
from ..executor import Executor
from .blobs import Blobs
from .local_copies import LocalCopies, Verified, sha256_of, share
from .manifest import FileEntry
from .objects import Pace
from .upload_rate import UploadRate

T = TypeVar("T")
R = TypeVar("R")

FILES: Final = "files"
RANGE_BYTES: Final = 128 << 20
"""Objects above this size are fetched in ranges of it, several at once; those below each as a whole."""


class LocalFiles(Protocol):
    """Files in a folder, to be stored: those of a snapshot, for one. See `SnapshotFiles` for the attributes."""

    @property
    def directory(self) -> Path: ...
    @property
    def files(self) -> Sequence[str]: ...
    @property
    def immutable(self) -> Mapping[str, str]: ...


@dataclass
class FetchProgress:
    """How far a restore has come; counted while it goes on.

    Attributes:
        total_bytes: of all files that are wanted.
        done_bytes: of those that are there.
        linked_bytes: the part of `done_bytes` that was on this machine already.
    """

    total_bytes: int = 0
    done_bytes: int = 0
    linked_bytes: int = 0


class Contents:
    """The contents of one job. All methods are called from one event loop; what blocks runs in the executor.

    Contents that this object has neither written nor verified are written again rather than trusted.

    Args:
        at_once: files under way at the same time.
        bytes_per_s: most that is sent to an object store; None for no limit.
    """

    def __init__(
        self, blobs: Blobs, job: str, executor: Executor, clock: Clock, *, at_once: int, bytes_per_s: int | None
    ) -> None:
        self._blobs = blobs
        self._job = job
        self._executor = executor
        self._clock = clock
        self._rate = None if bytes_per_s is None else UploadRate(bytes_per_s, clock)
        self._trusted: set[str] = set()
        self._pinned: dict[str, int] = {}
        self._storing: dict[str, asyncio.Event] = {}
        self._gate = asyncio.Semaphore(at_once)
        self._deletion = asyncio.Lock()
        self._deleting: frozenset[str] = frozenset()
        self._verified = Verified()
        self._copies: LocalCopies | None = None

    @property
    def pinned(self) -> frozenset[str]:
        """Contents of checkpoints that are under way: no manifest names them yet, and they must stay."""
        return frozenset(self._pinned)

    def keep_copies(self, folder: Path) -> None:
        """Keep the files of the newest checkpoint in a local folder beside an object store."""
        if self._blobs.root is None:
            self._copies = LocalCopies(folder, self._verified)

    async def prune_copies(self, named: Iterable[str]) -> None:
        """Keep no copies but of these contents, and of those under way."""
        if self._copies is not None:
            await self._executor.run(self._copies.prune, {*named, *self._pinned})

    # Storing --------------------------------------------------------------------------------------------

    async def store(
        self, files: LocalFiles, known: MutableMapping[str, str], is_wanted: Callable[[], bool]
    ) -> Sequence[FileEntry]:
        """See `CheckpointStorage.store_files`."""
        stale = known.keys() - set(files.immutable.values())
        for identity in stale:
            del known[identity]
        stored = []

        async def store(name: str) -> FileEntry:
            sha256 = known.get(files.immutable.get(name, ""))
            entry = await self._store_file(files.directory / name, name, sha256, is_wanted)
            stored.append(entry)
            return entry

        try:
            entries = await gathered(store, files.files)
        except BaseException:
            self.release(stored)
            raise
        for entry in entries:
            if entry.name in files.immutable:
                known[files.immutable[entry.name]] = entry.sha256
        return entries

    async def _store_file(self, path: Path, name: str, sha256: str | None, is_wanted: Callable[[], bool]) -> FileEntry:
        try:
            size = (await self._executor.run(path.stat)).st_size
            if sha256 is None:
                sha256 = await self._in_turn(self._hash, path)
        except OSError as error:
            raise CheckpointError(f"cannot read {path} for the checkpoint: {error.strerror}") from error
        self._pinned[sha256] = self._pinned.get(sha256, 0) + 1
        entry = FileEntry(name, size, sha256)
        try:
            await self._store_once(entry, path, is_wanted)
        except BaseException:
            self.release([entry])
            raise
        return entry

    async def _store_once(self, entry: FileEntry, path: Path, is_wanted: Callable[[], bool]) -> None:
        sha256 = entry.sha256
        while (other := self._storing.get(sha256)) is not None:
            await other.wait()
        if sha256 in self._trusted:
            return
        self._storing[sha256] = asyncio.Event()
        try:
            if sha256 in self._deleting:
                # Written again before it is gone, it would be deleted with a manifest naming it.
                async with self._deletion:
                    pass
            await self._in_turn(self._put, entry, path, self._pace(is_wanted))
            self._trusted.add(sha256)
        finally:
            self._storing.pop(sha256).set()

    def _put(self, entry: FileEntry, path: Path, pace: Pace) -> None:
        self._blobs.put_file(self.path(entry.sha256), path, pace)
        self._remember(entry.sha256, path)

    def _hash(self, path: Path) -> str:
        sha256 = sha256_of(path)
        self._remember(sha256, path)
        return sha256

    def _remember(self, sha256: str, path: Path) -> None:
        """A file was hashed: so was what shares it, the stored one of a local storage or the copy beside an object store."""
        stored = self._blobs.local_path(self.path(sha256))
        if self._copies is not None:
            self._copies.keep(sha256, path)
        elif stored is not None:
            with suppress(OSError):
                if stored.samefile(path):
                    self._verified.note(sha256, stored)

    def _pace(self, is_wanted: Callable[[], bool]) -> Pace:
        loop = asyncio.get_running_loop()

        def pace(n_bytes: int) -> None:
            if not is_wanted():
                raise CheckpointError("the checkpoint was given up while its files were being stored")
            if self._rate is None:
                return
            try:
                asyncio.get_running_loop()
            except RuntimeError:
                asyncio.run_coroutine_threadsafe(self._rate.take(n_bytes), loop).result()
            # Else it runs in line: the loop cannot wait for itself.

        return pace

    def release(self, entries: Iterable[FileEntry]) -> None:
        """See `CheckpointStorage.release`."""
        for entry in entries:
            left = self._pinned.get(entry.sha256, 0) - 1
            if left > 0:
                self._pinned[entry.sha256] = left
            else:
                self._pinned.pop(entry.sha256, None)

    # Fetching -------------------------------------------------------------------------------------------

    async def fetch(
        self, checkpoint_id: int, entries: Sequence[FileEntry], directory: Path, progress: FetchProgress
    ) -> None:
        """See `CheckpointStorage.fetch_files`."""
        folders = {directory, *((directory / entry.name).parent for entry in entries)}

        def make_folders() -> None:
            for folder in sorted(folders):
                folder.mkdir(parents=True, exist_ok=True)

        try:
            await self._executor.run(make_folders)
        except OSError as error:
            raise CheckpointError(
                f"cannot restore into {directory}: {error.strerror}; make it writable or use another working directory"
            ) from error

        async def fetch(entry: FileEntry) -> None:
            problem = await self._fetch_file(entry, directory / entry.name, progress)
            if problem is not None:
                path, _, reason = problem.rpartition(": ")
                raise CorruptionError(checkpoint_id, path, f"{reason} (file {entry.name})")

        await gathered(fetch, entries)

    async def _fetch_file(self, entry: FileEntry, target: Path, progress: FetchProgress) -> str | None:
        if self._copies is not None and await self._in_turn(self._copies.take, entry, target):
            self._trusted.add(entry.sha256)
            progress.linked_bytes += entry.size
            progress.done_bytes += entry.size
            return None
        if self._blobs.root is not None and await self._in_turn(self._share_stored, entry, target):
            self._trusted.add(entry.sha256)
            progress.linked_bytes += entry.size
            progress.done_bytes += entry.size
            return None
        if self._blobs.root is None and entry.size > RANGE_BYTES:
            problem = await self._fetch_ranges(entry, target, progress)
        else:
            problem = await self.check(entry, target)
            progress.done_bytes += entry.size
        if problem is None and self._copies is not None:
            await self._in_turn(self._copies.keep, entry.sha256, target)
        return problem

    def _share_stored(self, entry: FileEntry, target: Path) -> bool:
        """Link a file of a local storage that is whole; whether that could be done."""
        path = self._blobs.local_path(self.path(entry.sha256))
        assert path is not None
        try:
            whole = self._verified.check(entry, path)
        except OSError:
            return False
        return whole and share(path, entry.name, target)

    async def _fetch_ranges(self, entry: FileEntry, target: Path, progress: FetchProgress) -> str | None:
        """Fetch a big file in ranges, several at once, and hash the whole."""
        path = self.path(entry.sha256)
        starts = range(0, entry.size, RANGE_BYTES)

        def make_file() -> None:
            with target.open("wb") as file:
                file.truncate(entry.size)

        async def fetch(start: int) -> int | None:
            end = min(start + RANGE_BYTES, entry.size)
            size = await self._in_turn(self._blobs.fetch_range, path, start, end, target)
            progress.done_bytes += end - start
            return size

        try:
            await self._executor.run(make_file)
            sizes = await gathered(fetch, starts)
            sha256 = await self._in_turn(sha256_of, target)
        except OSError as error:
            raise CheckpointError(f"cannot restore into {target}: {error.strerror}") from error
        wrong = [size for size in sizes if size != entry.size]
        return await self._executor.run(
            self._judge, entry, target, None if None in wrong else ((wrong or [entry.size])[0] or 0, sha256)
        )

    async def check(self, entry: FileEntry, target: Path | None) -> str | None:
        """Read a content, copying it to `target` if given: what is wrong with it, after its address and a colon; None
        when nothing is."""
        return await self._in_turn(self._check_content, entry, target)

    def _check_content(self, entry: FileEntry, target: Path | None) -> str | None:
        return self._judge(entry, target, self._blobs.digest(self.path(entry.sha256), target))

    def _judge(self, entry: FileEntry, target: Path | None, found: tuple[int, str] | None) -> str | None:
        """What is wrong, from the size and the SHA-256 that were found; a copy that is not whole goes."""
        if found == (entry.size, entry.sha256):
            self._trusted.add(entry.sha256)
            return None
        self._trusted.discard(entry.sha256)
        if target is not None:
            target.unlink(missing_ok=True)
        if found is None:
            reason = "the file is missing"
        elif found[0] != entry.size:
            reason = f"the file has {found[0]} bytes instead of {entry.size}"
        else:
            reason = "the content does not match its SHA-256"
        return f"{self._blobs.address(self.path(entry.sha256))}: {reason}"

    # Deleting -------------------------------------------------------------------------------------------

    async def delete(self, contents: Iterable[str]) -> None:
        """See `CheckpointStorage.delete_contents`."""
        async with self._deletion:
            self._deleting = frozenset(contents) - self._pinned.keys()
            self._trusted -= self._deleting
            try:
                await self._executor.run(self._blobs.delete, [self.path(sha) for sha in self._deleting])
            finally:
                self._deleting = frozenset()

    async def unnamed(self, named: Iterable[str], grace_ms: int) -> Sequence[str]:
        """See `CheckpointStorage.unnamed_contents`."""
        keep = {*named, *self._pinned}
        limit = self._clock.now_ms() - grace_ms
        blobs = await self._executor.run(self._blobs.list, f"{self._job}/{FILES}")
        names = [(blob.path.rsplit("/", 1)[-1], blob) for blob in blobs]
        return sorted(name for name, blob in names if name not in keep and blob.modified_ms < limit)

    def path(self, sha256: str) -> str:
        """Where a content lies, relative to the storage."""
        return f"{self._job}/{FILES}/{sha256[:2]}/{sha256}"

    async def _in_turn(self, function: Callable[..., R], *args: Any) -> R:
        async with self._gate:
            return await self._executor.run(function, *args)


async def gathered(function: Callable[[T], Coroutine[Any, Any, R]], items: Sequence[T]) -> Sequence[R]:
    """The function over all items, several at once; the first error ends the others and is raised alone."""
    try:
        async with asyncio.TaskGroup() as group:
            running = [group.create_task(function(item)) for item in items]
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return [done.result() for done in running]
