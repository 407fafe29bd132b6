"""Deleting what is no longer wanted."""

from __future__ import annotations

from collections.abc import Collection

from .decisions import Deletions, named_contents, what_to_delete
from .storage import CheckpointStorage


async def apply_retention(storage: CheckpointStorage, retain: int, in_use: Collection[int] = frozenset()) -> Deletions:
    """Delete all but the newest `retain` whole checkpoints, and the contents that only those deleted named.

    Manifests go first: interrupted at any point it leaves contents that nobody names, never a manifest whose
    contents are gone. Called after a checkpoint is complete; the caller holds the job's lock.

    Raises:
        CheckpointError: the storage refuses; what is left is deleted the next time.
    """
    async with storage.manifests_lock:
        deletions = what_to_delete(await storage.list(), retain, in_use, storage.pinned)
        if deletions.checkpoint_ids:
            await storage.delete(deletions.checkpoint_ids)
            await storage.delete_contents(deletions.contents)
    return deletions


async def delete_savepoint(storage: CheckpointStorage, name: str) -> tuple[str, ...]:
    """Delete a savepoint and the contents that only it named; only ever on a user's word. The caller holds the job's lock,
    or is sure that the job does not run.

    Returns:
        The contents deleted, by SHA-256. None while any manifest is damaged: it may name them.

    Raises:
        CheckpointError: there is no such savepoint, or the storage refuses.
    """
    async with storage.manifests_lock:
        info = await storage.find(name)
        kept = [other for other in await storage.list() if other.name != name]
        await storage.delete_savepoint(name)
        if any(other.manifest is None for other in kept):
            return ()
        contents = named_contents([info]) - named_contents(kept) - storage.pinned
        await storage.delete_contents(contents)
    return tuple(sorted(contents))


async def sweep(storage: CheckpointStorage, grace_ms: int) -> tuple[str, ...]:
    """Delete contents that no manifest names, and what crashed writers left half done.

    Only what was last written more than `grace_ms` ago: a checkpoint under way in another process has stored
    contents and not yet named them. The caller holds the job's lock, or is sure that the job does not run.

    Returns:
        The contents deleted, by SHA-256. None while any manifest is damaged: it may name them.

    Raises:
        CheckpointError: the storage refuses.
    """
    await storage.clear_leftovers(grace_ms)
    # The long listing comes first and locks nobody out: what is named later was there to be named.
    old = await storage.unnamed_contents((), grace_ms)
    if not old:
        return ()
    async with storage.manifests_lock:
        infos = await storage.list()
        if any(info.manifest is None for info in infos):
            return ()
        keep = named_contents(infos) | storage.pinned
        unnamed = [sha256 for sha256 in old if sha256 not in keep]
        await storage.delete_contents(unnamed)
    return tuple(unnamed)
