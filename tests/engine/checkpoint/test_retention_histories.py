"""Any history of checkpoints, savepoints, deletions, sweeps and crashes between their steps: what a manifest names stays."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from obstore.store import MemoryStore
from tidegate.engine.checkpoint.manifest import Manifest
from tidegate.engine.checkpoint.retention import apply_retention, sweep
from tidegate.engine.checkpoint.storage import CheckpointStorage
from tidegate.engine.executor import InlineExecutor
from tidegate.engine.state.backend import SnapshotFiles, StoreSnapshot
from tidegate.engine.testing import ManualClock

MakeManifest = Callable[..., Manifest]

LONG_AFTER_MS = 10_000_000_000_000
"""The clock of the storages: whatever was written is older than any grace period, so a sweep takes all that it may."""


@dataclass(frozen=True)
class Step:
    """One thing that is done, and before which call of the executor the process dies; None for not."""

    what: str
    letters: str
    keep: int
    dies_at: int | None


STEPS = st.builds(
    Step,
    what=st.sampled_from(["checkpoint", "checkpoint", "savepoint", "abort", "forget", "retain", "sweep", "restart"]),
    letters=st.text("abcdef", min_size=1, max_size=4).map(lambda text: "".join(sorted(set(text)))),
    keep=st.integers(1, 3),
    dies_at=st.one_of(st.none(), st.integers(0, 12)),
)


class Crash(Exception):
    """The process ends here."""


class DyingExecutor(InlineExecutor):
    """Runs in line, until it dies."""

    def __init__(self) -> None:
        self.left: int | None = None

    async def run(self, function: Callable[..., Any], *args: Any) -> Any:
        if self.left is not None:
            if self.left == 0:
                raise Crash
            self.left -= 1
        return await super().run(function, *args)


class History:
    """A job's storage over the lives of many processes."""

    def __init__(self, folder: Path, make_manifest: MakeManifest) -> None:
        self._folder = folder
        self._make_manifest = make_manifest
        self._store = MemoryStore()
        self._snapshots = 0
        self._savepoints = 0
        self.named: list[str] = []

    async def start(self) -> None:
        """A new process."""
        self.executor = DyingExecutor()
        clock = ManualClock(LONG_AFTER_MS)
        self.storage = CheckpointStorage("memory://", "job", self.executor, clock, store=self._store)
        self.attempt = (await self.storage.claim_attempt()).attempt
        self.next_id = await self.storage.next_checkpoint_id()
        self.known: dict[str, str] = {}

    async def do(self, step: Step) -> None:
        """One step; a process that dies in it is followed by another one."""
        self.executor.left = step.dies_at
        try:
            await self._do(step)
        except Crash:
            await self.start()
        else:
            self.executor.left = None

    async def _do(self, step: Step) -> None:
        if step.what in ("checkpoint", "savepoint", "abort"):
            entries = await self.storage.store_files(self._snapshot(step.letters), self.known)
            checkpoint_id, self.next_id = self.next_id, self.next_id + 1
            if step.what == "abort":
                self.storage.release(entries)
                return
            more: dict[str, Any] = {}
            if step.what == "savepoint":
                self._savepoints += 1
                more["name"] = f"s{self._savepoints}"
                self.named.append(more["name"])
            await self.storage.write_manifest(self._make_manifest(checkpoint_id, entries, attempt=self.attempt, **more))
        elif step.what == "forget" and self.named:
            await self.storage.delete_savepoint(self.named.pop(0))
        elif step.what == "retain":
            await apply_retention(self.storage, step.keep)
        elif step.what == "sweep":
            await sweep(self.storage, 0)
        elif step.what == "restart":
            await self.start()

    def _snapshot(self, letters: str) -> SnapshotFiles:
        """One immutable file per letter, in a new folder."""
        self._snapshots += 1
        folder = self._folder / str(self._snapshots)
        folder.mkdir()
        for letter in letters:
            (folder / f"{letter}.sst").write_bytes(letter.encode())
        names = tuple(f"{letter}.sst" for letter in letters)
        return SnapshotFiles(StoreSnapshot("dict", "count", 0, (0, 128), ()), folder, names, {n: n for n in names})

    async def problems(self) -> list[str]:
        """What is wrong with any checkpoint that is listed."""
        infos = await self.storage.list()
        return [p for info in infos for p in await self.storage.verify(info.name or info.checkpoint_id or 0)]

    def contents(self) -> set[str]:
        """All contents that are there."""
        return {found["path"].rsplit("/", 1)[-1] for page in self._store.list("job/files") for found in page}


@pytest.mark.slow
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(STEPS, max_size=15))
def test_what_a_manifest_names_is_there_after_every_step(make_manifest: MakeManifest, steps: list[Step]) -> None:
    """And in the end, after one more sweep, nothing else."""

    async def live() -> None:
        with TemporaryDirectory() as folder:
            history = History(Path(folder), make_manifest)
            await history.start()
            for step in steps:
                await history.do(step)
                assert await history.problems() == []
            await history.start()
            await history.do(Step("checkpoint", "ab", 1, None))
            await history.do(Step("sweep", "", 1, None))
            infos = await history.storage.list()
            named = {sha for info in infos if info.manifest is not None for sha in info.manifest.contents()}
            assert await history.problems() == []
            assert history.contents() == named

    asyncio.run(live())
