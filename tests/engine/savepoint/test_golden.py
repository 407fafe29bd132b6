"""What every released version wrote can be read and restored for ever."""

from __future__ import annotations

import asyncio
import importlib.util
import shutil
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec
import pytest
from tidegate.engine import JobStatus, TopologyError, start
from tidegate.engine.checkpoint import manifest
from tidegate.engine.executor import InlineExecutor
from tidegate.engine.state import portable
from tidegate.engine.testing import Pause, ScriptedSource
from tidegate.engine.testing.faults import StoppedClock

GOLDEN = Path(__file__).parents[2] / "golden"
FOLDERS = sorted(path.parent for path in GOLDEN.glob("*/*/*/rows.json"))


def _load() -> ModuleType:
    """The program that wrote them: it has the topology."""
    name = "golden_write"
    spec = importlib.util.spec_from_file_location(name, GOLDEN / "write.py")
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


write = _load()


def _name(folder: Path) -> str:
    return str(folder.relative_to(GOLDEN))


@pytest.mark.parametrize(
    ("kind", "newest", "backends"),
    [
        ("checkpoints", manifest.FORMAT_VERSION, ["dict", "rocksdb"]),
        ("savepoints", portable.FORMAT_VERSION, ["portable"]),
    ],
)
def test_every_version_of_a_format_has_its_golden_files(kind: str, newest: int, backends: list[str]) -> None:
    """A new version comes with its own, and the old ones stay: `python tests/golden/write.py` writes what is missing."""
    wanted = {f"{kind}/{version}/{backend}" for version in range(1, newest + 1) for backend in backends}
    assert {_name(folder) for folder in FOLDERS if _name(folder).startswith(kind)} == wanted
    assert {_name(folder) for folder in write.targets()} <= {_name(folder) for folder in FOLDERS}


@pytest.mark.parametrize("folder", FOLDERS, ids=_name)
async def test_every_value_is_read_as_it_was_written(folder: Path, tmp_path: Path) -> None:
    """Keys, times, map keys, expiry and values of every state, timer and call."""
    copy = shutil.copytree(folder, tmp_path / "golden")
    assert await write.rows(copy) == msgspec.json.decode((folder / "rows.json").read_bytes())


@pytest.mark.parametrize("folder", FOLDERS, ids=_name)
def test_golden_files_hold_every_kind_of_state(folder: Path) -> None:
    """So that none is forgotten in a new version."""
    rows = msgspec.json.decode((folder / "rows.json").read_bytes())
    assert {(row["operator_id"], row["state"]) for row in rows} >= {
        *(("keeper", state) for state in ("latest", "brief", "by value", "brief by value", "values", "total")),
        ("keeper", "timers.event"),
        ("keeper", "timers.processing"),
        ("count", "totals"),
        ("ask", "in_flight"),
    }
    assert {row["operator_id"] for row in rows} == {"keeper", "count", "minutes", "sessions", "ask"}
    assert {row["value"]["value"]["value"] for row in rows if row["operator_id"] == "ask"} >= {2, 4, 6}
    assert all(row["expires_at_ms"] == 1_700_003_600_000 for row in rows if row["state"].startswith("brief"))
    assert list((folder / "out").glob("part-*"))


def _in_flight(folder: Path) -> int:
    (path,) = folder.rglob("manifest.json")
    return manifest.decode(path.read_bytes()).in_flight_records


def test_since_the_second_version_records_are_in_flight() -> None:
    """That is what it was made for."""
    found = {_name(folder): _in_flight(folder) > 0 for folder in FOLDERS}
    assert found == {name: name.startswith("checkpoints/") and "/1/" not in name for name in found}


def _visible(folder: Path) -> list[Any]:
    lines = [line for part in sorted((folder / "out").glob("part-*")) for line in part.read_bytes().splitlines()]
    return sorted((msgspec.json.decode(line) for line in lines), key=repr)


async def _run(folder: Path, backend: str, **settings: Any) -> list[Any]:
    """The job to its end, from what is in the folder or from nothing; what its sink shows then."""
    source = ScriptedSource([*write.BEFORE, Pause(), *write.AFTER], type=write.Reading)
    answers = asyncio.Event()
    answers.set()
    topology = write.topology(source, folder / "out", answers)
    parts = {"clock": StoppedClock(), "executor": InlineExecutor()}
    async with start(topology, write.config(folder, backend, **settings), **parts) as job:
        while not (job.over.is_set() or source.at_pause):
            await job.clock.sleep(0)
        source.release()
        assert await job.wait() is JobStatus.FINISHED
    return _visible(folder)


@pytest.mark.slow
@pytest.mark.parametrize("shape", [("dict", 1, 128), ("rocksdb", 2, 128), ("rocksdb", 3, 50)], ids=str)
@pytest.mark.parametrize("folder", FOLDERS, ids=_name)
async def test_a_job_goes_on_from_it_as_if_it_had_never_stopped(
    folder: Path, shape: tuple[str, int, int], tmp_path: Path
) -> None:
    """In either backend, at another parallelism, with other key groups: windows, sessions, timers, calls and output. What was
    in flight keeps to the parallelism it had."""
    backend, parallelism, max_parallelism = shape
    settings = {"parallelism": parallelism, "max_parallelism": max_parallelism}
    copy = shutil.copytree(folder, tmp_path / "golden")
    if _in_flight(folder) and parallelism > 1:
        with pytest.raises(
            TopologyError, match=r"is unaligned, with \d+ records in flight to 'out': its parallelism was 1"
        ):
            await _run(copy, backend, **settings)
        return
    found = await _run(copy, backend, **settings)
    assert found == await _run(tmp_path / "fresh", "dict")
    assert {result[0] for result in found} == {"total", "timer", "count", "minute", "session", "answer"}


@pytest.mark.slow
@pytest.mark.parametrize("folder", [f for f in FOLDERS if f.parts[-3] == "checkpoints"], ids=_name)
async def test_a_savepoint_that_is_not_portable_still_restores(folder: Path, tmp_path: Path) -> None:
    """As they were before savepoints had a format of their own: a manifest over the files of the backend."""
    copy = shutil.copytree(folder, tmp_path / "golden")
    job_folder = copy / "state" / "golden"
    (path,) = (job_folder / "checkpoints").glob("*/manifest.json")
    old = msgspec.structs.replace(manifest.decode(path.read_bytes()), kind="savepoint", name="old")
    shutil.rmtree(job_folder / "checkpoints")
    (job_folder / "savepoints" / "old").mkdir(parents=True)
    (job_folder / "savepoints" / "old" / "manifest.json").write_bytes(manifest.encode(old))
    found = await _run(copy, "rocksdb", restore="old", max_parallelism=64)
    assert found == await _run(tmp_path / "fresh", "dict")
