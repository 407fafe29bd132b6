"""`tidegate state`: show and export."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from tidegate.engine.checkpoint.manifest import Manifest, OperatorEntry, SubtaskState
from tidegate.engine.checkpoint.storage import CheckpointStorage
from tidegate.engine.cli.main import main
from tidegate.engine.clock import SystemClock
from tidegate.engine.executor import InlineExecutor
from tidegate.engine.state import RocksDBBackend, StoreSpec, finish_at_once
from tidegate.operators.state import KeyedTableState, WindowTableState

Run = Callable[..., tuple[int, str, str]]
TOTALS: KeyedTableState[int] = KeyedTableState("totals", int)
WINDOWS: WindowTableState[int] = WindowTableState("windows", int)


@pytest.fixture
def location(tmp_path: Path) -> Path:
    """A directory with a checkpoint of two subtasks in RocksDB."""
    backend = RocksDBBackend()

    async def take() -> None:
        storage = CheckpointStorage(tmp_path / "state", "delays", InlineExecutor(), SystemClock())
        states = []
        for subtask in (0, 1):
            spec = StoreSpec(
                operator_id="count",
                subtask=subtask,
                key_groups=range(subtask * 64, subtask * 64 + 64),
                max_parallelism=128,
                descriptors=(TOTALS, WINDOWS),
                uses_timers=False,
                memory_budget_bytes=1 << 20,
                directory=tmp_path / f"store-{subtask}",
                now_ms=lambda: 0,
            )
            store = backend.create(spec)
            TOTALS.bind(store.tables).put(f"key-{subtask}", subtask)
            WINDOWS.bind(store.tables).open(60_000)["JFK"] = 7
            files = finish_at_once(store.begin_snapshot(tmp_path / f"snapshot-{subtask}"))
            states.append(SubtaskState(files.snapshot, tuple(await storage.store_files(files, {}))))
            store.close()
        await storage.write_manifest(
            Manifest(
                job="delays",
                topology="flights",
                topology_version="1",
                fingerprint="abc",
                checkpoint_id=5,
                attempt=1,
                triggered_at_ms=0,
                completed_at_ms=20,
                max_parallelism=128,
                operators={"count": OperatorEntry("aggregate", 2, tuple(states))},
            )
        )

    asyncio.run(take())
    return tmp_path / "state"


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command line: exit code, stdout, stderr."""

    def run_one(*arguments: Any) -> tuple[int, str, str]:
        code = main(["state", *map(str, arguments)])
        captured = capsys.readouterr()
        return int(code), captured.out, captured.err

    return run_one


def test_the_states_of_a_checkpoint_are_shown(run: Run, location: Path) -> None:
    """With kind, version and types."""
    code, out, _ = run("show", location)
    assert code == 0
    assert out.splitlines()[:2] == [
        "count: totals (keyed, version 1): int",
        "count: windows (window, version 1): int",
    ]
    (first, _) = json.loads(run("show", location, "--json")[1])
    assert first == {"operator": "count", "state": "totals", "kind": "keyed", "version": 1, "types": ["int"]}


def test_the_entries_of_a_state_are_shown(run: Run, location: Path) -> None:
    """Of all subtasks, up to a limit."""
    _, out, _ = run("show", location, "--state", "totals")
    assert out.splitlines() == ["count.totals 'key-0' = 0", "count.totals 'key-1' = 1"]
    _, out, _ = run("show", location, "--operator", "count", "--state", "windows", "--limit", "1")
    assert out.splitlines()[0] == "count.windows 'JFK' @ 60000 = 7"
    assert "--limit shows more" in out
    assert len(json.loads(run("show", location, "--operator", "count", "--json")[1])) == 4


def test_state_is_exported_as_json_lines(run: Run, location: Path, tmp_path: Path) -> None:
    """Everything, or one state of one operator."""
    assert run("export", location, "--output", tmp_path / "all.jsonl") == (
        0,
        "",
        f"4 entries written to {tmp_path / 'all.jsonl'}\n",
    )
    lines = [json.loads(line) for line in (tmp_path / "all.jsonl").read_text().splitlines()]
    assert {line["state"] for line in lines} == {"totals", "windows"}
    run("export", location, "--operator", "count", "--state", "windows", "--output", tmp_path / "w.jsonl")
    assert {line["subtask"] for line in map(json.loads, (tmp_path / "w.jsonl").read_text().splitlines())} == {0, 1}


def test_state_is_exported_as_parquet(run: Run, location: Path, tmp_path: Path) -> None:
    """A whole file, and no partial one beside it."""
    code, _, _ = run("export", location, "--checkpoint", "5", "--format", "parquet", "--output", tmp_path / "o.parquet")
    assert code == 0
    assert sorted(pq.read_table(tmp_path / "o.parquet").column("value").to_pylist()) == [0, 1, 7, 7]
    assert not list(tmp_path.glob("*.partial"))


def test_a_damaged_file_ends_with_one(run: Run, location: Path, tmp_path: Path) -> None:
    """What is exported has been verified."""
    for path in (location / "delays/files").rglob("*"):
        if path.is_file():
            path.unlink()
            path.write_bytes(b"damage")
    code, _, err = run("export", location, "--output", tmp_path / "out")
    assert code == 1
    assert "checkpoint 5 is damaged" in err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["show", "--operator", "other"], "holds no state of an operator 'other'; there are: count"),
        (["show", "--state", "other"], "holds no state 'other'; there are: totals, windows"),
        (["show", "--checkpoint", "9"], "there is no checkpoint 9"),
        (["export", "--output", "-", "--format", "parquet"], "cannot be written to stdout"),
        (["export", "--output", "x", "--format", "xml"], "--format xml: use one of json, arrow, parquet"),
        (["export", "--output", "/nowhere/x"], "cannot write /nowhere/x: No such file or directory"),
        (["export"], "--output"),
    ],
)
def test_a_wrong_argument_is_one_clear_line(run: Run, location: Path, arguments: list[str], message: str) -> None:
    """On stderr, with exit code 2, and no traceback."""
    command, *rest = arguments
    code, out, err = run(command, location, *rest)
    assert (code, out) == (2, "")
    assert message in err
    assert len(err.splitlines()) == 1
