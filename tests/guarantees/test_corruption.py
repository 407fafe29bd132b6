"""A damaged or missing file of the newest checkpoint is named, the checkpoint before is used, and every result still
comes once. A damaged savepoint is never restored."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tidegate.engine import CheckpointError, JobStatus, RunConfig, restart, start
from tidegate.engine.checkpoint.storage import CheckpointStorage
from tidegate.engine.clock import SystemClock
from tidegate.engine.executor import InlineExecutor
from tidegate.engine.testing import BARRIER, Pause, ScriptedCrash, ScriptedSource, run_script
from tidegate.engine.testing.scripted import CRASH


def _manifest(state: Path, checkpoint_id: int) -> Path:
    return state / "guarantee" / "checkpoints" / f"{checkpoint_id:010d}" / "manifest.json"


def _contents(state: Path, checkpoint_id: int) -> set[str]:
    """The contents that a checkpoint names."""
    found: set[str] = set()

    def walk(value: Any) -> None:
        if isinstance(value, dict):
            if "sha256" in value:
                found.add(value["sha256"])
            for inner in value.values():
                walk(inner)
        elif isinstance(value, list):
            for inner in value:
                walk(inner)

    # Not the seal at its end, which is a sum of the manifest itself.
    walk(json.loads(_manifest(state, checkpoint_id).read_bytes())["operators"])
    return found


def _newest_content(state: Path) -> Path:
    """A file that only the newest checkpoint names."""
    own = sorted(_contents(state, 2) - _contents(state, 1))
    return state / "guarantee" / "files" / own[0][:2] / own[0]


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.unlink()
    path.write_bytes(data)


def _cut(path: Path) -> None:
    data = path.read_bytes()
    path.unlink()
    path.write_bytes(data[:-1])


DAMAGES: dict[str, Callable[[Path], None]] = {
    "a flipped bit in a state file": lambda state: _flip(_newest_content(state)),
    "a state file cut short": lambda state: _cut(_newest_content(state)),
    "a state file missing": lambda state: _newest_content(state).unlink(),
    "a flipped bit in the manifest": lambda state: _flip(_manifest(state, 2)),
    "a manifest cut short": lambda state: _cut(_manifest(state, 2)),
    "an empty manifest": lambda state: _manifest(state, 2).write_bytes(b""),
    "the manifest of another checkpoint": lambda state: _manifest(state, 2).write_bytes(
        _manifest(state, 1).read_bytes()
    ),
}


def _config(state: Path, backend: str) -> RunConfig:
    return RunConfig(
        checkpoints=state,
        checkpoint_interval="1h",
        state_backend=backend,  # type: ignore[arg-type]  # one of the two, by the parameter
        restart=restart.never(),
    )


async def _crash_after_two_checkpoints(build: Any, readings: Any, sink: Any, config: RunConfig) -> None:
    source = ScriptedSource([*readings[:3], BARRIER, *readings[3:5], BARRIER, readings[5], CRASH])
    with pytest.raises(Exception, match="the script of split 0 crashes") as caught:
        await run_script(build("tumbling", source, sink), source, config)
    assert isinstance(caught.value.__cause__, ScriptedCrash)


@pytest.mark.parametrize("backend", ["dict", "rocksdb"])
@pytest.mark.parametrize("damage", [*DAMAGES])
async def test_the_checkpoint_before_is_used(damage, backend, build, expected, readings, tmp_path, file_sink, visible):
    """The damage is told by name, the job starts from the older checkpoint, and every window comes once."""
    state, out = tmp_path / "state", tmp_path / "out"
    config = _config(state, backend)
    await _crash_after_two_checkpoints(build, readings, file_sink(out), config)
    DAMAGES[damage](state)
    passed_over: list[str] = []
    restored: list[Any] = []

    def on_event(name: str, facts: dict[str, Any]) -> None:
        if name == "checkpoint_passed_over":
            passed_over.append(facts["reason"])
        elif name == "job_running":
            restored.append(facts["restored_from"])

    # The same offsets mean the same records: markers count as items of the script.
    script = [*readings[:3], BARRIER, *readings[3:5], BARRIER, *readings[5:]]
    source = ScriptedSource(script)
    topology = build("tumbling", source, file_sink(out))
    assert await run_script(topology, source, config, on_event=on_event) is JobStatus.FINISHED
    assert restored == [1]
    assert len(passed_over) == 1
    assert "checkpoint 2" in passed_over[0]
    assert visible(out) == expected("tumbling", readings)


async def test_a_manifest_that_is_gone_is_noticed(build, expected, readings, tmp_path, file_sink, visible):
    """A checkpoint whose manifest was removed does not exist; the one before takes its place without a doubled result."""
    state, out = tmp_path / "state", tmp_path / "out"
    config = _config(state, "dict")
    await _crash_after_two_checkpoints(build, readings, file_sink(out), config)
    _manifest(state, 2).unlink()
    source = ScriptedSource([*readings[:3], BARRIER, *readings[3:5], BARRIER, *readings[5:]])
    assert await run_script(build("tumbling", source, file_sink(out)), source, config) is JobStatus.FINISHED
    assert visible(out) == expected("tumbling", readings)


async def test_all_checkpoints_damaged_refuses_to_start_from_nothing(build, readings, tmp_path, file_sink, visible):
    """When none can be used, the job does not silently begin anew: it says so and leaves the output alone."""
    state, out = tmp_path / "state", tmp_path / "out"
    config = _config(state, "dict")
    await _crash_after_two_checkpoints(build, readings, file_sink(out), config)
    before = visible(out)
    for checkpoint_id in (1, 2):
        _manifest(state, checkpoint_id).write_bytes(b"{}")
    source = ScriptedSource(readings)
    with pytest.raises(CheckpointError, match=r"checkpoint"):
        await run_script(build("tumbling", source, file_sink(out)), source, config)
    assert visible(out) == before


@pytest.mark.parametrize("content", [b"", b"not json", b'{"attempt": "x"}'])
async def test_a_damaged_attempt_record_does_not_stop_the_job(
    content, build, expected, readings, tmp_path, file_sink, visible
):
    """The records of starts are not part of a checkpoint: a damaged one is passed by."""
    state, out = tmp_path / "state", tmp_path / "out"
    config = _config(state, "dict")
    await _crash_after_two_checkpoints(build, readings, file_sink(out), config)
    (state / "guarantee" / "attempts" / "000001.json").write_bytes(content)
    source = ScriptedSource([*readings[:3], BARRIER, *readings[3:5], BARRIER, *readings[5:]])
    assert await run_script(build("tumbling", source, file_sink(out)), source, config) is JobStatus.FINISHED
    assert visible(out) == expected("tumbling", readings)


@pytest.fixture(params=["dict", "rocksdb"])
async def savepoint(request, build, readings, tmp_path, file_sink):
    """A checkpoint directory with one savepoint; the files that it consists of."""
    state = tmp_path / "state"
    source = ScriptedSource([*readings[:5], Pause(), *readings[5:]])
    async with start(build("process", source, file_sink(tmp_path / "out")), _config(state, request.param)) as job:
        while not source.at_pause:
            await job.clock.sleep(0)
        await job.savepoint("deploy")
        await job.cancel()
    job_folder = state / "guarantee"
    contents = sorted(path for path in (job_folder / "files").rglob("*") if path.is_file())
    assert len(contents) >= 2
    return state, [job_folder / "savepoints" / "deploy" / "manifest.json", *contents]


def _write(path: Path, data: bytes) -> None:
    path.unlink()  # a content may be linked to elsewhere
    path.write_bytes(data)


async def test_every_damaged_byte_of_a_savepoint_is_found_and_its_file_named(savepoint):
    """A bit at any place of any file, and the file cut anywhere: one problem, with the path of the file."""
    state, paths = savepoint
    storage = CheckpointStorage(state, "guarantee", InlineExecutor(), SystemClock())
    assert await storage.verify("deploy") == []
    for path in paths:
        data = path.read_bytes()
        # Each byte of small files; of the manifest every seventh.
        for index in range(0, len(data), 1 if len(data) < 600 else 7):
            for damaged in (data[:index] + bytes([data[index] ^ 1 << index % 8]) + data[index + 1 :], data[:index]):
                _write(path, damaged)
                (problem,) = await storage.verify("deploy")
                assert str(path) in problem
        _write(path, data)
    assert await storage.verify("deploy") == []


async def test_a_damaged_savepoint_is_never_restored(savepoint, build, readings, tmp_path, file_sink, visible):
    """The start is refused with the path of the file; the output stays as it was. Whole again, it restores."""
    state, paths = savepoint
    before = visible(tmp_path / "out")

    async def go_on() -> JobStatus:
        source = ScriptedSource([*readings[:5], Pause(0.0), *readings[5:]])
        config = dataclasses.replace(_config(state, "rocksdb"), restore="deploy", max_parallelism=32)
        return await run_script(build("process", source, file_sink(tmp_path / "out")), source, config)

    for path in paths:
        data = path.read_bytes()
        for index in (0, len(data) // 3, len(data) - 1):
            _write(path, data[:index] + bytes([data[index] ^ 0x40]) + data[index + 1 :])
            with pytest.raises(CheckpointError) as caught:
                await go_on()
            assert str(path) in str(caught.value)
        path.unlink()
        with pytest.raises(CheckpointError, match=r"there is no savepoint|is missing"):
            await go_on()
        path.write_bytes(data)
    assert visible(tmp_path / "out") == before
    assert await go_on() is JobStatus.FINISHED
