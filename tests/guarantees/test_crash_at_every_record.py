"""A crash between any two records, with a checkpoint between any two records before it: exactly once."""

from __future__ import annotations

from typing import Any

import pytest
from tidegate.connectors import memory
from tidegate.engine import JobStatus, RunConfig, restart
from tidegate.engine.testing.scripted import BARRIER, CRASH, ScriptedSource, run_script

KINDS = ("stateless", "keyed", "tumbling", "sliding", "session", "process", "map_async")


def _config(folder: Any, **more: Any) -> RunConfig:
    settings = {
        "checkpoints": folder,
        "checkpoint_interval": "1h",
        "restart": restart.fixed_delay(100, "0ms"),
        "state_backend": "dict",
    }
    return RunConfig(**(settings | more))


@pytest.mark.parametrize("kind", KINDS)
async def test_one_crash_after_one_checkpoint_at_any_two_places(kind, build, expected, readings, tmp_path):
    """Wherever the checkpoint and the crash are, every result comes once."""
    places = [(b, c) for c in range(len(readings) + 1) for b in range(c + 1)]
    for number, (barrier, crash) in enumerate(places):
        script = [*readings[:barrier], BARRIER, *readings[barrier:crash], CRASH, *readings[crash:]]
        source, sink = ScriptedSource(script), memory.sink()
        topology = build(kind, source, sink)
        status = await run_script(topology, source, _config(tmp_path / str(number)))
        assert status is JobStatus.FINISHED
        assert sorted(sink.values) == expected(kind, readings), (barrier, crash)


@pytest.mark.parametrize("backend", ["dict", "rocksdb"])
@pytest.mark.parametrize("kind", KINDS)
async def test_checkpoints_and_crashes_between_all_records(
    kind, backend, build, expected, readings, tmp_path, file_sink, visible
):
    """A checkpoint and then a crash after each record, into files: every result comes once."""
    script = [item for r in readings for item in (r, CRASH, BARRIER, CRASH)]
    source = ScriptedSource(script)
    topology = build(kind, source, file_sink(tmp_path / "out"))
    await run_script(topology, source, _config(tmp_path / "state", state_backend=backend))
    assert visible(tmp_path / "out") == expected(kind, readings)


@pytest.mark.parametrize("kind", KINDS)
async def test_without_checkpoints_a_crash_starts_from_nothing(kind, build, expected, readings):
    """With nothing to go back to, the whole input is read again and the sink has let go of the first results."""
    source, sink = ScriptedSource([*readings[:5], CRASH, *readings[5:]]), memory.sink()
    config = RunConfig(restart=restart.fixed_delay(1, "0ms"), state_backend="dict")
    await run_script(build(kind, source, sink), source, config)
    assert sorted(sink.values) == expected(kind, readings)


@pytest.mark.parametrize("kind", KINDS)
async def test_parallel_subtasks_align_at_every_barrier(kind, build, expected, readings, tmp_path):
    """Two splits, three subtasks, crashes and checkpoints in both splits: every result comes once."""
    halves = [[r for r in readings if r.key == key] for key in "ab"]
    scripts = [[item for r in half for item in (r, BARRIER, CRASH)] for half in halves]
    source, sink = ScriptedSource(*scripts), memory.sink()
    config = _config(tmp_path, parallelism=3)
    await run_script(build(kind, source, sink, out_of_orderness="1s"), source, config)
    assert sorted(sink.values) == expected(kind, [r for half in halves for r in half], out_of_orderness=1000)
