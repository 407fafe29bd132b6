"""The process dies at every await and at every I/O call of checkpoint, commit and restore, one after the other: a new
process over the same folders puts everything right."""

from __future__ import annotations

import asyncio
import gc
import re
import shutil
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tidegate.engine import JobStatus, RunConfig, restart
from tidegate.engine.checkpoint.manifest import decode
from tidegate.engine.runtime.pace import SnapshotPace
from tidegate.engine.testing.faults import CrashPoints, SimulatedCrash, crash_run
from tidegate.engine.testing.scripted import BARRIER, ScriptedSource, run_script


class Rig:
    """A small topology into files, made anew for each process that is simulated. A barrier follows each reading, or every
    few."""

    def __init__(self, folder: Path, kind: str, readings: Any, fixtures: Any, every: int = 1, **config: Any) -> None:
        self.folder = folder
        self.expected = fixtures.expected(kind, readings)
        self._kind = kind
        self._script = [item for n, r in enumerate(readings, 1) for item in ((r, BARRIER) if n % every == 0 else (r,))]
        self._fixtures = fixtures
        self._config: dict[str, Any] = {"checkpoint_interval": "1h", "restart": restart.never(), **config}

    def run(self, points: CrashPoints | None = None) -> JobStatus:
        """One process; with points it may die."""
        source = ScriptedSource(self._script, fetch_sizes=[1])
        topology = self._fixtures.build(self._kind, source, self._fixtures.file_sink(self.folder / "out"))
        config = RunConfig(checkpoints=self.folder / "state", **self._config)
        if points is None:
            return asyncio.run(run_script(topology, source, config))
        return crash_run(
            points, lambda: run_script(topology, source, config, clock=points.clock, executor=points.executor)
        )

    def die_at(self, index: int) -> str | None:
        """One process that dies at a point; what the point was, None when it ended before."""
        points = CrashPoints(self.folder, index)
        with suppress(SimulatedCrash):
            self.run(points)
        if self._config["state_backend"] == "rocksdb":
            # A dead process holds no database open; here the frames that it died in still do.
            gc.collect()
        return points.labels[index] if points.dead else None

    def clear(self, template: Path | None = None) -> None:
        """A fresh folder, or one that a process has left."""
        shutil.rmtree(self.folder, ignore_errors=True)
        if template is not None:
            shutil.copytree(template, self.folder)

    def points(self) -> list[str]:
        """The points of a whole run from what is there."""
        points = CrashPoints(self.folder)
        assert self.run(points) is JobStatus.FINISHED
        return points.labels

    def check(self, died: str | None) -> None:
        """A new process ends the job, and every result is there once."""
        before = self._fixtures.visible(self.folder / "out")
        assert len(before) == len(set(before)), f"twice before the restart, died at: {died}"
        assert self.run() is JobStatus.FINISHED
        assert self._fixtures.visible(self.folder / "out") == self.expected, f"died at: {died}"


@pytest.fixture
def fixtures(build, expected, file_sink, visible):
    """What a rig is built from."""
    return SimpleNamespace(build=build, expected=expected, file_sink=file_sink, visible=visible)


def _named(labels: list[str]) -> list[str]:
    """The labels without the numbers that make staged files unique."""
    return [re.sub(r"staging/[0-9-]+", "staging/", label) for label in labels]


def test_equal_runs_have_equal_points(fixtures, readings, tmp_path):
    """The enumeration is one: the same run comes by the same points in the same order."""
    rig = Rig(tmp_path / "rig", "tumbling", readings[:4], fixtures, state_backend="dict")
    first = _named(rig.points())
    rig.clear()
    assert _named(rig.points()) == first
    assert {"before commit_parts", "after commit_parts", "before CheckpointStorage._write_manifest"} <= set(first)


def _die_everywhere(rig: Rig, template: Path | None, stride: int = 1, first: int = 0) -> int:
    """Die at every point of a run from `template`, one process each; how many there were."""
    rig.clear(template)
    count = len(rig.points())
    for index in range(first, count, stride):
        rig.clear(template)
        rig.check(rig.die_at(index))
    return count


class Forgetful:
    """A sink with a defect: a restart does not commit what the manifest names."""

    def __init__(self, sink: Any) -> None:
        self._sink = sink

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sink, name)

    async def recover(self, context: Any, checkpoint_id: int | None, committables: Any) -> None:
        await self._sink.recover(context, checkpoint_id, [])


class Tardy:
    """A file sink in which a write lets others run for a while, so that channels fill up."""

    def __init__(self, sink: Any) -> None:
        self._sink = sink

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sink, name)

    def writer(self, context: Any) -> Any:
        writer = self._sink.writer(context)
        write = writer.write

        async def tardily(batch: Any) -> None:
            for _ in range(25):
                await asyncio.sleep(0)
            await write(batch)

        writer.write = tardily
        return writer


def _overtaking(fixtures: Any, readings: Any, folder: Path, kind: str, **config: Any) -> Rig:
    """A rig in which barriers overtake at once, and have something to overtake."""
    fixtures.file_sink, sound = (lambda out: Tardy(sound(out))), fixtures.file_sink
    settings: dict[str, Any] = {"alignment_timeout": "0ms", "parallelism": 2, "state_backend": "dict", **config}
    return Rig(folder, kind, readings[:8], fixtures, 4, **settings)


def _in_flight(folder: Path) -> int:
    """How many records were in flight in the checkpoints that are there."""
    return sum(decode(path.read_bytes()).in_flight_records for path in folder.rglob("manifest.json"))


def test_a_sink_with_a_defect_is_found_out(fixtures, readings, tmp_path):
    """The suite is worth something: output that is lost between manifest and commit does not pass."""
    fixtures.file_sink, sound = (lambda folder: Forgetful(sound(folder))), fixtures.file_sink
    rig = Rig(tmp_path / "rig", "tumbling", readings[:4], fixtures, state_backend="dict")
    _die_at_label(rig, "before commit_parts", -1)
    with pytest.raises(AssertionError, match="died at"):
        rig.check("before commit_parts")


def _die_at_label(rig: Rig, label: str, occurrence: int = 0) -> None:
    """One process that dies where a point of this name is reached for the nth time."""
    rig.clear()
    places = [index for index, found in enumerate(rig.points()) if label in found]
    rig.clear()
    assert rig.die_at(places[occurrence]) is not None


# What a process leaves behind: the point it died at, and for the how manieth time it came there.
LEFT_BEHIND = {
    "output prepared, no manifest": ("before CheckpointStorage._write_manifest", 1),
    "a manifest, its output not committed": ("before commit_parts", 1),
    "output half committed": ("os.rename out/.staged/a", 1),
    "the last checkpoint, not committed": ("before commit_parts", -1),
    "a retention half done": ("before Blobs.delete", 0),
}


# The prime strides spread the points of the short runs over all steps of a checkpoint.
@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "config", "stride"),
    [
        ("tumbling", {"state_backend": "dict"}, 7),
        ("process", {"state_backend": "rocksdb"}, 19),
        ("map_async", {"state_backend": "dict", "parallelism": 2}, 17),
    ],
)
def test_a_crash_at_points_of_a_run(kind, config, stride, fixtures, readings, tmp_path):
    """A process dies on its way; the next one ends the job with every result once."""
    rig = Rig(tmp_path / "rig", kind, readings[:4], fixtures, **config)
    assert _die_everywhere(rig, None, stride) > 300


@pytest.mark.slow
def test_a_crash_at_points_of_a_run_whose_barriers_overtake(fixtures, readings, tmp_path):
    """Records in flight are part of the checkpoints; they come out once as all others."""
    rig = _overtaking(fixtures, readings, tmp_path / "rig", "keyed", retain=100)
    rig.points()
    assert _in_flight(tmp_path / "rig") > 0
    assert _die_everywhere(rig, None, 199) > 300


@pytest.mark.slow
@pytest.mark.parametrize("left_behind", [*LEFT_BEHIND][:4])
def test_a_crash_at_points_of_a_recovery(left_behind, fixtures, readings, tmp_path):
    """A process dies, the one that restores dies too; the third ends the job with every result once."""
    rig = Rig(tmp_path / "rig", "sliding", readings[:4], fixtures, state_backend="dict")
    _die_at_label(rig, *LEFT_BEHIND[left_behind])
    template = shutil.copytree(rig.folder, tmp_path / "template")
    assert _die_everywhere(rig, template, 13) > 100


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("backend", ["dict", "rocksdb"])
@pytest.mark.parametrize("kind", ["stateless", "keyed", "tumbling", "sliding", "session", "process", "map_async"])
def test_a_crash_anywhere_in_a_run(kind, backend, fixtures, readings, tmp_path):
    """As the short run, at every single point."""
    rig = Rig(tmp_path / "rig", kind, readings[:4], fixtures, state_backend=backend)
    assert _die_everywhere(rig, None) > 200


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("kind", ["keyed", "sliding", "session", "process"])
def test_a_crash_anywhere_while_a_snapshot_is_written(kind, fixtures, readings, tmp_path, monkeypatch):
    """As the short run, with an entry of the state written for each turn of the loop."""
    monkeypatch.setattr(SnapshotPace, "limit", lambda pace, others_s: 1)
    rig = Rig(tmp_path / "rig", kind, readings[:4], fixtures, state_backend="rocksdb")
    assert _die_everywhere(rig, None) > 200


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("kind", ["tumbling", "map_async"])
def test_a_crash_anywhere_in_a_run_with_alignment(kind, fixtures, readings, tmp_path):
    """As the short run with two subtasks per operator, at every single point."""
    rig = Rig(tmp_path / "rig", kind, readings[:4], fixtures, state_backend="dict", parallelism=2)
    assert _die_everywhere(rig, None) > 300


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("kind", ["keyed", "map_async"])
def test_a_crash_anywhere_in_a_run_whose_barriers_overtake(kind, fixtures, readings, tmp_path):
    """As the short run, at every single point."""
    assert _die_everywhere(_overtaking(fixtures, readings, tmp_path / "rig", kind), None) > 300


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("backend", ["dict", "rocksdb"])
@pytest.mark.parametrize("left_behind", [*LEFT_BEHIND])
def test_a_crash_anywhere_in_a_recovery(left_behind, backend, fixtures, readings, tmp_path):
    """As the short run, at every single point of the recovery from each kind of left-over."""
    rig = Rig(tmp_path / "rig", "sliding", readings[:4], fixtures, state_backend=backend, retain=1)
    _die_at_label(rig, *LEFT_BEHIND[left_behind])
    template = shutil.copytree(rig.folder, tmp_path / "template")
    assert _die_everywhere(rig, template) > 100


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_three_crashes_one_after_the_other(fixtures, readings, tmp_path):
    """Three processes die in turn, each at a point of its own; the fourth ends the job with every result once."""
    rig = Rig(tmp_path / "rig", "process", readings[:4], fixtures, state_backend="dict")
    for index in range(len(rig.points())):
        rig.clear()
        died = [rig.die_at(index), rig.die_at(index * 7 % 397), rig.die_at(index * 3 % 199)]
        rig.check(str(died))
