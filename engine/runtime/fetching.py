"""The files of a checkpoint on their way to this machine."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..checkpoint.contents import FetchProgress, gathered
from ..checkpoint.manifest import FileEntry
from ..checkpoint.storage import CheckpointStorage
from ..clock import Clock

OnEvent = Callable[[str, dict[str, Any]], None]

_TELL_INTERVAL_S = 2.0


async def fetch_all(
    storage: CheckpointStorage,
    checkpoint_id: int,
    folders: Mapping[Path, Sequence[FileEntry]],
    clock: Clock,
    on_event: OnEvent,
) -> None:
    """Put the files of a checkpoint into their folders, all at the same time.

    Args:
        on_event: is told of the way that it has come every two seconds (`state_restoring`), and of its end
            (`state_restored`).

    Raises:
        CorruptionError, CheckpointError: as `CheckpointStorage.fetch_files`.
    """
    if not folders:
        return
    progress = FetchProgress(sum(entry.size for entries in folders.values() for entry in entries))

    def facts() -> dict[str, Any]:
        return {
            "checkpoint_id": checkpoint_id,
            "total_bytes": progress.total_bytes,
            "done_bytes": progress.done_bytes,
            "linked_bytes": progress.linked_bytes,
        }

    async def tell() -> None:
        while True:
            await clock.sleep(_TELL_INTERVAL_S)
            on_event("state_restoring", facts())

    async def fetch(named: tuple[Path, Sequence[FileEntry]]) -> None:
        folder, entries = named
        await storage.fetch_files(checkpoint_id, entries, folder, progress)

    began = clock.monotonic()
    try:
        async with asyncio.TaskGroup() as group:
            telling = group.create_task(tell())
            await gathered(fetch, list(folders.items()))
            telling.cancel()
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None
    on_event("state_restored", {**facts(), "duration_ms": round((clock.monotonic() - began) * 1000, 1)})
