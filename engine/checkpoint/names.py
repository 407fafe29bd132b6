"""What jobs and savepoints may be called, and which jobs there are."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from ..errors import CheckpointError, ConfigError
from ..executor import Executor
from .attempts import ATTEMPTS
from .blobs import Blobs
from .listing import CHECKPOINTS, SAVEPOINTS
from .store_options import StoreSettings

_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_JOB_FOLDERS: Final = frozenset({CHECKPOINTS, SAVEPOINTS, ATTEMPTS})


def check_job_name(job: str) -> None:
    """Whether a job may be called so: its name is a folder's.

    Raises:
        ConfigError: it may not.
    """
    if _NAME.fullmatch(job) is None:
        raise ConfigError(
            f'job name {job!r} cannot be used as a folder: take letters, digits, ".", "_" and "-", at most 128'
        )


def check_savepoint_name(name: str) -> None:
    """Whether a savepoint may be called so.

    Raises:
        ConfigError: it cannot be a folder's name, or would be mistaken for an id or for `latest` or `none`.
    """
    if _NAME.fullmatch(name) is None or name.isdigit() or name in ("latest", "none"):
        raise ConfigError(
            f'savepoint name {name!r} cannot be used: take letters, digits, ".", "_" and "-", at most 128, '
            'with a letter among them, and not "latest" or "none"'
        )


async def list_jobs(location: str | Path, executor: Executor, settings: StoreSettings | None = None) -> list[str]:
    """The jobs that have been started in a location, sorted.

    Raises:
        CheckpointError: it is not there or cannot be read.
        ConfigError: the location cannot be used.
    """
    blobs = Blobs(location, settings=settings)
    if not await executor.run(blobs.exists):
        raise CheckpointError(f"there is no checkpoint directory {blobs.location}")
    folders = await executor.run(blobs.folders)

    def is_job(folder: str) -> bool:
        return _NAME.fullmatch(folder) is not None and not _JOB_FOLDERS.isdisjoint(blobs.folders(folder))

    return [folder for folder in folders if await executor.run(is_job, folder)]
