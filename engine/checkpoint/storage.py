"""Where checkpoints are kept."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, MutableMapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..clock import Clock
from ..errors import CheckpointError, CorruptionError, FencedError
from ..executor import Executor
from .attempts import AttemptRecord, Attempts
from .blobs import BlobExistsError, Blobs
from .contents import Contents, FetchProgress, LocalFiles, gathered
from .line import Start, why_left
from .listing import CHECKPOINTS, CheckpointInfo, inspect, list_checkpoints, manifest_path
from .local_files import STAGING
from .lock import DirectoryLock
from .manifest import FileEntry, Manifest, encode
from .names import check_job_name, check_savepoint_name
from .starts import Starts
from .store_options import StoreSettings

if TYPE_CHECKING:
    from obstore.store import ObjectStore


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
        settings: how an object store is spoken to.
        at_once: files stored or fetched at the same time; the executor should have threads for others as well.
        upload_rate: most bytes per second that are sent to an object store; None for no limit.

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
        settings: StoreSettings | None = None,
        at_once: int = 2,
        upload_rate: int | None = None,
    ) -> None:
        check_job_name(job)
        self.job = job
        self._blobs = Blobs(location, store, settings)
        self._attempts = Attempts(self._blobs, job)
        self._starts = Starts(self._attempts, job, self.address, executor)
        self._contents = Contents(self._blobs, job, executor, clock, at_once=at_once, bytes_per_s=upload_rate)
        self._executor = executor
        self._clock = clock
        self._lock: DirectoryLock | None = None
        self.manifests_lock = asyncio.Lock()
        """Held while a manifest is written, and by whoever decides what to delete from the manifests there
        are."""

    @property
    def address(self) -> str:
        """The job's directory, as people write it."""
        return self._blobs.address(self.job)

    @property
    def pinned(self) -> frozenset[str]:
        """Contents of checkpoints that are under way: no manifest names them yet, and they must stay."""
        return self._contents.pinned

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
        manifest.

        Raises:
            FencedError: this is a restart, and another process has started the job meanwhile. A process that was stopped for a
                while may fail for many reasons when it wakes; it must not throw out the one that took its place.
            CheckpointError: the storage refuses.
        """
        return await self._starts.claim(self._clock.now_ms(), info or {}, self._highest)

    async def begin(self, manifest: Manifest | None) -> None:
        """The claimed attempt begins from a checkpoint of this job, or from none: what older attempts wrote behind it is left,
        and never restored by itself again. To be called before anything is done about output that is newer.

        Raises:
            FencedError: a newer attempt has been claimed meanwhile.
            CheckpointError: the storage refuses.
        """
        await self._starts.begin(Start(0, 0) if manifest is None else Start(manifest.checkpoint_id, manifest.attempt))

    async def began_from_nothing(self) -> bool:
        """Whether the newest attempt that has begun did so without a checkpoint."""
        starts = await self._starts.known()
        return bool(starts) and starts[max(starts)].checkpoint_id == 0

    # Checkpoints ----------------------------------------------------------------------------------------

    async def next_checkpoint_id(self) -> int:
        """A number greater than any that was ever used here, by whole and by damaged checkpoints. From 1."""
        seen = await self._starts.seen()
        return (await self._executor.run(self._highest, seen))[0] + 1

    async def list(self) -> Sequence[CheckpointInfo]:
        """Every checkpoint and savepoint, damaged ones too, by id; those without a known id come last.

        Raises:
            CheckpointError: the storage cannot be read.
        """
        infos, starts = await self._executor.run(list_checkpoints, self._blobs, self.job), await self._starts.known()
        return [
            info if info.manifest is None else replace(info, left=why_left(info.manifest, starts)) for info in infos
        ]

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
            return await self._contents.check(FileEntry("", content[1], content[0]), None)

        found = await gathered(check, sorted(info.manifest.contents().items()))
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
            await self._contents.prune_copies(manifest.contents())

    async def delete(self, checkpoint_ids: Iterable[int]) -> None:
        """Delete the manifests of checkpoints, oldest first; savepoints are not touched. Contents stay: see
        `delete_contents`.

        Raises:
            FencedError: a newer attempt than the claimed one has started: it may need them.
        """
        await self._executor.run(self._delete, sorted(checkpoint_ids))

    async def delete_savepoint(self, name: str) -> None:
        """Delete the manifest of a savepoint. Only ever on a user's word."""
        check_savepoint_name(name)
        await self._executor.run(self._delete_manifest, manifest_path(self.job, 0, name))

    # Contents -------------------------------------------------------------------------------------------

    async def store_files(
        self, files: LocalFiles, known: MutableMapping[str, str], is_wanted: Callable[[], bool] = lambda: True
    ) -> Sequence[FileEntry]:
        """Store the files of a snapshot and describe them, in order; those with contents stored before cost
        nothing.

        The contents are pinned until `write_manifest` names them or `release` gives them up; also those
        stored before an error, so `release` has nothing to do then.

        Args:
            files: the snapshot, or others.
            known: identity of an immutable file → SHA-256, one mapping per operator store; filled here, so
                that no such file is read twice. Forgets what the snapshot no longer has.
            is_wanted: asked on the way, in any thread; false gives it up. What is stored by then stays known, so the
                next checkpoint has less to store.

        Raises:
            CheckpointError: a file cannot be read or stored; names it and the remedy. No file is half there.
        """
        return await self._contents.store(files, known, is_wanted)

    def release(self, entries: Iterable[FileEntry]) -> None:
        """The checkpoint for which these files were stored was given up, or its manifest is written."""
        self._contents.release(entries)

    async def fetch_files(
        self,
        checkpoint_id: int,
        entries: Sequence[FileEntry],
        directory: Path,
        progress: FetchProgress | None = None,
    ) -> None:
        """Put files into a directory under their names, size and SHA-256 verified. SST files, which no state backend
        writes to, may be links to files that are on this machine already; all others are copies.

        Args:
            progress: brought up to date on the way.

        Raises:
            CorruptionError: a content is missing or not what the manifest says; names it. It is not left
                there.
            CheckpointError: the storage cannot be read, or the directory not be written.
        """
        await self._contents.fetch(checkpoint_id, entries, directory, progress or FetchProgress())

    def keep_copies(self, folder: Path) -> None:
        """Keep the files of the newest checkpoint in a folder beside the databases, as links, so that they are not
        fetched when the job starts again from there. Does nothing for a local directory, which has them itself."""
        self._contents.keep_copies(folder)

    async def delete_contents(self, contents: Iterable[str]) -> None:
        """Delete contents by SHA-256. The caller has made sure that no manifest names them; pinned ones
        stay."""
        await self._contents.delete(contents)

    async def unnamed_contents(self, named: Iterable[str], grace_ms: int) -> Sequence[str]:
        """Contents that are not in `named`, not pinned, and were last written more than `grace_ms` ago."""
        return await self._contents.unnamed(named, grace_ms)

    async def clear_leftovers(self, grace_ms: int) -> None:
        """Delete what crashed writers left half done more than `grace_ms` ago, and the records of old
        attempts."""
        await self._executor.run(self._clear_leftovers, self._clock.now_ms() - grace_ms)

    # Blocking, in the executor --------------------------------------------------------------------------

    def _highest(self, seen: int) -> tuple[int, int]:
        """The highest checkpoint id that was ever used here, `seen` by earlier starts for one, and the highest attempt that
        wrote a checkpoint."""
        found = [
            int(parts[2])
            for blob in self._blobs.list(f"{self.job}/{CHECKPOINTS}")
            if (parts := blob.path.split("/"))[2].isdigit()
        ]
        infos = list_checkpoints(self._blobs, self.job)
        ids = [seen, *found, *(info.checkpoint_id or 0 for info in infos)]
        return max(ids), max((info.manifest.attempt for info in infos if info.manifest is not None), default=0)

    def _write_manifest(self, manifest: Manifest) -> None:
        self._starts.refuse_if_taken_over(manifest.attempt, f"write {manifest.title}")
        path = manifest_path(self.job, manifest.checkpoint_id, manifest.name)
        try:
            self._blobs.put(path, encode(manifest), create=True)
        except BlobExistsError as error:
            there = inspect(self._blobs, path, manifest.checkpoint_id if manifest.name is None else None, manifest.name)
            if there is None or there.manifest != manifest:
                raise self._taken(manifest, None if there is None else there.manifest) from error
        if self._blobs.root is None:
            # No lock keeps others out. A newer attempt that began while this was on its way has either seen the manifest,
            # and commits its output, or has not: only it can tell.
            self._starts.refuse_if_taken_over(manifest.attempt, f"write {manifest.title}")

    def _taken(self, manifest: Manifest, there: Manifest | None) -> Exception:
        """What it means that somebody else's manifest is where one was to be written."""
        by = "another process" if there is None else f"attempt {there.attempt}"
        if manifest.kind == "savepoint":
            return CheckpointError(
                f"savepoint {manifest.name!r} exists already in {self.address}, written by {by}; take another name"
            )
        if there is not None and there.attempt < manifest.attempt:
            return CheckpointError(
                f"{manifest.title} was written by {by}, an older one that has come back; the next takes another number"
            )
        return FencedError(
            f"{manifest.title} of job {self.job!r} was written by {by} already, in {self.address}; "
            "another process runs this job: stop it, or let this one end"
        )

    def _delete(self, checkpoint_ids: Sequence[int]) -> None:
        claimed = self._starts.claimed
        if claimed is not None and self._blobs.root is None:
            # No lock keeps others out, and the starts that decide what may go are those of this attempt's beginning.
            self._starts.refuse_if_taken_over(claimed.attempt, "delete checkpoints")
        for checkpoint_id in checkpoint_ids:
            self._delete_manifest(manifest_path(self.job, checkpoint_id))

    def _delete_manifest(self, path: str) -> None:
        self._blobs.delete([path])
        self._blobs.delete_folder(path.rsplit("/", 1)[0])

    def _clear_leftovers(self, limit_ms: int) -> None:
        staged = self._blobs.list(f"{self.job}/{STAGING}")
        self._blobs.delete([blob.path for blob in staged if blob.modified_ms < limit_ms])
        self._attempts.clear()
