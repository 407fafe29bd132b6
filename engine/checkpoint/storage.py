"""Where checkpoints are kept."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Coroutine, Iterable, MutableMapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from ..clock import Clock
from ..errors import CheckpointError, CorruptionError, FencedError
from ..executor import Executor
from ..state.backend import SnapshotFiles
from .attempts import AttemptRecord, Attempts
from .blobs import STAGING, BlobExistsError, Blobs
from .listing import CHECKPOINTS, CheckpointInfo, inspect, list_checkpoints, manifest_path
from .lock import DirectoryLock
from .manifest import FileEntry, Manifest, encode
from .names import check_job_name, check_savepoint_name

if TYPE_CHECKING:
    from obstore.store import ObjectStore

T = TypeVar("T")
R = TypeVar("R")

FILES: Final = "files"
_AT_ONCE: Final = 2
"""Files under way at the same time: the executor has threads for others as well."""


class CheckpointStorage:
    """The checkpoints, savepoints and starts of one job.

        <location>/<job>/checkpoints/<id, 10 digits>/manifest.json
        <location>/<job>/savepoints/<name>/manifest.json
        <location>/<job>/files/<first two digits>/<sha256>     contents, shared between checkpoints
        <location>/<job>/attempts/<n, 6 digits>.json           one per start; the newest one may write
        <location>/<job>/staging/                              local only: files not yet whole
        <location>/<job>/.lock                                 local only: held by the live process

    A manifest is written last, so what it names is there and on the disk. Contents that this object has
    neither written nor verified are written again rather than trusted. All methods are called from one event
    loop; what blocks runs in the executor. Nothing is made on disk before the first write.

    Args:
        location: a local directory or a URL: `file://`, `memory://`, `s3://`, `gs://`, `az://`….
        job: the job's name: letters, digits, `.`, `_` and `-`.
        store: an obstore store to use in place of the one that `location` names.

    Raises:
        ConfigError: the location or the job's name cannot be used.
    """

    def __init__(
        self,
        location: str | Path,
        job: str,
        executor: Executor,
        clock: Clock,
        *,
        store: ObjectStore | None = None,
    ) -> None:
        check_job_name(job)
        self.job = job
        self._blobs = Blobs(location, store)
        self._attempts = Attempts(self._blobs, job)
        self._executor = executor
        self._clock = clock
        self._lock: DirectoryLock | None = None
        self._trusted: set[str] = set()
        self._pinned: dict[str, int] = {}
        self._gate = asyncio.Semaphore(_AT_ONCE)
        self.manifests_lock = asyncio.Lock()
        """Held while a manifest is written, and by whoever decides what to delete from the manifests there
        are."""
        self._deletion = asyncio.Lock()
        self._deleting: frozenset[str] = frozenset()

    @property
    def address(self) -> str:
        """The job's directory, as people write it."""
        return self._blobs.address(self.job)

    @property
    def pinned(self) -> frozenset[str]:
        """Contents of checkpoints that are under way: no manifest names them yet, and they must stay."""
        return frozenset(self._pinned)

    # One live process -----------------------------------------------------------------------------------

    async def lock(self) -> None:
        """Make sure that no other live process works on this job. Local directories only; elsewhere
        `claim_attempt` alone keeps old writers out. Given back by `unlock` and by the end of the process.

        Raises:
            FencedError: another process holds it; names it.
            CheckpointError: the directory cannot be written.
        """
        if self._blobs.root is None or self._lock is not None:
            return
        lock = DirectoryLock(self._blobs.root / self.job, self.job, self._clock.now_ms())
        await self._executor.run(lock.acquire)
        self._lock = lock

    def unlock(self) -> None:
        """Give the lock back. No error when it is not held."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    async def claim_attempt(self, info: dict[str, Any] | None = None) -> AttemptRecord:
        """Register a new start of the job under the next number. From now on older attempts write no
        manifest."""
        last = await self._executor.run(self._last_checkpoint_id)
        return await self._executor.run(self._attempts.claim, self._clock.now_ms(), last, info or {})

    async def newest_attempt(self) -> AttemptRecord | None:
        """The latest start; None when the job was never started here."""
        return await self._executor.run(self._attempts.newest)

    # Checkpoints ----------------------------------------------------------------------------------------

    async def next_checkpoint_id(self) -> int:
        """A number greater than any that was ever used here, by whole and by damaged checkpoints. From 1."""
        return await self._executor.run(self._last_checkpoint_id) + 1

    async def list(self) -> list[CheckpointInfo]:
        """Every checkpoint and savepoint, damaged ones too, by id; those without a known id come last.

        Raises:
            CheckpointError: the storage cannot be read.
        """
        return await self._executor.run(list_checkpoints, self._blobs, self.job)

    async def read(self, wanted: int | str) -> Manifest:
        """The manifest of a checkpoint by its id, or of a savepoint by its name or id.

        Raises:
            CorruptionError: the manifest is damaged.
            CheckpointError: there is none; names those there are. Or a newer version wrote it.
        """
        info = await self.find(wanted)
        if info.manifest is None:
            assert info.problem is not None
            if info.damaged:
                raise CorruptionError(info.checkpoint_id or 0, info.path, info.problem)
            raise CheckpointError(f"{info.title} cannot be read: {info.path}: {info.problem}")
        return info.manifest

    async def find(self, wanted: int | str) -> CheckpointInfo:
        """The listing's entry of a checkpoint by its id, or of a savepoint by its name or id.

        Raises:
            CheckpointError: there is none; names those there are.
        """
        infos = await self.list()
        for info in infos:
            if wanted in (info.name, info.checkpoint_id):
                return info
        there = ", ".join(info.title for info in infos[-10:]) or "none at all"
        wanted_title = f"savepoint {wanted!r}" if isinstance(wanted, str) else f"checkpoint {wanted}"
        raise CheckpointError(f"there is no {wanted_title} in {self.address}; there are: {there}")

    async def verify(self, wanted: int | str) -> Sequence[str]:
        """Read every byte of a checkpoint: its manifest and all its files. One sentence per problem.

        Raises:
            CheckpointError: there is no such checkpoint, or the storage cannot be read.
        """
        info = await self.find(wanted)
        if info.manifest is None:
            return [f"{info.path}: {info.problem}"]

        async def check(content: tuple[str, int]) -> str | None:
            return await self._check(FileEntry("", content[1], content[0]), None)

        found = await _gathered(check, sorted(info.manifest.contents().items()))
        return [problem for problem in found if problem is not None]

    async def write_manifest(self, manifest: Manifest) -> None:
        """Make a checkpoint exist. All its files have been stored before; they are no longer pinned after.

        The same manifest written again is no error. When cancelled, the manifest may still appear: a new
        attempt waits until the executor has ended what it began.

        Raises:
            FencedError: a newer attempt has started, or somebody else has written this checkpoint; says who.
            ConfigError: a savepoint's name cannot be used.
            CheckpointError: the storage refuses; the checkpoint does not exist then.
        """
        if manifest.kind == "savepoint":
            check_savepoint_name(manifest.name or "")
        async with self.manifests_lock:
            await self._executor.run(self._write_manifest, manifest)
            self.release(manifest.files())

    async def delete(self, checkpoint_ids: Iterable[int]) -> None:
        """Delete the manifests of checkpoints, oldest first; savepoints are not touched. Contents stay: see
        `delete_contents`."""
        await self._executor.run(self._delete, sorted(checkpoint_ids))

    async def delete_savepoint(self, name: str) -> None:
        """Delete the manifest of a savepoint. Only ever on a user's word."""
        check_savepoint_name(name)
        await self._executor.run(self._delete_manifest, manifest_path(self.job, 0, name))

    # Contents -------------------------------------------------------------------------------------------

    async def store_files(self, files: SnapshotFiles, known: MutableMapping[str, str]) -> Sequence[FileEntry]:
        """Store the files of a snapshot and describe them, in order; those with contents stored before cost
        nothing.

        The contents are pinned until `write_manifest` names them or `release` gives them up; also those
        stored before an error, so `release` has nothing to do then.

        Args:
            files: the snapshot.
            known: identity of an immutable file → SHA-256, one mapping per operator store; filled here, so
                that no such file is read twice. Forgets what the snapshot no longer has.

        Raises:
            CheckpointError: a file cannot be read or stored; names it and the remedy. No file is half there.
        """
        stale = known.keys() - set(files.immutable.values())
        for identity in stale:
            del known[identity]
        stored = []

        async def store(name: str) -> FileEntry:
            entry = await self._store_file(files.directory / name, name, known.get(files.immutable.get(name, "")))
            stored.append(entry)
            return entry

        try:
            entries = await _gathered(store, files.files)
        except BaseException:
            self.release(stored)
            raise
        for entry in entries:
            if entry.name in files.immutable:
                known[files.immutable[entry.name]] = entry.sha256
        return entries

    def release(self, entries: Iterable[FileEntry]) -> None:
        """The checkpoint for which these files were stored was given up, or its manifest is written."""
        for entry in entries:
            left = self._pinned.get(entry.sha256, 0) - 1
            if left > 0:
                self._pinned[entry.sha256] = left
            else:
                self._pinned.pop(entry.sha256, None)

    async def fetch_files(self, checkpoint_id: int, entries: Sequence[FileEntry], directory: Path) -> None:
        """Copy files into a directory under their names, verifying size and SHA-256 on the way. The copies
        are the caller's: changing them does not change the checkpoint.

        Raises:
            CorruptionError: a content is missing or not what the manifest says; names it. It is not left
                there.
            CheckpointError: the storage cannot be read, or the directory not be written.
        """
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
            target = directory / entry.name
            problem = await self._check(entry, target)
            if problem is not None:
                path, _, reason = problem.rpartition(": ")
                raise CorruptionError(checkpoint_id, path, f"{reason} (file {entry.name})")

        await _gathered(fetch, entries)

    async def delete_contents(self, contents: Iterable[str]) -> None:
        """Delete contents by SHA-256. The caller has made sure that no manifest names them; pinned ones
        stay."""
        async with self._deletion:
            self._deleting = frozenset(contents) - self._pinned.keys()
            self._trusted -= self._deleting
            try:
                await self._executor.run(self._blobs.delete, [self._content_path(sha) for sha in self._deleting])
            finally:
                self._deleting = frozenset()

    async def unnamed_contents(self, named: Iterable[str], grace_ms: int) -> Sequence[str]:
        """Contents that are not in `named`, not pinned, and were last written more than `grace_ms` ago."""
        keep = {*named, *self._pinned}
        limit = self._clock.now_ms() - grace_ms
        blobs = await self._executor.run(self._blobs.list, f"{self.job}/{FILES}")
        names = [(blob.path.rsplit("/", 1)[-1], blob) for blob in blobs]
        return sorted(name for name, blob in names if name not in keep and blob.modified_ms < limit)

    async def clear_leftovers(self, grace_ms: int) -> None:
        """Delete what crashed writers left half done more than `grace_ms` ago, and the records of old
        attempts."""
        await self._executor.run(self._clear_leftovers, self._clock.now_ms() - grace_ms)

    # Blocking, in the executor --------------------------------------------------------------------------

    def _last_checkpoint_id(self) -> int:
        found = [
            int(parts[2])
            for blob in self._blobs.list(f"{self.job}/{CHECKPOINTS}")
            if (parts := blob.path.split("/"))[2].isdigit()
        ]
        found += [info.checkpoint_id or 0 for info in list_checkpoints(self._blobs, self.job)]
        return max([*found, self._attempts.last_checkpoint_id()])

    def _write_manifest(self, manifest: Manifest) -> None:
        newest = self._attempts.newest()
        if newest is not None and newest.attempt > manifest.attempt:
            raise FencedError(
                f"{newest.who} of job {self.job!r} has taken over in {self.address}, so attempt "
                f"{manifest.attempt} may not write {manifest.title}; let this process end"
            )
        path = manifest_path(self.job, manifest.checkpoint_id, manifest.name)
        try:
            self._blobs.put(path, encode(manifest), create=True)
        except BlobExistsError as error:
            there = inspect(self._blobs, path, manifest.checkpoint_id if manifest.name is None else None, manifest.name)
            if there is not None and there.manifest == manifest:
                return
            written = None if there is None else there.manifest
            by = "another process" if written is None else f"attempt {written.attempt}"
            if manifest.kind == "savepoint":
                raise CheckpointError(
                    f"savepoint {manifest.name!r} exists already in {self.address}, written by {by}; take another name"
                ) from error
            raise FencedError(
                f"{manifest.title} of job {self.job!r} was written by {by} already, in {self.address}; "
                "another process runs this job: stop it, or let this one end"
            ) from error

    def _delete(self, checkpoint_ids: Sequence[int]) -> None:
        for checkpoint_id in checkpoint_ids:
            self._delete_manifest(manifest_path(self.job, checkpoint_id))

    def _delete_manifest(self, path: str) -> None:
        self._blobs.delete([path])
        self._blobs.delete_folder(path.rsplit("/", 1)[0])

    def _content_path(self, sha256: str) -> str:
        return f"{self.job}/{FILES}/{sha256[:2]}/{sha256}"

    def _check_content(self, entry: FileEntry, target: Path | None) -> str | None:
        path = self._content_path(entry.sha256)
        found = self._blobs.digest(path, target)
        if found == (entry.size, entry.sha256):
            return None
        if target is not None:
            target.unlink(missing_ok=True)
        if found is None:
            reason = "the file is missing"
        elif found[0] != entry.size:
            reason = f"the file has {found[0]} bytes instead of {entry.size}"
        else:
            reason = "the content does not match its SHA-256"
        return f"{self._blobs.address(path)}: {reason}"

    def _clear_leftovers(self, limit_ms: int) -> None:
        staged = self._blobs.list(f"{self.job}/{STAGING}")
        self._blobs.delete([blob.path for blob in staged if blob.modified_ms < limit_ms])
        self._attempts.clear()

    # ----------------------------------------------------------------------------------------------------

    async def _check(self, entry: FileEntry, target: Path | None) -> str | None:
        """What is wrong with a content, after its address and a colon; None when nothing is."""
        problem = await self._in_turn(self._check_content, entry, target)
        if problem is None:
            self._trusted.add(entry.sha256)
        else:
            self._trusted.discard(entry.sha256)
        return problem

    async def _store_file(self, path: Path, name: str, sha256: str | None) -> FileEntry:
        try:
            size = (await self._executor.run(path.stat)).st_size
            if sha256 is None:
                sha256 = await self._in_turn(_digest, path)
        except OSError as error:
            raise CheckpointError(f"cannot read {path} for the checkpoint: {error.strerror}") from error
        self._pinned[sha256] = self._pinned.get(sha256, 0) + 1
        entry = FileEntry(name, size, sha256)
        if sha256 not in self._trusted:
            try:
                if sha256 in self._deleting:
                    # Written again before it is gone, it would be deleted with a manifest naming it.
                    async with self._deletion:
                        pass
                await self._in_turn(self._blobs.put_file, self._content_path(sha256), path)
            except BaseException:
                self.release([entry])
                raise
            self._trusted.add(sha256)
        return entry

    async def _in_turn(self, function: Callable[..., R], *args: Any) -> R:
        async with self._gate:
            return await self._executor.run(function, *args)


async def _gathered(function: Callable[[T], Coroutine[Any, Any, R]], items: Sequence[T]) -> Sequence[R]:
    """The function over all items, several at once; the first error ends the others and is raised alone."""
    try:
        async with asyncio.TaskGroup() as group:
            running = [group.create_task(function(item)) for item in items]
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return [done.result() for done in running]


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
