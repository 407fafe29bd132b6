"""What the commands on checkpoints share: finding the job that is meant, and opening its storage."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Annotated, TypeAlias, TypeVar

import typer

from ..checkpoint.names import list_jobs
from ..checkpoint.storage import CheckpointStorage
from ..checkpoint.store_options import StoreSettings
from ..clock import SystemClock
from ..executor import ThreadExecutor
from .options import settings_from
from .output import UsageError

R = TypeVar("R")

Directory: TypeAlias = Annotated[str, typer.Argument(metavar="DIR", help="The checkpoint directory, or its URL.")]
JobOption: TypeAlias = Annotated[
    str | None, typer.Option("--job", metavar="NAME", help="Which job, when several are in this directory.")
]


def with_storages(directory: str, job: str | None, action: Callable[[list[CheckpointStorage]], Awaitable[R]]) -> R:
    """Run an action on the storages of the named job or, without a name, of all jobs in a directory. An object store is
    spoken to as the tidegate.toml of this folder and the environment say.

    Raises:
        UsageError: there is no such job, or none at all.
        CheckpointError: the directory is not there.
    """
    executor = ThreadExecutor()
    store = settings_from(None, None, None, {}).store_settings if "://" in directory else StoreSettings()

    async def act() -> R:
        jobs = await list_jobs(directory, executor, store)
        if job is not None and job not in jobs:
            raise UsageError(f"{directory}: there is no job {job!r}; there are: {', '.join(jobs) or 'none'}")
        if not jobs:
            raise UsageError(f"{directory}: no job has ever written checkpoints here")
        names = jobs if job is None else [job]
        return await action(
            [CheckpointStorage(directory, name, executor, SystemClock(), settings=store) for name in names]
        )

    try:
        return asyncio.run(act())
    finally:
        executor.close()


def with_storage(directory: str, job: str | None, action: Callable[[CheckpointStorage], Awaitable[R]]) -> R:
    """Run an action on the storage of the named job or, without a name, of the only one in a directory.

    Raises:
        UsageError: there is no such job, or several.
        CheckpointError: the directory is not there.
    """

    async def act(storages: list[CheckpointStorage]) -> R:
        if len(storages) > 1:
            names = ", ".join(storage.job for storage in storages)
            raise UsageError(f"{directory}: several jobs are here: give --job, one of {names}")
        return await action(storages[0])

    return with_storages(directory, job, act)


def wanted_of(text: str) -> int | str:
    """What an argument names: a checkpoint by its number, else a savepoint by its name."""
    return int(text) if text.isdigit() else text


def time_text(timestamp_ms: int) -> str:
    """A moment for people: `2013-01-01 00:00:00 UTC`."""
    return f"{datetime.fromtimestamp(timestamp_ms / 1000, UTC):%Y-%m-%d %H:%M:%S} UTC"
