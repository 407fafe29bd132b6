"""`tidegate checkpoints`: list, show, verify and prune."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tidegate.connectors.source import Split
from tidegate.engine.checkpoint.manifest import (
    FileEntry,
    InFlightEdge,
    InFlightEntry,
    InFlightSubtask,
    Manifest,
    OperatorEntry,
    SplitEntry,
    SubtaskState,
)
from tidegate.engine.checkpoint.storage import CheckpointStorage
from tidegate.engine.cli.main import main
from tidegate.engine.clock import SystemClock
from tidegate.engine.executor import InlineExecutor
from tidegate.engine.state.backend import SnapshotFiles, StateSchema, StoreSnapshot

Run = Callable[..., tuple[int, str, str]]
Json = Callable[..., Any]


def take(
    location: Path,
    checkpoint_id: int,
    letters: str,
    name: str | None = None,
    job: str = "delays",
    in_flight: dict[str, InFlightEntry] | None = None,
) -> None:
    """A whole checkpoint with one file per letter."""
    snapshot = StoreSnapshot("dict", "count", 0, (0, 128), (StateSchema("total", "keyed", 1, ("int",)),))
    folder = location.parent / f"snapshot-{job}-{checkpoint_id}"
    folder.mkdir()
    for letter in letters:
        (folder / letter).write_text(letter)

    async def write() -> None:
        storage = CheckpointStorage(location, job, InlineExecutor(), SystemClock())
        entries = await storage.store_files(SnapshotFiles(snapshot, folder, tuple(letters), {}), {})
        await storage.write_manifest(
            Manifest(
                job=job,
                topology="flights",
                topology_version="1",
                fingerprint="abc",
                checkpoint_id=checkpoint_id,
                attempt=1,
                kind="checkpoint" if name is None else "savepoint",
                name=name,
                triggered_at_ms=1_356_998_400_000,
                completed_at_ms=1_356_998_400_020,
                durations_ms={"total": 20},
                max_parallelism=128,
                operators={"count": OperatorEntry("aggregate", 1, (SubtaskState(snapshot, tuple(entries)),))},
                sources={"flights": {"a": SplitEntry(Split("a"), 7, False, 5, 100)}},
                committables={"out": [{"part": 1}]},
                in_flight=in_flight or {},
            )
        )

    asyncio.run(write())


@pytest.fixture
def location(tmp_path: Path) -> Path:
    """A directory with two checkpoints and a savepoint of one job."""
    location = tmp_path / "state"
    take(location, 1, "ab", name="deploy")
    take(location, 2, "bc")
    take(location, 3, "cd")
    return location


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command line: exit code, stdout, stderr."""

    def run_one(*arguments: Any) -> tuple[int, str, str]:
        code = main(["checkpoints", *map(str, arguments)])
        captured = capsys.readouterr()
        return int(code), captured.out, captured.err

    return run_one


@pytest.fixture
def run_json(run: Run) -> Json:
    """Runs a command line with --json: what it prints, parsed."""
    return lambda *arguments: json.loads(run(*arguments, "--json")[1])


def manifest_path(location: Path, checkpoint_id: int) -> Path:
    return location / f"delays/checkpoints/{checkpoint_id:010d}/manifest.json"


def contents(location: Path) -> int:
    return len([path for path in (location / "delays/files").rglob("*") if path.is_file()])


def test_the_list_shows_checkpoints_and_savepoints(run: Run, location: Path) -> None:
    """One line each, oldest first."""
    code, out, _ = run("list", location)
    assert code == 0
    assert out.splitlines() == [
        "delays: savepoint 'deploy' (id 1): 2013-01-01 00:00:00 UTC, attempt 1, 2 B of state, 100 records read",
        "delays: checkpoint 2: 2013-01-01 00:00:00 UTC, attempt 1, 2 B of state, 100 records read",
        "delays: checkpoint 3: 2013-01-01 00:00:00 UTC, attempt 1, 2 B of state, 100 records read",
    ]


def test_the_list_as_json(run_json: Json, location: Path) -> None:
    """For programs."""
    found = run_json("list", location)
    assert [(entry["id"], entry["kind"], entry["name"]) for entry in found] == [
        (1, "savepoint", "deploy"),
        (2, "checkpoint", None),
        (3, "checkpoint", None),
    ]
    assert found[0]["problem"] is None
    assert found[0]["duration_ms"] == 20


def test_what_a_start_has_left_is_in_the_list(run: Run, run_json: Json, location: Path) -> None:
    """With the reason: it is not restored by itself any more."""

    async def start() -> None:
        storage = CheckpointStorage(location, "delays", InlineExecutor(), SystemClock())
        await storage.claim_attempt()
        await storage.begin(await storage.read(2))

    asyncio.run(start())
    lines = run("list", location)[1].splitlines()
    reason = "attempt 2 began from checkpoint 2, and attempt 1 wrote this one"
    assert ["left" in line for line in lines] == [False, False, True]
    assert lines[2].endswith(f"; left: {reason}")
    assert [info["left"] for info in run_json("list", location)] == [None, None, reason]


def test_a_damaged_manifest_is_in_the_list(run: Run, location: Path) -> None:
    """The list itself is no verification and ends well."""
    manifest_path(location, 3).write_bytes(b"{}")
    code, out, _ = run("list", location)
    assert code == 0
    assert "delays: checkpoint 3: DAMAGED: it does not end in a checksum" in out


def test_a_checkpoint_is_shown(run: Run, run_json: Json, location: Path) -> None:
    """The latest, one by its id, a savepoint by its name."""
    code, out, _ = run("show", location)
    assert code == 0
    assert "checkpoint 3 (id 3) of job delays" in out
    assert "operator      count (aggregate), parallelism 1, 2 B: total" in out
    assert "source        flights, split a: 100 records, offset 7" in out
    assert "sink          out: 1 pieces of output" in out
    assert run_json("show", location, "2")["checkpoint_id"] == 2
    assert run_json("show", location, "deploy")["name"] == "deploy"


def test_whole_checkpoints_are_verified(run: Run, location: Path) -> None:
    """All of them when none is named."""
    assert run("verify", location) == (
        0,
        "delays: savepoint 'deploy': whole\ndelays: checkpoint 2: whole\ndelays: checkpoint 3: whole\n",
        "",
    )


def test_damage_found_by_verify_ends_with_one(run: Run, run_json: Json, location: Path) -> None:
    """And names the file; only of the checkpoints that share it."""
    (path,) = [p for p in (location / "delays/files").rglob("*") if p.is_file() and p.read_bytes() == b"d"]
    path.chmod(0o644)
    path.unlink()
    path.write_bytes(b"D")
    code, out, _ = run("verify", location)
    assert code == 1
    assert "checkpoint 2: whole" in out
    assert f"checkpoint 3: DAMAGED\n    {path}: the content does not match its SHA-256" in out
    assert run("verify", location, "2")[0] == 0
    assert run("verify", location, "latest")[0] == 1
    assert [len(found["problems"]) for found in run_json("verify", location)] == [0, 0, 1]


def test_a_damaged_manifest_is_found_by_verify(run: Run, location: Path) -> None:
    """Also of a savepoint whose id cannot be read."""
    (location / "delays/savepoints/deploy/manifest.json").write_bytes(b"")
    manifest_path(location, 3).write_bytes(b"{}")
    code, out, _ = run("verify", location)
    assert code == 1
    assert out.count("DAMAGED") == 2
    assert run("show", location, "3")[0] == 1


def test_prune_deletes_old_checkpoints_and_their_files(run: Run, location: Path) -> None:
    """Not savepoints."""
    code, out, _ = run("prune", location)
    assert code == 0
    assert out.startswith("deleted checkpoints: 2\ndeleted files: 0")
    assert contents(location) == 4
    assert run("verify", location)[0] == 0


def test_a_dry_run_deletes_nothing(run: Run, run_json: Json, location: Path) -> None:
    """And says what would go: a checkpoint, and a file that nobody names."""
    unnamed = location / "delays" / "files" / "ff" / ("f" * 64)
    unnamed.parent.mkdir()
    unnamed.write_bytes(b"f")
    before = contents(location)
    found = run_json("prune", location, "--grace", "0ms", "--dry-run")
    assert found["checkpoints"] == [2]
    assert found["files"] == [unnamed.name]
    assert contents(location) == before
    assert run("list", location)[1].count("\n") == 3


def test_prune_deletes_no_files_while_a_manifest_is_damaged(run: Run, location: Path) -> None:
    """It may name them."""
    manifest_path(location, 3).write_bytes(b"{}")
    code, out, _ = run("prune", location, "--grace", "0ms")
    assert code == 0
    assert "no files go while this one is damaged, for it may name them: checkpoint 3" in out
    assert contents(location) == 4


def test_prune_of_a_running_job_is_fenced(run: Run, location: Path) -> None:
    """With the exit code of its own."""
    running = CheckpointStorage(location, "delays", InlineExecutor(), SystemClock())
    asyncio.run(running.lock())
    code, _, err = run("prune", location)
    running.unlock()
    assert code == 3
    assert "of job 'delays' is in use by process" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["show", "9"], "there is no checkpoint 9 in"),
        (["show", "nothing"], "there is no savepoint 'nothing' in"),
        (["list", "--job", "other"], "there is no job 'other'; there are: delays"),
        (["prune", "--grace", "soon"], "--grace: 'soon' is not a duration"),
        (["prune", "--keep", "0"], "--keep"),
    ],
)
def test_a_wrong_argument_is_one_clear_line(run: Run, location: Path, arguments: list[str], message: str) -> None:
    """On stderr, with exit code 2, and no traceback."""
    command, *rest = arguments
    code, out, err = run(command, location, *rest)
    assert (code, out) == (2, "")
    assert message in err
    assert len(err.splitlines()) == 1


def test_a_directory_that_is_not_there_is_one_clear_line(run: Run, tmp_path: Path) -> None:
    """And is not made; nor is an empty one a job."""
    assert run("list", tmp_path / "nowhere")[0] == 2
    assert not (tmp_path / "nowhere").exists()
    code, _, err = run("list", tmp_path)
    assert code == 2
    assert "no job has ever written checkpoints here" in err


def test_several_jobs_in_one_directory_are_told_apart(run: Run, location: Path) -> None:
    """The list shows all; what acts on one asks which."""
    take(location, 1, "x", job="counts")
    assert "counts: checkpoint 1" in run("list", location)[1]
    assert "counts" not in run("list", location, "--job", "delays")[1]
    code, _, err = run("show", location)
    assert code == 2
    assert "several jobs are here: give --job, one of counts, delays" in err
    assert run("show", location, "--job", "counts")[0] == 0
    assert run("verify", location)[0] == 0
    assert run("verify", location, "1")[0] == 2


def test_records_in_flight_are_shown(location: Path, run: Run, run_json: Json) -> None:
    """How many, how large, and from where to where; the list says which checkpoints are unaligned."""
    edges = (InFlightEdge("by-key", None, 0, "hash", 1),)
    file = FileEntry("in-flight.msgpack", 2_000, "e" * 64)
    in_flight = InFlightEntry(1, edges, (InFlightSubtask(0, 5, (5,), (False,), 12, (file,)),))
    take(location, 4, "de", in_flight={"count": in_flight})
    shown = run("show", location, 4)[1]
    assert "barriers      overtook records: unaligned" in shown
    assert "in flight     from by-key to count: 12 records, 2.0 kB" in shown
    assert "barriers      aligned" in run("show", location, 3)[1]
    assert "100 records read, unaligned with 12 in flight" in run("list", location)[1].splitlines()[-1]
    found = [(c["unaligned"], c["in_flight_records"], c["in_flight_bytes"]) for c in run_json("list", location)]
    assert found[-2:] == [(False, 0, 0), (True, 12, 2_000)]
    assert run_json("show", location, 4)["in_flight"]["count"]["subtasks"][0]["records"] == 12
